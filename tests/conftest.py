"""What all tests share: no window, and no pointer to somebody's own lab."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import settings

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a shell's background job: children would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ.setdefault("MPLBACKEND", "Agg")
settings.register_profile("lab", deadline=None)  # a busy machine is no failure
settings.load_profile("lab")


@pytest.fixture(autouse=True)
def no_lab_settings(monkeypatch):
    """A LABKIT_ variable set in the shell must not reach the tests."""
    for name in [name for name in os.environ if name.startswith("LABKIT_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def smoke_home(tmp_path_factory):
    """A project folder for notebooks at profile smoke: the set and each training are made once for all tests."""
    return tmp_path_factory.mktemp("smoke")


QUICK = (
    "alignment", "clips", "losses", "model", "runs", "statistics", "machine",
    "skeletons", "video", "other_sets", "house", "names", "dependencies", "readme",
)  # fmt: skip


def pytest_ignore_collect(collection_path, config):
    """`pytest -m quick` does not even import the other test files; None leaves the decision to pytest."""
    name = collection_path.stem.removeprefix("test_")
    others = collection_path.suffix == ".py" and name not in (*QUICK, "cli")
    return (config.option.markexpr == "quick" and others) or None


def pytest_collection_modifyitems(items):
    """`pytest -m quick`: these files (front room, statistics, parsers, rules), and what is marked in others."""
    for item in items:
        if item.path.stem.removeprefix("test_") in QUICK:
            item.add_marker("quick")
