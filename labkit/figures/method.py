"""The method, drawn: a strip of its four steps and the test, and each moment of them large.

`MOMENTS` say what happens, moment by moment: which streams, what each sees, who is frozen, what flows between them,
what is learnt from and whom a gradient reaches. The drawings and the words are made from them.
"""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Rectangle

from .style import INK, PAGE, PLAIN, ROLES, bare, styled

GRADIENT = PLAIN[1]  # wine red, and always dashed
STRIP, LARGE = 1.75, 3.5  # inches, the heights of the strip and of a moment
LABELS, SOFT, MAPS = "labels", "soft labels", "feature maps"  # what a stream learns from


class Drawn(NamedTuple):
    """A stream at one moment."""

    role: str  # of `style.ROLES`
    sees: str  # "depth" or "rgb"
    frozen: bool = False

    @property
    def name(self) -> str:
        return _NAMES[self.role]


class Moment(NamedTuple):
    """What happens at one moment of a step, or at the test, which comes as step 5."""

    step: int
    name: str
    streams: tuple[Drawn, ...]  # the source of signals first
    flows: str
    learns: tuple[str, ...] = ()  # from what; where there is anything, gradients are drawn
    gradient: str = ""

    @property
    def connected(self) -> bool:
        return len(self.streams) > 1

    @property
    def fused(self) -> bool:
        """Whether the two logits are averaged; those of a frozen teacher are not."""
        return self.connected and not any(stream.frozen for stream in self.streams)

    @property
    def reached(self) -> tuple[str, ...]:
        """The streams that a gradient reaches, by role."""
        return tuple(stream.role for stream in self.streams if self.learns and not stream.frozen)

    def __str__(self) -> str:
        return ("Test" if self.step == len(STEPS) else f"Step {self.step}") + f": {self.name}"

    @property
    def facts(self) -> list[str]:
        """In words, what the drawing shows: a line a stream, what flows, where the gradient goes."""
        streams = [f"{s.name[0].upper()}{s.name[1:]} stream{', frozen' * s.frozen}: sees the {_NAMES[s.sees]} clip."
                   for s in self.streams]  # fmt: skip
        return [*streams, *filter(None, (self.flows, self.gradient))]

    @property
    def words(self) -> str:
        return " ".join((f"{self}.", *self.facts))


_NAMES = {"depth": "depth", "rgb": "RGB", "hallucination": "hallucination"}
_DEPTH, _RGB, _HALLUCINATION = Drawn("depth", "depth"), Drawn("rgb", "rgb"), Drawn("hallucination", "rgb")
_TEACHER = _DEPTH._replace(frozen=True)
_SIGNALS = "At four connections the {} stream's signal is multiplied into the {} stream's branch (eq. 2). "
_MEAN = "The two logits are averaged."
_ALONE = "The logits are the mean over the frames."
_BOTH = ("The cross-entropy of the mean with the labels. Its gradient reaches both streams; through the connections, "
         "the {} stream's gradient reaches the {} stream, too.")  # fmt: skip

STEPS = (  # of the strip: title, what is learnt from, streams
    ("Step 1: alone", "labels, separately", (_DEPTH, _RGB)),
    ("Step 2: two streams", "labels, on the mean", (_DEPTH, _RGB)),
    ("Step 3: hallucination", "labels, soft labels, maps", (_TEACHER, _HALLUCINATION)),
    ("Step 4: RGB only", "labels, on the mean", (_HALLUCINATION, _RGB)),
    ("Test", "no depth is read", (_HALLUCINATION, _RGB)),
)
MOMENTS = (
    Moment(1, "depth stream", (_DEPTH,), _ALONE, (LABELS,),
           "The cross-entropy with the labels. Its gradient reaches the whole stream."),
    Moment(1, "RGB stream", (_RGB,), _ALONE, (LABELS,),
           "The cross-entropy with the labels. Its gradient reaches the whole stream."),
    Moment(2, "forward", (_DEPTH, _RGB), _SIGNALS.format("depth", "RGB") + _MEAN),
    Moment(2, "gradient", (_DEPTH, _RGB), _MEAN, (LABELS,), _BOTH.format("RGB", "depth")),
    Moment(3, "forward", (_TEACHER, _HALLUCINATION), _SIGNALS.format("depth", "hallucination")
           + "The hallucination starts as a copy of the depth stream."),
    Moment(3, "gradient", (_TEACHER, _HALLUCINATION),
           "Depth hands over its soft labels (eq. 6) and the maps at the end of block 4 (eq. 3).",
           (LABELS, SOFT, MAPS), "The loss (eq. 7) has three parts. Their gradients reach the hallucination stream; "
           "none reaches the depth stream."),
    Moment(4, "forward", (_HALLUCINATION, _RGB), _SIGNALS.format("hallucination", "RGB") + _MEAN),
    Moment(4, "gradient", (_HALLUCINATION, _RGB), _MEAN, (LABELS,), _BOTH.format("RGB", "hallucination")),
    Moment(5, "RGB alone", (_HALLUCINATION, _RGB), _SIGNALS.format("hallucination", "RGB")
           + "The mean of the logits is the answer.", (), "No depth is read, and nothing is trained."),
)  # fmt: skip


def moments_of(step: int) -> list[Moment]:
    """The moments of a step; those of step 4 end with the test, which uses its network."""
    return [moment for moment in MOMENTS if min(moment.step, 4) == step]


# -- the strip of steps --------------------------------------------------------------------------------


@styled
def method_diagram() -> Figure:
    """The four steps and the test, left to right: which streams, what they see, what flows between them."""
    figure = Figure(figsize=(PAGE, STRIP))
    _strip(figure)
    return figure


def _strip(figure: Figure, lit: Collection[int] = ()) -> None:
    """The strip in the uppermost inches of a figure; steps that are not `lit` are pale, if any are."""
    tall = figure.get_figheight()
    for place, (title, lesson, streams) in enumerate(STEPS):
        step, wide = place + 1, 1 / len(STEPS)
        panel = bare(figure.add_axes((place * wide, 1 - STRIP / tall, wide, STRIP / tall)))
        panel.set(xlim=(0, 10), ylim=(0, 10 * STRIP / (PAGE * wide)))
        shade = 1.0 if step in lit or not lit else PALE
        if step in lit:
            panel.add_patch(_rounded((0.15, 0.15), 9.7, 11.7, edgecolor=INK, facecolor="none", linewidth=0.8))
        panel.text(5, 11.0, title, ha="center", va="center", weight="bold", fontsize=7.5, alpha=shade)
        panel.text(5, 9.7, lesson, ha="center", va="center", fontsize=6.5, alpha=shade)
        for x, stream in zip((2.6, 7.4), streams, strict=True):
            _small(panel, x, stream, shade)
        if step > 1:
            for y in (4.0, 5.1, 6.2, 7.3):
                _arrow(panel, (4.3, y), (5.7, y), ROLES[streams[0].role], alpha=shade)


def _small(panel: Axes, x: float, stream: Drawn, shade: float) -> None:
    panel.add_patch(_rounded((x - 1.6, 3.1), 3.2, 5.1, **_look(stream, shade)))
    name = {"hallucination": "halluci-\nnation"}.get(stream.role, stream.name) + "\n(frozen)" * stream.frozen
    panel.text(x, 5.65, name, ha="center", va="center", fontsize=6.5, alpha=shade)
    _arrow(panel, (x, 1.6), (x, 3.0), INK, alpha=shade)
    panel.text(x, 0.95, f"{_NAMES[stream.sees]} clip", ha="center", va="center", fontsize=6.5, alpha=shade)


def _look(stream: Drawn, shade: float = 1.0) -> dict:
    """A stream's colour; pale inside a dashed line where it is frozen."""
    color = ROLES[stream.role]
    return {"facecolor": (color, shade * (0.15 if stream.frozen else 0.6)), "edgecolor": (color, shade),
            "linestyle": "--" if stream.frozen else "-", "linewidth": 1.1}  # fmt: skip


# -- one moment, large -----------------------------------------------------------------------------------

HIGH = 10.4  # of a drawing that is 10 wide
BLOCKS, BLOCK, WIDE = (2.1, 3.25, 4.4, 5.55), 0.8, 2.2  # where the four blocks of a stream begin, and their size
LOGITS, MEAN, LOSS = 7.5, 8.55, 9.9  # heights of what lies above them
PALE = 0.22  # how strong steps are that are not lit
SOFTLY = 0.3  # how strong forward arrows are where gradients are the point


@styled
def method_moments(moments: Sequence[Moment]) -> Figure:
    """The strip with their steps lit, and under it the moments side by side.

    A single one has room for its words. The size does not depend on which moments they are.
    """
    figure = Figure(figsize=(PAGE, STRIP + LARGE))
    _strip(figure, {moment.step for moment in moments})
    columns, top = max(2, len(moments)), LARGE / (STRIP + LARGE)
    for place, moment in enumerate(moments):
        panel = bare(figure.add_axes((place / columns, 0.01, 1 / columns, top - 0.05)))
        panel.set(xlim=(0, 10), ylim=(0, HIGH), aspect="equal")
        _moment(panel, moment)
        if len(moments) > 1:
            where = (place + 0.5) / columns, top - 0.03
            figure.text(*where, str(moment), ha="center", va="center", weight="bold")
    for line, (words, color) in enumerate((("dashed: gradient", GRADIENT), ("solid: forward", INK))):
        figure.text(0.5, 0.015 + 0.025 * line, words, ha="center", color=color, fontsize=7)
    if len(moments) == 1:
        figure.text(0.52, 0.93 * top, str(moment), weight="bold", fontsize=9.5, va="top")
        words = "\n\n".join(textwrap.fill(fact, 48) for fact in moment.facts)
        figure.text(0.52, 0.82 * top, words, fontsize=8, va="top", linespacing=1.3)
    return figure


def _moment(panel: Axes, moment: Moment) -> None:
    places = (2.3, 7.7) if moment.connected else (5.0,)
    soft = SOFTLY if moment.learns and moment.connected else 1.0  # of forward arrows
    for x, stream in zip(places, moment.streams, strict=True):
        _stream(panel, x, stream, soft)
        if moment.reached and stream.role in moment.reached:
            side = x + (WIDE / 2 + 0.22) * (-1 if x <= 5 else 1)
            _arrow(panel, (side, LOGITS), (side, BLOCKS[0]), GRADIENT, dashed=True)
    if moment.connected:
        _connections(panel, moment, soft)
    if moment.step == len(STEPS):  # a depth clip, crossed out, between two that are read
        _clip(panel, 5, "depth", 0.3)
        for ends in ((0.5, 1.7), (1.7, 0.5)):
            panel.plot((4.2, 5.8), ends, color=INK, linewidth=1.6, zorder=5)
    if SOFT in moment.learns:
        _distillation(panel, places)
    else:
        _top(panel, moment, places, soft)


def _stream(panel: Axes, x: float, stream: Drawn, soft: float) -> None:
    """A column: the clip, the four blocks, the logits."""
    _clip(panel, x, stream.sees)
    _arrow(panel, (x, 1.5), (x, BLOCKS[0]), INK, alpha=soft)
    for number, low in enumerate(BLOCKS, 1):
        panel.add_patch(_rounded((x - WIDE / 2, low), WIDE, BLOCK, **_look(stream)))
        panel.text(x, low + BLOCK / 2, f"block {number}", ha="center", va="center", fontsize=6.5, zorder=4)
        above = BLOCKS[number] if number < len(BLOCKS) else LOGITS - 0.25
        _arrow(panel, (x, low + BLOCK), (x, above), INK, alpha=soft)
    panel.text(x, LOGITS, "logits", ha="center", va="center", fontsize=7)
    outside, turned = (x - 1.8, 90) if x <= 5 else (x + 1.8, 270)
    name = f"{stream.name}{', frozen' * stream.frozen}"
    panel.text(outside, 4.2, name, ha="center", va="center", rotation=turned, weight="bold", fontsize=8)


def _clip(panel: Axes, x: float, sees: str, alpha: float = 1.0) -> None:
    """Three frames behind one another, with somebody in the first."""
    for shift in (0.3, 0.15, 0.0):
        frame = Rectangle((x - 0.75 + shift, 0.55 + shift), 1.2, 0.9, facecolor=ROLES[sees], edgecolor="white",
                          linewidth=0.6, alpha=alpha, zorder=2)  # fmt: skip
        panel.add_patch(frame)
    middle = x - 0.15
    panel.add_patch(Circle((middle, 1.2), 0.12, color="white", zorder=3))
    for limb in (((0, 1.1), (0, 0.85)), ((-0.25, 1.2), (0, 1.02)), ((0.25, 1.2), (0, 1.02)), ((-0.17, 0.62), (0, 0.85)),
                 ((0.17, 0.62), (0, 0.85))):  # fmt: skip
        panel.plot(*zip(*((middle + dx, y) for dx, y in limb), strict=True), color="white", linewidth=1, zorder=3)
    panel.text(x, 0.25, f"{_NAMES[sees]} clip", ha="center", va="center", fontsize=7, alpha=alpha)


def _connections(panel: Axes, moment: Moment, soft: float) -> None:
    """A signal from each block of the source into the target's; below it the gradient that comes back."""
    left, right = 2.3 + WIDE / 2, 7.7 - WIDE / 2
    for low in BLOCKS:
        y = low + BLOCK / 2 + (0.14 if moment.learns else 0)
        _arrow(panel, (left, y), (right - 0.32, y), ROLES[moment.streams[0].role], alpha=soft)
        panel.text(right - 0.2, y, "×", ha="center", va="center", fontsize=9, alpha=max(soft, 0.5))
        if len(moment.reached) == 2:
            _arrow(panel, (right, y - 0.28), (left, y - 0.28), GRADIENT, dashed=True)


def _top(panel: Axes, moment: Moment, places: Sequence[float], soft: float) -> None:
    """From logits to their mean, and to the loss or the answer."""
    below = LOGITS
    if moment.fused:
        for x in places:
            ends = (x, LOGITS + 0.2), (5 + (-0.75 if x < 5 else 0.75), MEAN)
            _arrow(panel, *ends, INK, alpha=soft)
            if moment.learns:
                back = (5 + (-0.75 if x < 5 else 0.75), MEAN - 0.28), (x + (0.6 if x < 5 else -0.6), LOGITS + 0.12)
                _arrow(panel, *back, GRADIENT, dashed=True)
        panel.text(5, MEAN, "mean", ha="center", va="center", fontsize=7, bbox=_BADGE)
        below = MEAN
    if moment.learns:
        _arrow(panel, (4.8, below + 0.3), (4.8, LOSS - 0.35), INK, alpha=soft)
        _arrow(panel, (5.3, LOSS - 0.35), (5.3, below + 0.3), GRADIENT, dashed=True)
        _loss(panel, (5, LOSS), "cross-entropy with the labels")
    elif moment.fused:
        _arrow(panel, (5, below + 0.3), (5, LOSS - 0.3), INK)
        panel.text(5, LOSS, "answer", ha="center", va="center", fontsize=8)


def _distillation(panel: Axes, places: Sequence[float]) -> None:
    """The three parts of eq. 7, from the teacher at the left to the student at the right."""
    left, right = places
    end = BLOCKS[-1] + BLOCK + 0.25
    for y, words, xs in ((end, "maps: eq. 3", (left + 0.2, right - 0.2)),
                         (LOGITS, "soft labels: eq. 5, 6", (left + 0.75, right - 0.75))):  # fmt: skip
        _arrow(panel, (xs[0], y), (3.6, y), ROLES["depth"])
        _arrow(panel, (6.4, y), (xs[1], y), GRADIENT, dashed=True)
        _loss(panel, (5, y), words)
    _arrow(panel, (right, LOSS - 0.6), (right, LOGITS + 0.25), GRADIENT, dashed=True)
    _loss(panel, (right - 0.5, LOSS - 0.3), "cross-entropy with the labels")


# -- parts of drawings -----------------------------------------------------------------------------------

_BADGE = {"boxstyle": "round,pad=0.3", "facecolor": "white", "edgecolor": INK, "linewidth": 0.7}


def _loss(panel: Axes, where: tuple[float, float], words: str) -> None:
    panel.text(*where, words, ha="center", va="center", fontsize=7, bbox={**_BADGE, "edgecolor": GRADIENT})


def _rounded(corner: tuple[float, float], width: float, height: float, **look) -> FancyBboxPatch:
    return FancyBboxPatch(corner, width, height, boxstyle="round,pad=0,rounding_size=0.3", **look)


def _arrow(panel: Axes, start: tuple[float, float], end: tuple[float, float], color: str, *, alpha: float = 1.0,
           dashed: bool = False) -> None:  # fmt: skip
    panel.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=7, color=color, alpha=alpha,
                                    linewidth=1.0, linestyle=(0, (3, 1.5)) if dashed else "-", shrinkA=0, shrinkB=0,
                                    zorder=3))  # fmt: skip
