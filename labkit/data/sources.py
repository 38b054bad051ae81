"""Whether a clip's files are still the same: by sizes and times, which is quick, or by their content."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from ..files import sha256_file, sha256_json
from .frames import Frames
from .maps import read_boxes
from .roots import Entry


def stamp_of(entry: Entry) -> str:
    """Names, sizes and modification times of a clip's files and what the index knows of it, as one hash."""
    seen: list = [entry.facts]
    for modality, path in sorted(entry.files.items()):
        if os.path.isdir(path):
            files = sorted(os.scandir(path), key=lambda item: item.name)
        else:
            files = Frames(Path(path)).files if "*" in os.path.basename(path) else (Path(path),)
        stats = [(file.name, file.stat()) for file in files]
        seen.append([modality, [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]])
    return sha256_json(seen)


def source_hashes(entry: Entry, modalities: Collection[str]) -> dict[str, str]:
    """SHA-256 of each file; of a folder, over the names and hashes of its images.

    Of a sidecar only the boxes count, and only for the layout: the rest makes no pixel.
    """
    paths = entry.paths
    boxes = paths.pop("boxes", None)
    hashes = {
        modality: sha256_file(path)
        if path.is_file()
        else sha256_json([[file.name, sha256_file(file)] for file in Frames(path).files])
        for modality, path in paths.items()
    }
    return hashes | ({"boxes": sha256_json(read_boxes(boxes))} if boxes and "layout" in modalities else {})
