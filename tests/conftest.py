"""What all tests share: no window, and no pointer to somebody's own lab."""

from __future__ import annotations

import os

import pytest

os.environ.setdefault("MPLBACKEND", "Agg")


@pytest.fixture(autouse=True)
def no_lab_settings(monkeypatch):
    """A LABKIT_ variable set in the shell must not reach the tests."""
    for name in [name for name in os.environ if name.startswith("LABKIT_")]:
        monkeypatch.delenv(name)
