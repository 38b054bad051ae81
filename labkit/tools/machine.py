"""What this machine is, and how many trainings it can make at once.

Torch is imported inside the functions, so that the command line answers without it.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Iterable, Iterator
from importlib import metadata
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

    from ..config import TrainConfig
    from ..processes import precision_of, this_machine

    requirements = [
        re.split(r"[^\w.-]", line)[0]
        for line in metadata.requires("labkit") or ()
        if "extra ==" not in line or 'extra == "notebooks"' in line
    ]
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "labkit": metadata.version("labkit"),
        "python": platform.python_version(),
        "system": platform.platform(),
        "packages": _versions([*requirements, *EXPORT_PACKAGES]),
        "cpu": this_machine()["cpu"],
        "cores": available_cores(),
        "threads": torch.get_num_threads(),
        "several_processes": has_locks(),
        "bf16": precision_of(TrainConfig(), torch.device("cuda" if gpus else "cpu"), 64) == "bf16",
        "gpus": gpus,
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "memory_free_gb": round(psutil.virtual_memory().available / 1e9, 1),
        "disk_free_gb": round(shutil.disk_usage(home).free / 1e9, 1),
    }


NEEDED_GB = {"memory_gb": 7.5, "disk_free_gb": 1.5}  # a machine sold with 8 GB; set, store and runs of profile `mini`


def lacking(facts: dict[str, Any], home: str | os.PathLike) -> Iterator[str]:
    """What keeps the course's notebooks from running here, of what `describe` told; nothing where all is well."""
    if missing := [name for name, version in facts["packages"].items()
                   if version == "not installed" and name not in EXPORT_PACKAGES]:  # fmt: skip
        yield f"{', '.join(missing)} missing (pip install -e '.[notebooks]')"
    for name, least in NEEDED_GB.items():
        if facts[name] < least:
            yield f"{name} is {facts[name]}, expected {least}"
    if not os.access(home, os.W_OK):
        yield f"nothing can be written to {home}"


def available_cores() -> int:
    """Cores this process may use: by its affinity and its container's share, which can be fewer than there are."""
    from dask.system import CPU_COUNT

    return CPU_COUNT


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
