"""What all tests share: no window, no pointer to somebody's own lab, and its share of the cores for each process."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import settings

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a shell's background job: children would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ.setdefault("MPLBACKEND", "Agg")
if processes := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0")):  # `pytest -n 2`
    os.environ.setdefault("OMP_NUM_THREADS", str(max((os.cpu_count() or 1) // processes, 1)))
settings.register_profile("lab", deadline=None)  # a busy machine is no failure
settings.load_profile("lab")


@pytest.fixture(autouse=True)
def no_lab_settings(monkeypatch):
    """A LABKIT_ variable set in the shell must not reach the tests."""
    for name in [name for name in os.environ if name.startswith("LABKIT_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def smoke_home(tmp_path_factory):
    """A project folder for notebooks at profile smoke: the set and each training are made once for all tests.

    Processes of `pytest -n` share it: labkit's own locks let one of them make what several want.
    """
    base = tmp_path_factory.getbasetemp()
    home = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "smoke"
    home.mkdir(exist_ok=True)
    return home


QUICK = (
    "alignment", "clips", "losses", "model", "runs", "statistics", "machine",
    "skeletons", "video", "other_sets", "house", "names", "dependencies", "readme", "platforms",
)  # fmt: skip


def pytest_ignore_collect(collection_path, config):
    """`pytest -m quick` does not even import the other test files; None leaves the decision to pytest."""
    name = collection_path.stem.removeprefix("test_")
    others = collection_path.suffix == ".py" and name not in (*QUICK, "cli")
    return (config.option.markexpr == "quick" and others) or None


LONGEST = ("browser", "graph", "processes", "site", "trainers", "saved_outputs", "cli", "soak", "scarcity", "prepare",
           "teaching")  # fmt: skip


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    """`pytest -n 2` hands out whole files, whose tests share what they train, in the order of the items."""
    if getattr(config.option, "numprocesses", None):
        config.option.dist, config.option.loadscopereorder = "loadfile", False


def pytest_collection_modifyitems(items):
    """`pytest -m quick`: these files (front room, statistics, parsers, rules), and what is marked in others.

    The longest files come first, so that none of them is left to one process at the end.
    """
    names = [*LONGEST, ""]
    items.sort(key=lambda item: names.index(name if (name := item.path.stem.removeprefix("test_")) in names else ""))
    for item in items:
        if item.path.stem.removeprefix("test_") in QUICK:
            item.add_marker("quick")
