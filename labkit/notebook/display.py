"""What a notebook shows: tables to read, and figures, which it keeps as files with their numbers.

The files stay among the runs, which git ignores: `labkit publish` makes what is committed.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
from IPython import get_ipython
from IPython.display import Image, Markdown, display
from matplotlib.figure import Figure
from PIL import Image as Picture

from ..clips import UNLABELLED, colorize_depth
from ..experiments import committed
from ..figures.style import by_rows, caption_in, figures_folder, records_folder, save_figure, seeds_in
from ..lab import Lab

SIDE = 96  # pixels that a clip that moves is high at most: a notebook keeps every frame
HEIGHT, MILLISECONDS = 192, 350  # of that clip on the screen, and of each of its frames
FEW_COLORS = 4096  # and fewer: lines, letters and their soft edges
SCREEN = 120  # pixels an inch: letters in a figure are then about as large as those in the text around it


def show(lab: Lab, figure: Figure, name: str, data: pd.DataFrame | None = None, *, caption: str) -> None:
    """Save a figure with its numbers (see `style.save_figure`), and show it with its caption.

    Where the same figure is committed with more seeds, that one is shown. How many a figure rests on stands in its
    caption, as "seeds: 3", and where the numbers tell it by row, those count.
    """
    caption = by_rows(caption, data)
    _, _, png, *_ = save_figure(figure, name, figures_folder(lab), data, caption=caption)
    width, kept = round(SCREEN * figure.get_figwidth()), committed.folder(lab)
    if kept and (theirs := kept / png.relative_to(records_folder(lab) / "figures")).exists():
        told = caption_in(theirs)
        if seeds_in(told) > seeds_in(caption) > 0:
            committed.told(name, seeds_in(told), seeds_in(caption), f", in {png}")
            png, caption = theirs, told
    display_picture(png, caption, width)


def display_picture(png: Path, caption: str, width: int) -> None:
    """Show a picture, `width` pixels wide, with its caption."""
    display(Image(for_screen(png), width=width, metadata={"alt": caption}), Markdown(f"*{caption}*"))


def for_screen(png: Path | BytesIO) -> bytes:
    """The picture as a notebook keeps it: a drawing in 256 colours takes a third, a photograph keeps all of its."""
    picture, small = Picture.open(png).convert("RGB"), BytesIO()
    if picture.getcolors(FEW_COLORS) is not None:
        picture = picture.quantize(256, dither=Picture.Dither.NONE)
    picture.save(small, "PNG", optimize=True)
    return small.getvalue()


def moving(lab: Lab, clip: str) -> Image:
    """A clip by its id as a picture that moves: RGB beside depth in the colours a network sees, over and over.

    All stored frames in their order, the last one for longer. An animated PNG, which every viewer of notebooks
    shows; one that does not move pictures shows the first frame. Raises LabError for a clip that there is not.
    """
    row, config = lab.clips.rows([clip]), lab.profile.clips
    depth = colorize_depth(lab.clips.images("depth", row)[0], config.depth_encoding, config.depth_range)
    rgb, label = lab.clips.images("rgb", row)[0], int(lab.clips.labels[row][0])
    frames = [Picture.fromarray(np.hstack(pair)) for pair in zip(rgb, depth, strict=True)]
    for frame in frames:
        frame.thumbnail((2 * SIDE, SIDE))
    action = "a clip without a label" if label == UNLABELLED else lab.clips.class_names[label]
    alt = f"{action} ({lab.data_name}, clip {clip}): RGB beside depth, {len(rgb)} frames that repeat"
    return Image(_animated(frames), width=2 * HEIGHT, height=HEIGHT, metadata={"alt": alt})


def _animated(frames: Sequence[Picture.Image]) -> bytes:
    """Frames of one size as an animated PNG, in 128 colours that all share: a palette of each would flicker."""
    width, height = frames[0].size
    sheet = Picture.new("RGB", (width, height * len(frames)))
    for place, frame in enumerate(frames):
        sheet.paste(frame, (0, place * height))
    sheet = sheet.quantize(128, dither=Picture.Dither.NONE)
    first, *rest = (sheet.crop((0, top, width, top + height)) for top in range(0, sheet.height, height))
    times, buffer = [MILLISECONDS] * len(rest) + [3 * MILLISECONDS], BytesIO()
    first.save(buffer, "PNG", save_all=True, append_images=rest, duration=times, loop=0)
    return buffer.getvalue()


WHOLE, PROBABLE = ("seeds", "seeds needed"), ("p", "p (Holm)")  # columns of counts, and of four digits


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """A table for eyes: rounded, "low" and "high" as one interval, "–" for what is missing.

    Rows that are only numbered are led by their first column. Columns may have two levels.
    """
    shown = {}
    for name in table.columns:
        above, label = (name[:-1], name[-1]) if isinstance(name, tuple) else ((), str(name))
        label = label.replace("_", " ")
        values, high = table[name], (*above, "high") if above else "high"
        if label == "high":
            continue
        if label == "low" and high in table.columns:
            label, ends = "95 % interval", zip(values, table[high], strict=True)
            cells = ["–" if pd.isna(low) else f"{low:.1f} to {top:.1f}" for low, top in ends]
        else:
            places = 0 if label in WHOLE else 4 if label in PROBABLE else 1
            cells = [_printed(value, places) for value in values]
        shown[(*above, label) if above else label] = cells
    frame = pd.DataFrame(shown, index=table.index)
    if pd.api.types.is_integer_dtype(frame.index.dtype):
        frame = frame.set_index(frame.columns[0])
    return frame.rename_axis(index=None)


def _printed(value: object, places: int) -> object:
    if pd.isna(value):
        return "–"
    return f"{value:.{places}f}" if isinstance(value, float) else value


def skip_rest(reason: str) -> None:
    """Say that the rest of a notebook is skipped, and let the cells below do nothing until the kernel is restarted."""
    print(f"Skipped: {reason}")
    if (shell := get_ipython()) is not None:
        shell.input_transformers_cleanup.append(lambda lines: ["pass\n"])
