"""What this machine is, where the lab lives on it, and which way of computing is fastest here.

Torch is imported inside the functions, so that the command line answers without it.
"""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import re
import shutil
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from .errors import LabError
from .files import locked, read_json, sha256_json, write_json
from .parallel import has_locks, launched_count

WORTHWHILE = 0.97  # a lever is let go when that saves 3 % or more: less is lost in the noise of a short probe
MAX_PAIRS = 15
EXPORT_PACKAGES = ("onnx", "onnxruntime", "onnxscript")  # the extra "export"


def find_home(home: str | os.PathLike | None = None) -> Path:
    """The project folder: it holds `notebooks/`, and `data/` and `runs/` go beside them.

    In this order: `home` when given, the variable LABKIT_HOME, the nearest folder from the working
    directory upward with numbered notebooks, the checkout this package was imported from. LabError
    when there is none of these, or the folder named does not exist.
    """
    named = home or os.environ.get("LABKIT_HOME")
    if named:
        if not Path(named).is_dir():
            raise LabError.mismatch(
                named, "a project folder", "no folder", "make it, or name another with --home or LABKIT_HOME"
            )
        return Path(named).resolve()
    here = Path.cwd()
    for folder in (here, *here.parents):
        if any((folder / "notebooks").glob("[0-9][0-9]_*.ipynb")):
            return folder
    checkout = Path(__file__).resolve().parents[1]
    if (checkout / "pyproject.toml").exists():
        return checkout
    raise LabError.mismatch(
        here,
        "a folder with notebooks/ here or above",
        "none",
        "go to your copy of the lab, or pass --home DIR",
    )


def find_notebooks(home: Path) -> list[Path]:
    """The numbered notebooks, in order: those of `home`, else those of the checkout labkit runs from."""
    for folder in (home / "notebooks", Path(__file__).resolve().parents[1] / "notebooks"):
        if found := sorted(folder.glob("[0-9][0-9]_*.ipynb")):
            return found
    raise LabError.mismatch(
        home / "notebooks", "numbered notebooks", "none", "restore them: git checkout notebooks"
    )


def _versions(names: Iterable[str]) -> dict[str, str]:
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def describe(home: str | os.PathLike = ".") -> dict[str, Any]:
    """Versions, processor, memory, GPU and free disk space as plain JSON values; sizes in GB."""
    import psutil
    import torch

    requirements = [
        re.split(r"[^\w.-]", line)[0] for line in metadata.requires("labkit") or () if "extra ==" not in line
    ]
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "labkit": metadata.version("labkit"),
        "python": platform.python_version(),
        "system": platform.platform(),
        "packages": _versions([*requirements, *EXPORT_PACKAGES]),
        "cpu": cpu_model(),
        "cores": available_cores(),
        "threads": torch.get_num_threads(),
        "several_processes": has_locks(),
        "bf16": has_bf16("cuda" if gpus else "cpu"),
        "gpus": gpus,
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "memory_free_gb": round(psutil.virtual_memory().available / 1e9, 1),
        "disk_free_gb": round(shutil.disk_usage(home).free / 1e9, 1),
    }


def available_cores() -> int:
    """Cores this process may use, which can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
LARGEST_KEPT = 1 << 30  # bytes of one block; larger ones are mapped as before
MEMORY_OF_A_TRAINING = 4 << 30  # bytes, at the paper's size; `mini` takes a quarter


def trainings_at_once() -> int:
    """How many trainings are best made side by side here, in processes of their own.

    One a core, as far as memory goes: two of them with a thread each end sooner than one after the other
    with two. On a GPU, for processes that train one run together, and where processes have no locks, one.
    """
    import psutil
    import torch

    if torch.cuda.is_available() or launched_count() > 1 or not has_locks():
        return 1
    return max(1, min(available_cores(), psutil.virtual_memory().available // MEMORY_OF_A_TRAINING))


@functools.cache
def keep_memory() -> None:
    """Let this process keep freed memory for its next tensors instead of giving it back at every step.

    glibc maps each large block anew, and the system clears it page by page: a fifth of a step at the
    paper's size. Elsewhere than on Linux with glibc nothing is done.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT)
        libc.mallopt(M_TRIM_THRESHOLD, 2 * LARGEST_KEPT - 1)  # all of an int


def _cpu_field(name: str) -> str:
    """The first value under that name in Linux's /proc/cpuinfo; empty elsewhere."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    match = re.search(rf"^{name}\s*:\s*(.*)$", text, re.MULTILINE)
    return match.group(1).strip() if match else ""


def cpu_model() -> str:
    """The processor's name, as far as the system tells it."""
    return _cpu_field("model name") or platform.processor() or platform.machine()


def has_bf16(device: str) -> bool:
    """Whether `device` ("cpu", "cuda") multiplies bf16 in hardware; elsewhere it is emulated and slow."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.is_bf16_supported(including_emulation=False)
    flags = set(f"{_cpu_field('flags')} {_cpu_field('Features')}".split())  # x86, Arm
    return device == "cpu" and bool(flags & {"avx512_bf16", "amx_bf16", "bf16"})


@dataclass(frozen=True)
class SpeedProfile:
    """How a training step is computed here. None of it changes what is computed, only its rounding."""

    precision: Literal["fp32", "bf16"] = "fp32"
    channels_last: bool = False
    fused_adam: bool = False
    threads: int = 1


def probe_precision(
    make_step: Callable[[SpeedProfile], Callable[[], object]],
    *,
    shape: Any,
    cache_dir: str | os.PathLike,
    precision: Literal["auto", "fp32", "bf16"] = "auto",
    device: str = "cpu",
    seconds: float = 5.0,
) -> SpeedProfile:
    """The fastest profile for one kind of training step, measured once and then remembered.

    `make_step(profile)` returns a function of no arguments that makes one training step computed
    that way. `shape` is any JSON value that tells such steps apart: batch, clip, backbone, width.
    The choice is kept in `cache_dir` under processor, torch version, threads, device and shape, so
    that a training resumes tomorrow as it began today. `precision` other than "auto" is obeyed, not
    measured. The probe stops after about `seconds`; the first lever is always measured, those it has
    no time for stay off.

    Raises LabError when the remembered choice is damaged.
    """
    import torch

    threads = torch.get_num_threads()
    processor = torch.cuda.get_device_name(device) if device.startswith("cuda") else cpu_model()
    key = {"processor": processor, "torch": str(torch.__version__), "threads": threads, "device": device,
           "shape": shape, "precision": precision}  # fmt: skip
    path = Path(cache_dir) / f"speed-{sha256_json(key)[:16]}.json"
    with locked(path.with_suffix(".lock")):  # two trainings that start together agree on one choice
        if not path.exists():
            free = precision == "auto" and has_bf16(device)
            wanted = "bf16" if free or precision == "bf16" else "fp32"
            start = SpeedProfile(wanted, channels_last=True, fused_adam=True, threads=threads)
            levers = {"precision": "fp32"} if free else {}  # what each lever is when not pulled
            levers |= {"channels_last": False, "fused_adam": False}
            profile, ratios = _fastest(make_step, start, levers, seconds, _clock(device))
            write_json(path, {"key": key, "profile": asdict(profile), "time_ratios": ratios})
        return _read_profile(path, key)


def _fastest(
    make_step, start: SpeedProfile, levers: dict[str, Any], seconds: float, clock
) -> tuple[SpeedProfile, dict[str, float]]:
    """Let go of one lever after another where that pays. Also the measured ratios, time without over with."""
    deadline = time.monotonic() + seconds
    best, ratios = start, {}
    step = make_step(best)
    step()
    for index, (field, value) in enumerate(levers.items()):
        left = deadline - time.monotonic()
        if index and left <= 0:  # the first lever is worth most and is always measured
            break
        candidate = replace(best, **{field: value})
        rival = make_step(candidate)
        ratios[field] = _time_ratio(rival, step, left / (len(levers) - index), clock)
        if ratios[field] < WORTHWHILE:
            best, step = candidate, rival
    return best, ratios


def _time_ratio(rival: Callable, step: Callable, seconds: float, clock: Callable[[], float]) -> float:
    """Median over interleaved pairs of the rival's time over the step's, so that drifting load cancels."""
    deadline = time.monotonic() + seconds
    rival()  # the first call allocates and picks kernels
    ratios = []
    while len(ratios) < MAX_PAIRS and (not ratios or time.monotonic() < deadline):
        times = {}
        for call in (rival, step) if len(ratios) % 2 else (step, rival):
            begin = clock()
            call()
            times[call] = clock() - begin
        ratios.append(times[rival] / max(times[step], 1e-9))
    return round(statistics.median(ratios), 4)


def _clock(device: str) -> Callable[[], float]:
    """CPU time on a processor, because other people's load does not count; wall time on a GPU."""
    if not device.startswith("cuda"):
        return time.process_time
    import torch

    def now() -> float:
        torch.cuda.synchronize(device)
        return time.perf_counter()

    return now


def _read_profile(path: Path, key: dict[str, Any]) -> SpeedProfile:
    found = read_json(path)
    try:
        profile = SpeedProfile(**found["profile"])
        intact = sha256_json(found["key"]) == sha256_json(key) and profile.precision in ("fp32", "bf16")
    except (TypeError, KeyError):
        intact = False
    if not intact:
        raise LabError.mismatch(
            path,
            "the speed profile chosen for this machine",
            "something else",
            "delete the file; it is measured again",
        )
    return profile
