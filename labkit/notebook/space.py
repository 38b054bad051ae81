"""A frame in space: what the depth camera measured as points in the colours of RGB, the joints, and both cameras."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from ..figures.pictures import skeleton_line
from ..figures.style import PAGE, ROLES, new_figure, styled
from ..lab import watched
from ..puppets.rendering import Camera

if TYPE_CHECKING:
    from plotly.graph_objects import Figure as Turnable

VIEWS = {"from the cameras": (5, -90), "from the side": (5, -15), "from above": (80, -90)}  # elevation, azimuth


def cloud(color: np.ndarray, depth: np.ndarray, cameras: dict[str, Camera]) -> tuple[np.ndarray, np.ndarray]:
    """Points (N, 3) in metres, x right, y up, z forward of the depth camera, and their colours (N, 3) in 0 to 1.

    `color` (H, W, 3) uint8 and `depth` (h, w) uint16 are one frame; `cameras` has "depth" and "colour". A point takes
    the colour of the RGB pixel that it is projected to; one outside of the RGB image is left out.
    """
    y, x = np.nonzero(depth)
    points = cameras["depth"].unproject(np.stack([x, y], axis=-1) + 0.5, depth[y, x] / 1000)
    column, row = np.floor(cameras["colour"].project(points)).astype(int).T
    seen = (column >= 0) & (row >= 0) & (column < color.shape[1]) & (row < color.shape[0])
    return points[seen], color[row[seen], column[seen]] / 255


def _places(cameras: dict[str, Camera]) -> dict[str, tuple[str, np.ndarray]]:
    """Colour and place (3,) of each camera."""
    roles = {"depth": ROLES["depth"], "colour": ROLES["rgb"]}
    return {f"{name} camera": (roles[name], np.array([-camera.offset, 0, 0])) for name, camera in cameras.items()}


@styled
def views(points: np.ndarray, colors: np.ndarray, joints: np.ndarray, cameras: dict[str, Camera]) -> Figure:
    """The cloud with its joints (25, 3) and both cameras, seen from three sides."""
    figure, panels = new_figure(PAGE, 0.4 * PAGE, columns=len(VIEWS), subplot_kw={"projection": "3d"})
    line = skeleton_line(joints)
    for axes, (name, (elevation, azimuth)) in zip(panels[0], VIEWS.items(), strict=True):
        axes.scatter(points[:, 0], points[:, 2], points[:, 1], c=colors, s=2, linewidths=0)
        axes.plot(line[:, 0], line[:, 2], line[:, 1], color=ROLES["rgb_only"], linewidth=1)
        for label, (color, (x, y, z)) in _places(cameras).items():
            axes.scatter([x], [z], [y], color=color, s=12, marker="s", label=label)
        axes.view_init(elevation, azimuth)
        axes.set_aspect("equal")
        axes.set_title(name)
        axes.set_axis_off()
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def turnable(points: np.ndarray, colors: np.ndarray, joints: np.ndarray, cameras: dict[str, Camera]) -> Turnable | None:
    """The same to be turned with the mouse, by plotly; None where it is not installed, or nobody looks."""
    if find_spec("plotly") is None or not watched():
        return None
    import plotly.graph_objects as go

    def trace(xyz: np.ndarray, name: str, **look) -> go.Scatter3d:
        return go.Scatter3d(x=xyz[:, 0], y=xyz[:, 2], z=xyz[:, 1], name=name, **look)

    bones = {"color": ROLES["rgb_only"], "width": 4}
    shown = [trace(points, "depth", mode="markers", marker={"size": 2, "color": [*map(to_hex, colors)]}),
             trace(skeleton_line(joints), "joints", mode="lines", line=bones)]  # fmt: skip
    shown += [trace(place[None], name, mode="markers", marker={"size": 5, "symbol": "square", "color": color})
              for name, (color, place) in _places(cameras).items()]  # fmt: skip
    return go.Figure(shown, layout={"scene": {"aspectmode": "data"}, "margin": dict.fromkeys("lrtb", 0)})
