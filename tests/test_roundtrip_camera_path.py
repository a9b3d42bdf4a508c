"""Camera path files: ours come back bit for bit, and nerfstudio and we read each other's."""

import json
import math

import numpy as np
import pytest
import torch
from fewview.render.camera_path import CameraPath
from fewview.render.camera_path_file import camera_path_from_json, camera_path_json, read_camera_path, write_camera_path
from support.camera_paths import nerfstudio_cameras, nerfstudio_viewer_file, random_path
from support.small_run import small_cameras

OPENGL = torch.diag(torch.tensor([1.0, -1, -1, 1]))


def assert_same(a: CameraPath, b: CameraPath, tolerance: float = 0.0) -> None:
    settings = [
        (p.width, p.height, p.fps, p.default_transition_s, p.loop, p.tension, len(p.key_frames)) for p in (a, b)
    ]
    assert settings[0] == settings[1]
    for x, y in zip(a.key_frames, b.key_frames, strict=True):
        torch.testing.assert_close(x.world_from_cam, y.world_from_cam, atol=tolerance, rtol=0)
        assert x.fov_rad == pytest.approx(y.fov_rad, abs=tolerance)
        assert (x.transition_s, x.time_s) == (y.transition_s, y.time_s)


@pytest.mark.parametrize("loop", [False, True])
def test_ours_comes_back_bit_for_bit(tmp_path, loop):
    path = random_path(1, 4, loop=loop, tension=0.3, fps=23.976)
    write_camera_path(tmp_path / "path.json", path)
    again = read_camera_path(tmp_path / "path.json")
    assert_same(path, again)
    assert torch.equal(path.cameras().cam_from_world, again.cameras().cam_from_world)
    assert torch.equal(path.cameras().K, again.cameras().K)


def test_times_come_back_too():
    timed = small_cameras(4)
    path = CameraPath.through(type(timed)(*list(vars(timed).values())[:4], torch.linspace(0, 1, 4)))
    table = json.loads(json.dumps(camera_path_json(path)))
    assert_same(path, camera_path_from_json(table, "file"))
    assert [picture["render_time"] for picture in table["camera_path"]] == sorted(
        picture["render_time"] for picture in table["camera_path"]
    )
    del table["fewview"]
    assert_same(path, camera_path_from_json(table, "file"), 1e-12)


@pytest.mark.parametrize("loop", [False, True])
def test_nerfstudio_renders_our_pictures(loop):
    path = random_path(2, 5, loop=loop)
    table = json.loads(json.dumps(camera_path_json(path)))
    camera_to_world, focal, center, rate = nerfstudio_cameras(table)
    ours = path.cameras()
    assert (table["render_width"], table["render_height"]) == (path.width, path.height)
    assert rate == pytest.approx(path.fps)
    # float32 of poses a few units away.
    np.testing.assert_allclose(camera_to_world, (ours.world_from_cam @ OPENGL)[:, :3], atol=2e-6)
    np.testing.assert_allclose(focal, ours.K[:, 0, 0], rtol=1e-6)
    np.testing.assert_allclose([center] * len(ours), ours.K[:, :2, 2])


@pytest.mark.parametrize("loop", [False, True])
def test_key_frames_of_nerfstudios_viewer_are_read(loop):
    path = random_path(3, 4, loop=loop, tension=0.5)
    table = json.loads(json.dumps(nerfstudio_viewer_file(path)))
    assert_same(path, camera_path_from_json(table, "theirs.json"), 1e-12)  # degrees and back
    table["keyframes"][1]["override_transition_enabled"] = False  # its seconds stay in the file
    assert camera_path_from_json(table, "theirs.json").key_frames[1].transition_s is None


def test_the_viewer_of_nerfstudio_keeps_our_lenses():
    """It takes a key frame's field of view as its own only where that differs from the file's default."""
    table = camera_path_json(random_path(3, 4))
    assert all(abs(frame["fov"] - table.get("default_fov", 0.0)) > 1e-3 for frame in table["keyframes"])


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("kind", ["blender", "old viewer"])
def test_files_with_pictures_only_give_these_pictures(loop, kind):
    path = random_path(4, 3, loop=loop)
    table = camera_path_json(path)
    del table["fewview"]
    table["keyframes"] = []
    if kind == "blender":  # its plug-in writes neither a rate nor key frames
        del table["fps"], table["default_transition_sec"], table["default_fov"]
    else:  # matrices as text, column by column
        table["keyframes"] = [{"matrix": "[1,0,0,0,0,1,0,0,0,0,1,0,0,0,0,1]", "fov": 50, "properties": "[]"}]
    again = camera_path_from_json(table, "theirs.json")
    assert again.fps == pytest.approx(path.fps)
    assert again.count == path.count
    torch.testing.assert_close(again.cameras().cam_from_world, path.cameras().cam_from_world, atol=2e-6, rtol=0)
    torch.testing.assert_close(again.cameras().K, path.cameras().K, rtol=1e-6, atol=0)


def test_a_hand_made_file():
    """A camera at (0, 0, 4) that looks along -z, as OpenGL's identity does: the origin is in the picture's middle."""
    matrix = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 4, 0, 0, 0, 1]
    table = {
        "camera_type": "perspective",
        "render_height": 100,
        "render_width": 200,
        "fps": 24,
        "seconds": 1 / 24,
        "camera_path": [{"camera_to_world": matrix, "fov": 90, "aspect": 2}],
    }
    camera = camera_path_from_json(table, "mine").cameras()[0]
    point = camera.cam_from_world @ torch.tensor([0.0, 1, 0, 1])
    seen = camera.K @ point[:3]
    assert (seen[:2] / seen[2]).tolist() == pytest.approx([100, 50 - 50 / math.tan(math.pi / 4) / 4])  # y up is up
