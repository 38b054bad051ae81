"""What this machine is, and how many trainings it can make at once.

Torch is imported inside the functions, so that the command line answers without it.
"""

from __future__ import annotations

import math
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from ..lab import launched_count
from .parallel import has_locks

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
        "memory_gb": round(within_limits(psutil.virtual_memory().total) / 1e9, 1),
        "memory_free_gb": round(within_limits(psutil.virtual_memory().available) / 1e9, 1),
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


CONTROL_GROUPS = Path("/sys/fs/cgroup")  # where Linux shows the limits of containers and batch jobs
OWN_GROUPS = Path("/proc/self/cgroup")  # which of them hold this process


def available_cores() -> int:
    """Cores this process may use: by its affinity and its container's share, which can be fewer than there are."""
    shares = [int(quota) / int(period) for name in ("cpu.max", "cpu.cfs_quota_us cpu.cfs_period_us")
              for quota, period in _limits(name) if quota.isdecimal()]  # fmt: skip
    return max(1, min([_own_cores(), *map(math.ceil, shares)]))


def _own_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def keep_to_share() -> None:
    """Let torch compute with no more threads than a container's share of cores; by itself it counts the machine's."""
    if (cores := available_cores()) < _own_cores():
        os.environ.setdefault("OMP_NUM_THREADS", str(cores))  # read when torch is loaded, here or in a kernel
        if torch := sys.modules.get("torch"):
            torch.set_num_threads(min(cores, torch.get_num_threads()))


def within_limits(size: int) -> int:
    """So many bytes of the machine's memory, or what its container or batch job may take, if that is less."""
    limits = [int(size) for name in ("memory.max", "memory.limit_in_bytes")
              for (size,) in _limits(name) if size.isdecimal()]  # fmt: skip
    return min([size, *limits])


def _limits(names: str) -> Iterator[list[str]]:
    """The words of these files in each control group around this process, its own and those that hold it.

    Version 2 has one tree, version 1 one for each controller. In a container the tree begins at its own group,
    which keeps the path that it has outside: whatever of that is not there is passed over.
    """
    for line in OWN_GROUPS.read_text(encoding="utf-8").splitlines() if OWN_GROUPS.exists() else ():
        _, controllers, group = line.split(":", 2)
        for root in {CONTROL_GROUPS / each for each in (controllers, *controllers.split(","))}:
            own = root / group.lstrip("/")
            for folder in (own, *own.parents):
                files = [folder / name for name in names.split()]
                if folder.is_relative_to(root) and all(map(Path.is_file, files)):
                    yield [word for file in files for word in file.read_text(encoding="utf-8").split()]


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
    memory = within_limits(psutil.virtual_memory().available)
    return max(1, min(available_cores(), memory // MEMORY_OF_A_TRAINING))
