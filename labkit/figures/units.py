"""Fig. 2 of the paper, drawn: the first two units of a block in two streams, and the connection between them."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from .method import _arrow, _rounded
from .style import INK, PAGE, ROLES, bare, styled

HIGH, WIDE = 8.1, 20.0  # of the drawing, in its own units
LINES = (5.8, 2.2)  # heights of the source's line and the target's
ASIDE = 1.5  # how far from it the shortcuts run
SUM1, SPLIT, TIMES, GATE, SUM2, END = 4.3, 5.5, 7.6, 9.3, 17.2, 18.2  # places along a line


@styled
def connected_units() -> Figure:
    """Depth's signal enters the branch of RGB's second unit; dashed is what the released code adds (gated)."""
    figure = Figure(figsize=(PAGE, PAGE * HIGH / WIDE))
    panel = bare(figure.add_axes((0, 0, 1, 1)))
    panel.set(xlim=(0, WIDE), ylim=(0, HIGH), aspect="equal")
    for role, name, y, side in zip(("depth", "rgb"), ("depth", "RGB"), LINES, (1, -1), strict=True):
        _unit1(panel, role, name, y, side)
        _unit2(panel, role, y)
    _source(panel, LINES[0])
    _target(panel, LINES[1])
    for x, words in ((2.9, "unit 1"), (12.4, "unit 2")):
        panel.text(x, HIGH - 0.3, words, ha="center", va="center", weight="bold")
    panel.text(WIDE - 0.3, HIGH - 0.3, "f is the ReLU", ha="right", va="center", fontsize=7)
    return figure


def _unit1(panel: Axes, role: str, name: str, y: float, side: int) -> None:
    """From the block's input to u, the sum before the ReLU."""
    panel.text(0.25, y, name, ha="center", va="center", rotation=90, weight="bold", color=ROLES[role])
    _line(panel, (0.5, y), (1.4, y))
    _box(panel, role, (1.4, 3.3), y, "branch")
    _arrow(panel, (3.3, y), (SUM1 - 0.3, y), INK)
    _around(panel, (1.0, SUM1), y, y + side * ASIDE)
    _node(panel, SUM1, y, "+")
    _line(panel, (SUM1 + 0.3, y), (SPLIT, y))
    words, height = ("u", y + 0.3) if side < 0 else ("u of depth", y - 0.8)
    panel.text(SUM1 + 0.4, height, words, ha="center", fontsize=7.5)


def _unit2(panel: Axes, role: str, y: float) -> None:
    """The branch of the second unit with its temporal convolution, the sum and the block's end."""
    boxes = ((10.3, 11.9, "conv"), (12.3, 14.1, "temporal\nconv"), (14.5, 16.1, "conv"))
    for (left, right, words), (following, *_) in zip(boxes, (*boxes[1:], (SUM2 - 0.3,)), strict=True):
        _box(panel, role, (left, right), y, words)
        _arrow(panel, (right, y), (following, y), INK)
    _node(panel, SUM2, y, "+")
    _arrow(panel, (SUM2 + 0.3, y), (END, y), INK)
    _box(panel, role, (END, END + 0.7), y, "f")
    _arrow(panel, (END + 0.7, y), (WIDE - 0.2, y), INK)


def _source(panel: Axes, y: float) -> None:
    """Depth: f(u) goes on in both ways, and down as the signal."""
    _box(panel, "depth", (SPLIT, SPLIT + 0.7), y, "f")
    _line(panel, (SPLIT + 0.7, y), (TIMES, y))
    _arrow(panel, (TIMES, y), (10.3, y), INK)
    _around(panel, (6.7, SUM2), y, y + ASIDE)
    panel.text(13.2, y + ASIDE - 0.15, "shortcut f(u of depth)", ha="center", va="top", fontsize=7)
    _arrow(panel, (TIMES, y), (TIMES, LINES[1] + 0.3), ROLES["depth"])
    panel.text(TIMES + 0.25, (y + LINES[1]) / 2, "signal: f(u of depth)", va="center", fontsize=7.5)


def _target(panel: Axes, y: float) -> None:
    """RGB: u meets the signal on the branch, f(u) alone is the shortcut."""
    low = y - ASIDE
    _arrow(panel, (SPLIT, y), (TIMES - 0.3, y), INK)
    _node(panel, TIMES, y, "×")
    panel.text(TIMES + 0.75, y - 0.3, "eq. 2", ha="center", va="top", fontsize=7)
    _line(panel, (TIMES + 0.3, y), (GATE - 0.3, y))
    _node(panel, GATE, y, "+", dashed=True)
    _arrow(panel, (GATE + 0.3, y), (10.3, y), INK)
    _line(panel, (SPLIT, y), (SPLIT, low))
    _line(panel, (SPLIT, low), (SUM2, low))
    _arrow(panel, (SUM2, low), (SUM2, y - 0.3), INK)
    _box(panel, "rgb", (6.2, 6.9), low, "f")
    _arrow(panel, (GATE, low), (GATE, y - 0.3), INK, dashed=True)
    panel.text(GATE + 0.2, (y + low) / 2 - 0.1, "gated only", va="center", fontsize=7)
    panel.text(13.2, low - 0.15, "shortcut f(u)", ha="center", va="top", fontsize=7)


# -- parts -------------------------------------------------------------------------------------------


def _box(panel: Axes, role: str, ends: tuple[float, float], y: float, words: str) -> None:
    """A layer in its stream's colour."""
    on_white = [1 - 0.6 * (1 - value) for value in to_rgb(ROLES[role])]  # opaque, so that no line shows through
    look = {"facecolor": on_white, "edgecolor": ROLES[role], "linewidth": 1.0, "zorder": 4}
    panel.add_patch(_rounded((ends[0], y - 0.55), ends[1] - ends[0], 1.1, **look))
    panel.text(sum(ends) / 2, y, words, ha="center", va="center", fontsize=7, zorder=5)


def _node(panel: Axes, x: float, y: float, sign: str, *, dashed: bool = False) -> None:
    look = {"boxstyle": "circle,pad=0.18", "facecolor": "white", "edgecolor": INK, "linewidth": 0.8,
            "linestyle": "--" if dashed else "-"}  # fmt: skip
    panel.text(x, y, sign, ha="center", va="center", fontsize=8.5, bbox=look, zorder=5)


def _line(panel: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    panel.plot(*zip(start, end, strict=True), color=INK, linewidth=1.0, zorder=2)


def _around(panel: Axes, ends: tuple[float, float], y: float, aside: float) -> None:
    """A shortcut: away from the line, along it, and back into the sum."""
    _line(panel, (ends[0], y), (ends[0], aside))
    _line(panel, (ends[0], aside), (ends[1], aside))
    _arrow(panel, (ends[1], aside), (ends[1], y + (0.3 if aside > y else -0.3)), INK)
