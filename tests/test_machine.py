"""What this machine is, and the home folder is found."""

from __future__ import annotations

import json

import pytest

from labkit import LabError
from labkit.tools import home, machine
from labkit.tools.home import find_home


def test_describe_is_plain_json_and_names_every_requirement(tmp_path):
    facts = machine.describe(tmp_path)
    assert json.loads(json.dumps(facts)) == facts
    assert {"torch", "torchvision", "papermill", "opencv-python-headless"} <= facts["packages"].keys()
    assert facts["cores"] >= 1 and facts["memory_gb"] > facts["memory_free_gb"] > 0 and facts["disk_free_gb"] > 0


def test_home_is_found_upwards_or_named(tmp_path, monkeypatch):
    lab, elsewhere = tmp_path / "lab", tmp_path / "other"
    (lab / "notebooks").mkdir(parents=True)
    elsewhere.mkdir()
    (lab / "notebooks" / "00_question.ipynb").touch()
    monkeypatch.chdir(lab / "notebooks")
    assert find_home() == lab
    assert find_home(elsewhere) == elsewhere
    monkeypatch.setenv("LABKIT_HOME", str(elsewhere))
    assert find_home() == elsewhere
    assert find_home(lab) == lab
    with pytest.raises(LabError, match=r"nowhere: expected a project folder"):
        find_home(tmp_path / "nowhere")


def test_a_folder_of_other_notebooks_is_no_home(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "shopping.ipynb").touch()
    monkeypatch.chdir(tmp_path)
    assert find_home() != tmp_path


def test_without_a_checkout_home_is_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(home, "__file__", str(tmp_path / "site-packages" / "labkit" / "tools" / "home.py"))
    assert find_home() == tmp_path
    with pytest.raises(LabError, match=r"expected numbered notebooks, found none. Fix: go to your copy of the lab"):
        home.find_notebooks(tmp_path)
