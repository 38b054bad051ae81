"""What this machine is, where the lab lives on it, and which way of computing is fastest here.

Torch is imported inside the functions, so that the command line answers without it.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

from .parallel import has_locks, launched_count

EXPORT_PACKAGES = ("onnx", "onnxruntime", "onnxscript")  # the extra "export"


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
