"""A frame in space: points lie on the joints, in the colours of RGB; plotly shows the same."""

from __future__ import annotations

import numpy as np
import pytest

from labkit.config import PuppetsConfig
from labkit.data.media.video import read_depth_frames, read_video
from labkit.data.skeletons import read_skeleton
from labkit.notebook import space
from labkit.puppets.clips import clip_files
from labkit.puppets.make import make_puppets, read_record
from labkit.puppets.rendering import Camera

NAME = "S001C001P002R001A001"


@pytest.fixture(scope="module")
def frame(tmp_path_factory):
    config = PuppetsConfig(subjects=(2,), cameras=(1,), scale=6)
    root = make_puppets(tmp_path_factory.mktemp("space"), config, workers=1, progress=False)
    files, geometry = clip_files(root, NAME), read_record(root, NAME)["geometry"]
    cameras = {"depth": Camera(**geometry["depth"]), "colour": Camera(**geometry["color"])}
    return read_video(files["rgb"])[0], read_depth_frames(files["depth"])[0], cameras, read_skeleton(files["skeleton"])


def test_points_lie_around_the_joints_and_project_to_where_they_were_measured(frame):
    color, depth, cameras, skeleton = frame
    points, colors = space.cloud(color, depth, cameras)
    assert points.shape == colors.shape and len(points) > 0.9 * (depth > 0).sum() and 0 <= colors.min() <= 1
    column, row = np.floor(cameras["depth"].project(points)).astype(int).T
    assert np.allclose(depth[row, column] / 1000, points[:, 2])
    spine = skeleton.xyz[0, 0, 20]
    assert np.linalg.norm(points - spine, axis=1).min() < 0.2  # half a torso


def test_both_pictures_show_cloud_joints_and_two_cameras(frame, monkeypatch):
    monkeypatch.setenv("LABKIT_PROGRESS", "bar")  # somebody looks
    color, depth, cameras, skeleton = frame
    shown = (*space.cloud(color, depth, cameras), skeleton.xyz[0, 0], cameras)
    assert [axes.get_title() for axes in space.views(*shown).axes] == list(space.VIEWS)
    turned = space.turnable(*shown)
    if turned is None:
        pytest.skip("plotly is not installed")
    assert [trace.name for trace in turned.data] == ["depth", "joints", "depth camera", "colour camera"]
    assert len(turned.data[0].x) == len(shown[0])
