"""The embedded set described in Croissant, the JSON-LD by which data sets are found and read by machines.

The format is that of MLCommons, version 1.0. In words the same is on the site, in the set's datasheet.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .actions import ACTIONS
from .clips import PUPPETS_VERSION

_WORDS = ("column", "extract", "field", "fileObject", "fileSet", "includes", "recordSet", "source")  # of Croissant
_CONTEXT = {
    "@language": "en", "@vocab": "https://schema.org/", "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/", "dct": "http://purl.org/dc/terms/", "conformsTo": "dct:conformsTo",
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"}, **{word: f"cr:{word}" for word in _WORDS},
}  # fmt: skip
_FILES = {  # a set of files: its pattern and its kind
    "rgb": ("nturgb+d_rgb/*.avi", "video/x-msvideo"),
    "depth": ("nturgb+d_depth_masked/*/*.png", "image/png"),
    "skeletons": ("nturgb+d_skeletons/*.skeleton", "text/plain"),
    "records": ("puppets/*.json", "application/json"),
}
_TYPES = {int: "sc:Integer", float: "sc:Float", str: "sc:Text"}


def croissant(row: Mapping[str, Any], clips: int, table_sha256: str) -> dict[str, Any]:
    """Croissant metadata of a set of that many clips, as JSON values.

    `row` is any row of its table `puppets.csv`, whose hash is `table_sha256`; `name` is the key of a row.
    """
    table = {
        "@type": "cr:FileObject", "@id": "puppets.csv", "name": "puppets.csv", "contentUrl": "puppets.csv",
        "encodingFormat": "text/csv", "sha256": table_sha256, "description": "A row a clip: action and true geometry.",
    }  # fmt: skip
    sets = [{"@type": "cr:FileSet", "@id": name, "name": name, "encodingFormat": kind, "includes": pattern}
            for name, (pattern, kind) in _FILES.items()]  # fmt: skip
    fields = [{
        "@type": "cr:Field", "@id": f"clips/{name}", "name": name, "dataType": _TYPES[type(value)],
        "source": {"fileObject": {"@id": table["@id"]}, "extract": {"column": name}},
    } for name, value in row.items()]  # fmt: skip
    return {
        "@context": _CONTEXT, "@type": "sc:Dataset", "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": "puppets", "version": f"{PUPPETS_VERSION}.0.0", "license": "https://spdx.org/licenses/MIT",
        "description": f"{clips} RGB-D clips of {len(ACTIONS)} actions by simulated puppets before two simulated "
                       "Kinect v2 cameras, in the file layout of NTU RGB+D. No person is in it.",
        "distribution": [table, *sets],
        "recordSet": [{"@type": "cr:RecordSet", "@id": "clips", "name": "clips", "field": fields}],
    }  # fmt: skip
