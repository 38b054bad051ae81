"""One look for every figure: sizes named after the page, one colour per role, byte-stable files.

Figures are made without pyplot, so nothing is kept in a global list and no window or backend matters.
The colours are those of Okabe and Ito, which people with any of the usual colour vision deficiencies
can tell apart; roles also differ in their marker.
"""

from __future__ import annotations

import functools
import io
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.style import context
from PIL import Image

from ..experiments.committed import publishing
from ..files import write_bytes, write_text
from ..lab import Lab

COLUMN, PAGE = 3.5, 7.2  # inches: one column of a two-column page, and its whole width

ROLES = {
    "depth": "#0072B2",  # blue
    "rgb": "#E69F00",  # orange
    "hallucination": "#CC79A7",  # purple
    "two_stream": "#009E73",  # green
    "rgb_only": "#D55E00",  # vermilion: the model the paper is about
    "other": "#56B4E9",  # sky blue: another published system
    "control": "#4D4D4D",  # dark grey: the same capacity and budget, no depth
    "paper": "#8C8C8C",  # grey, always hollow: a number that is not ours
}
MARKERS = {
    "depth": "s", "rgb": "o", "hallucination": "D", "two_stream": "P", "rgb_only": "^", "control": "v", "other": "X",
    "paper": "o",
}  # fmt: skip

INK, FAINT = "#222222", "#D9D9D9"
PLAIN = (INK, "#882255", "#999933", "#332288", "#8B5A2B")  # of what has no role; most from Paul Tol's "muted"
LAYOUT_PASSES = 3  # until labels outside the axes have their room

STYLE = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that every machine draws the same letters
    "font.size": 8, "axes.titlesize": 8, "axes.labelsize": 8,
    "xtick.labelsize": 7, "ytick.labelsize": 7, "legend.fontsize": 7,
    "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": INK, "xtick.color": INK, "ytick.color": INK,
    "axes.linewidth": 0.6, "xtick.major.width": 0.6, "ytick.major.width": 0.6, "lines.linewidth": 1.4,
    "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False,
    "axes.grid": False, "grid.color": FAINT, "grid.linewidth": 0.5, "axes.axisbelow": True,
    "image.interpolation": "nearest", "figure.dpi": 150, "savefig.dpi": 200,
    "svg.hashsalt": "labkit", "svg.fonttype": "path", "pdf.fonttype": 42,
}  # fmt: skip


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Decorates every function that draws a figure: the lab's looks inside, the reader's outside.

    The layout is settled before the figure is returned: each drawing would improve it a little more, and
    so a figure that had been looked at would be saved with other bytes than one that had not.
    """

    @functools.wraps(draw)
    def drawn(*arguments, **options) -> Figure:
        with context(STYLE, after_reset=True):  # a reader's matplotlibrc may ask for LaTeX or other fonts
            figure = draw(*arguments, **options)
            if figure.get_layout_engine() is not None:
                for _ in range(LAYOUT_PASSES):
                    figure.draw_without_rendering()
                figure.set_layout_engine("none")
        return figure

    return drawn


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1, **grid) -> tuple[Figure, np.ndarray]:
    """A figure of that size in inches and its axes (rows, columns)."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **grid)


def fixed_figure(width: float, height: float, rows: int = 1, columns: int = 1, *, left: float = 0.05,
                 right: float = 0.05, top: float = 0.05, bottom: float = 0.05, across: float = 0.05, down: float = 0.05,
                 **grid) -> tuple[Figure, np.ndarray]:  # fmt: skip
    """A figure and its axes (rows, columns) at places that these inches decide: margins, and gaps across and down."""
    figure = Figure(figsize=(width, height))
    wide, tall = (width - left - right + across) / columns - across, (height - top - bottom + down) / rows - down
    edges = {"left": left / width, "right": 1 - right / width, "top": 1 - top / height, "bottom": bottom / height}
    return figure, figure.subplots(rows, columns, squeeze=False, **grid,
                                   gridspec_kw={**edges, "wspace": across / wide, "hspace": down / tall})  # fmt: skip


def bare(axes: Axes) -> Axes:
    """Axes for a picture: no ticks, no frame."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    return axes


def picture_bytes(figure: Figure, kind: str, caption: str = "", dpi: float | None = None) -> bytes:
    """The figure as "svg", "pdf" or "png"; the same figure gives the same bytes on every day.

    The caption rides inside the file; dates and program versions do not. `dpi` other than the style's is for
    pictures on a screen.
    """
    metadata = {
        "svg": {"Date": None, "Creator": None, "Description": caption},
        "pdf": {"CreationDate": None, "Creator": None, "Producer": None, "Subject": caption},
        "png": {"Software": None, "Description": caption},
    }[kind]
    buffer = io.BytesIO()
    with context(STYLE, after_reset=True):
        figure.savefig(buffer, format=kind, metadata=metadata, dpi=dpi or STYLE["savefig.dpi"])
    return buffer.getvalue()


def save_figure(figure: Figure | None, name: str, folder: str | os.PathLike, data: pd.DataFrame | None = None, *,
                caption: str) -> list[Path]:  # fmt: skip
    """Write NAME.svg, .pdf and .png, and the plotted numbers as NAME.csv, as far as given; returns the paths.

    Each file is replaced as a whole or not at all, and an unchanged figure is an unchanged file. Raises LabError when
    a file cannot be written.
    """
    paths = [] if figure is None else [Path(folder, f"{name}.{kind}") for kind in ("svg", "pdf", "png")]
    for path in paths:
        write_bytes(path, picture_bytes(figure, path.suffix[1:], caption))
    if data is not None:
        paths.append(Path(folder, f"{name}.csv"))
        write_table(paths[-1], data)
    return paths


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Numbers as a CSV file, to six digits."""
    write_text(path, table.to_csv(index=False, float_format="%.6g", lineterminator="\n"))


def in_seeds(counts: Iterable[float]) -> str:
    """How many seeds the rows of a figure or table rest on, as its caption says it: "seeds: 3 to 10".

    Rows that rest on none, such as a point that nobody measures, are NaN.
    """
    known = sorted({int(count) for count in counts if not pd.isna(count)}) or [0]
    return "seeds: " + " to ".join(map(str, dict.fromkeys((known[0], known[-1]))))


def by_rows(caption: str, data: pd.DataFrame | None) -> str:
    """The caption with how many seeds the rows of a figure's numbers tell of, where they do."""
    told = data is not None and "seeds" in data
    return re.sub(r"seeds: \d+(?: to \d+)?", in_seeds(data["seeds"]), caption) if told else caption


def caption_in(png: Path) -> str:
    """The caption that `save_figure` wrote into a picture; empty in one of an explorer."""
    with Image.open(png) as picture:
        return picture.info.get("Description", "")


def seeds_in(caption: str) -> int:
    """The most seeds that a caption tells of; 0 for what rests on none, as the picture of one clip or one training."""
    return max((int(count) for count in re.findall(r"seeds: (?:\d+ to )?(\d+)", caption)), default=0)


# -- where figures and numbers go --------------------------------------------------------------------


def records_folder(lab: Lab) -> Path:
    """HOME/runs/notebooks/PROFILE, with the data's name where it is not the embedded set; no place that git sees."""
    return lab.runs.root / "notebooks" / ("published" if publishing() else lab.series_name)


def figures_folder(lab: Lab) -> Path:
    """`figures` in the folder of records, and in it a folder for each protocol and seed that is not the usual one."""
    other = [lab.split.name] * (lab.split.name != "cross-subject") + [f"seed{lab.seed}"] * (lab.seed > 0)
    return records_folder(lab) / "figures" / "-".join(other)
