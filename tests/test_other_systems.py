"""What Windows and macOS do otherwise, imitated on whatever system the tests run on."""

from __future__ import annotations

import ast
import multiprocessing
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from labkit.cli import main as cli
from labkit.course import website
from labkit.errors import LabError
from labkit.processes import StopSignals
from labkit.tools import machine, parallel

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted((ROOT / "labkit").rglob("*.py"))


def ids(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


# -- names that Windows' Python lacks ----------------------------------------------------------------

POSIX_MODULES = {"fcntl", "resource", "pwd", "grp", "termios", "pty", "posix", "syslog"}
POSIX_NAMES = re.compile(
    r"os\.(?:fork\w*|get[eg]?uid|getgid|getpgid|killpg|setsid|mkfifo|mknod|nice|uname|statvfs|wait\w*|sched_\w+|getloadavg"
    r"|chown|O_DIRECTORY|O_NOFOLLOW|O_CLOEXEC|WNOHANG)|signal\.(?:SIG(?:KILL|HUP|ALRM|PIPE|USR1|USR2|CHLD|QUIT|TSTP)|alarm"
    r"|pause|setitimer|pthread_\w+)|select\.(?:e?poll|kqueue)"
)
ANSWERED = {"labkit/cli/main.py: select.poll", "labkit/tools/machine.py: os.sched_getaffinity"}  # tested below without


def posix_only(source: str) -> Iterator[str]:
    """The modules and names in a source that there are not on Windows."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in POSIX_MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module in POSIX_MODULES:
            yield node.module
        elif isinstance(node, ast.Attribute) and POSIX_NAMES.fullmatch(ast.unparse(node)):
            yield ast.unparse(node)


def test_the_package_uses_nothing_that_windows_lacks():
    found = {f"{ids(path)}: {name}" for path in MODULES for name in posix_only(path.read_text(encoding="utf-8"))}
    assert found == ANSWERED


def test_what_windows_lacks_is_seen():
    source = "import fcntl\nfrom resource import x\nos.kill(os.getpid(), signal.SIGKILL)\nos.geteuid(); os.getpid()"
    assert {*posix_only(source)} == {"fcntl", "resource", "signal.SIGKILL", "os.geteuid"}


# -- processes ---------------------------------------------------------------------------------------


def test_locks_are_looked_for_where_nothing_can_be_forked(monkeypatch):
    """As on Windows: its Python has one way to start a process, and no context named fork."""
    contexts = multiprocessing.get_context

    def without_fork(method=None):
        if method in ("fork", "forkserver"):
            raise ValueError(f"cannot find context for {method!r}")
        return contexts("spawn" if method is None else method)

    monkeypatch.setattr(parallel, "sys", SimpleNamespace(platform="win32"))
    monkeypatch.setattr(parallel.multiprocessing, "get_context", without_fork)
    assert parallel.has_locks()
    assert list(parallel.ordered_map(abs, range(-24, 0), 2)) == list(range(24, 0, -1))


def test_signals_are_heard_where_there_are_few(monkeypatch):
    """Windows refuses a handler for any other signal than these."""
    few, real = {signal.SIGINT, signal.SIGTERM, signal.SIGABRT, signal.SIGFPE, signal.SIGILL}, signal.signal

    def handle(number, handler):
        if number not in few:
            raise ValueError("signal number out of range")
        return real(number, handler)

    monkeypatch.setattr(signal, "signal", handle)
    with StopSignals() as stop:
        signal.raise_signal(signal.SIGTERM)
        assert stop.received == signal.SIGTERM
    with pytest.raises(SystemExit):
        stop.leave()
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert cli.main(["--help"]) == 0
    except SystemExit as done:
        assert not done.code
    finally:
        real(signal.SIGTERM, before)


@pytest.mark.parametrize("system", ["Windows", "macOS"])
def test_a_reader_that_has_enough_is_no_traceback(system, monkeypatch):
    """Windows has no poll; of a pipe whose reader has gone macOS says POLLHUP, where Linux says POLLERR."""
    if system == "Windows":
        monkeypatch.delattr(select, "poll", raising=False)
    else:
        watch = SimpleNamespace(register=lambda *_: None, poll=lambda _: [(1, 0x10)])
        monkeypatch.setattr(select, "poll", lambda: watch, raising=False)
        monkeypatch.setattr(select, "POLLHUP", 0x10, raising=False)
        monkeypatch.setattr(select, "POLLERR", 0x8, raising=False)
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        monkeypatch.setattr(sys, "stdout", nowhere)
        assert cli._unread()


# -- letters and paths -------------------------------------------------------------------------------


def test_a_warning_of_sphinx_is_told_where_the_console_has_few_letters(tmp_path, monkeypatch):
    def write_sources(home: Path, folder: Path) -> None:
        folder.mkdir(parents=True)
        (folder / "conf.py").write_text("", encoding="utf-8")
        (folder / "index.rst").write_text("Łódź\n====\n\n:ref:`Łódź →`\n", encoding="utf-8")

    monkeypatch.setenv("PYTHONIOENCODING", "cp1252")
    monkeypatch.setattr(website, "write_sources", write_sources)
    with pytest.raises(LabError, match=r"no warnings from Sphinx, found index.rst:4: .*łódź →"):
        website.build_site(tmp_path, tmp_path / "out")


def test_cores_are_counted_where_a_process_cannot_be_kept_to_some(tmp_path, monkeypatch):
    """macOS and Windows have neither `sched_getaffinity` nor control groups."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    monkeypatch.setattr(machine, "OWN_GROUPS", tmp_path / "none")
    assert machine.available_cores() == 6


def test_relative_paths_that_are_kept_have_slashes():
    """`str` of one would have backslashes on Windows, and what is named or hashed by it another name."""
    for path in MODULES:
        assert not re.search(r"str\([^()]*(?:\([^()]*\)[^()]*)*relative_to", path.read_text(encoding="utf-8")), path


def test_every_file_can_be_named_on_windows_and_where_case_does_not_count():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, encoding="utf-8").stdout
    tops = [ROOT / top for top in ("labkit", "tests", "notebooks", "figures")]  # of a copy without git
    names = listed.splitlines() or [ids(path) for top in tops for path in top.rglob("*")]
    reserved = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?|.*[<>:\"|?*\\]|.*[. ]")
    assert names and [name for name in names for part in name.split("/") if reserved.fullmatch(part)] == []
    assert len({name.lower() for name in names}) == len(names) and max(map(len, names)) < 160
