"""The renderer against its definition: march along each ray and ask whether a point is inside."""

from __future__ import annotations

import numpy as np
import pytest

from labkit.puppets.rendering import Box, Camera, Capsule, render

CAMERA = Camera.from_fov(48, 40, 70.6, 60.0)
DEPTHS = np.arange(1.0, 4.5, 0.004)


def inside_capsule(solid: Capsule, points: np.ndarray) -> np.ndarray:
    start, axis = solid.start[0], solid.end[0] - solid.start[0]
    place = np.clip((points - start) @ axis / max(axis @ axis, 1e-12), 0, 1)
    radius = solid.radius + place * (solid.end_radius - solid.radius)
    return np.linalg.norm(points - start - place[..., None] * axis, axis=-1) < radius


def inside_box(solid: Box, points: np.ndarray) -> np.ndarray:
    return (abs((points - solid.center[0]) @ solid.axes[0].T) < solid.half).all(-1)


def marched(camera: Camera, solid) -> np.ndarray:
    """Depth of the first point inside the solid on each pixel's ray, by brute force."""
    y, x = np.mgrid[: camera.height, : camera.width]
    pixels = np.stack([x, y], -1)[:, :, None] + 0.5 + np.zeros((len(DEPTHS), 2))
    points = camera.unproject(pixels, np.broadcast_to(DEPTHS, pixels.shape[:-1]))
    hit = (inside_box if isinstance(solid, Box) else inside_capsule)(solid, points)
    return np.where(hit.any(-1), DEPTHS[hit.argmax(-1)], np.inf)


def solids():
    rng = np.random.default_rng(5)
    for _ in range(6):
        start = rng.uniform([-0.8, -0.7, 2], [0.8, 0.7, 3])
        end = start + rng.normal(0, 0.4, 3)
        yield Capsule(1, start[None], end[None], 0.2, 0.2)
    yield Capsule(1, np.array([[0.1, 0, 3.0]]), np.array([[0.1, 0, 2.0]]), 0.25, 0.25)  # along the axis
    yield Capsule(1, np.array([[0.1, 0, 3.0]]), np.array([[0.1, 0, 3.0]]), 0.3, 0.3)  # a ball
    for _ in range(4):
        axes = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        yield Box(1, rng.uniform([-0.5, -0.5, 2], [0.5, 0.5, 3])[None], axes[None], rng.uniform(0.1, 0.5, 3))
    yield Box(1, np.array([[0.0, 0.0, 2.5]]), np.eye(3)[None], np.array([0.2, 0.3, 0.1]))  # faces the camera


@pytest.mark.parametrize("offset", [0.0, 0.052])
@pytest.mark.parametrize("solid", list(solids()))
def test_the_first_point_inside_is_the_one_drawn(solid, offset):
    camera = Camera(48, 40, CAMERA.fx, CAMERA.fy, offset)
    drawn, truth = render(camera, [solid], 1, np.array([0.0, 1, 0])).z[0], marched(camera, solid)
    seen = np.isfinite(drawn) & np.isfinite(truth)
    assert (np.isfinite(drawn) ^ np.isfinite(truth)).sum() <= 0.03 * seen.sum() + 2  # grazing rays
    assert seen.sum() > 20
    assert np.quantile(abs(drawn[seen] - truth[seen]), 0.97) < 0.008  # two steps of the march


def test_a_tapered_limb_is_close_to_its_definition():
    solid = Capsule(1, np.array([[-0.4, 0.2, 2.5]]), np.array([[0.4, -0.2, 2.8]]), 0.2, 0.1)
    drawn, truth = render(CAMERA, [solid], 1, np.array([0.0, 1, 0])).z[0], marched(CAMERA, solid)
    seen = np.isfinite(drawn) & np.isfinite(truth)
    assert (np.isfinite(drawn) ^ np.isfinite(truth)).sum() <= 0.1 * seen.sum()
    assert np.median(abs(drawn[seen] - truth[seen])) < 0.01


def test_the_nearer_solid_hides_the_farther_whatever_the_order():
    near = Capsule(1, np.array([[0.0, 0, 2.0]]), np.array([[0.0, 0, 2.0]]), 0.2, 0.2)
    far = Box(2, np.array([[0.0, 0, 3.0]]), np.eye(3)[None], np.array([0.6, 0.6, 0.1]))
    pictures = [render(CAMERA, order, 1, np.array([0.0, 1, 0])) for order in ([near, far], [far, near])]
    assert (pictures[0].label == pictures[1].label).all() and (pictures[0].z == pictures[1].z).all()
    assert pictures[0].label[0, 20, 24] == 1 and (pictures[0].label == 2).any()


def test_light_comes_from_the_lamp():
    ball = Capsule(1, np.array([[0.0, 0, 2.0]]), np.array([[0.0, 0, 2.0]]), 0.4, 0.4)
    light = render(CAMERA, [ball], 1, np.array([0.0, 1, 0])).light[0]
    assert light[15, 24] > 0.4 and light[24, 24] == 0  # top and bottom
    front = render(CAMERA, [ball], 1, np.array([0.0, 0, -1])).light[0]
    assert front[20, 24] == pytest.approx(1, abs=0.01)


def test_project_and_unproject_are_inverse():
    xyz = np.random.default_rng(0).uniform([-1, -1, 1], [1, 1, 4], (50, 3))
    camera = Camera.from_fov(320, 180, 84.1, 53.8, 0.052)
    assert camera.unproject(camera.project(xyz), xyz[:, 2]) == pytest.approx(xyz)
    edge = camera.unproject(np.array([0.0, camera.cy]), np.array(1.0))  # the left border of the picture
    assert np.degrees(np.arctan(edge[0] + 0.052)) == pytest.approx(-84.1 / 2)
