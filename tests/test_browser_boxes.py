"""Driving data on the page: layers, frames, scores and pictures; in a real browser where there is one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fewview.scene.boxes import Boxes
from fewview.scene.datasets import is_driving_data, read_driving_log
from fewview.scene.datasets.nuscenes_classes import as_detection_classes
from fewview.scene.datasets.nuscenes_log import NuScenes
from fewview.scene.datasets.nuscenes_results import read_results, write_results
from fewview.scene.errors import BadInputError
from fewview.viewer.app import serve
from fewview.viewer.panels.boxes_tab import PICTURE_PX, legend
from fewview.viewer.subjects.driving_subject import FIRST_SCORE
from fewview.viewer.subjects.loader import load_subject, load_subjects
from support.browser import browser as browser
from support.browser import open_viewer, until
from support.nuscenes_folder import HEIGHT, OBJECTS, WIDTH, Drive, write_nuscenes
from support.small_run import small_gaussians


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Drive:
    return write_nuscenes(tmp_path_factory.mktemp("drive"))


@pytest.fixture(scope="module")
def results(drive: Drive) -> Path:
    """True boxes of the first three samples as detections, their scores 0.1, 0.2, ..."""
    data = NuScenes(drive.root)
    found: dict[str, Boxes] = {}
    for token in data.tokens[:3]:
        boxes = as_detection_classes(data.boxes(token))
        boxes = boxes[boxes.labels >= 0]
        found[token] = replace(boxes, scores=0.1 * torch.arange(1, len(boxes) + 1, dtype=torch.float64))
    path = drive.root / "results.json"
    write_results(path, found)
    return path


@pytest.fixture
def page(drive: Drive, results: Path):
    server, page = serve(load_subject(drive.root, read_results(results)), port=0)
    yield page
    page.close()
    server.stop()


def test_layers_follow_the_frame_and_the_score(page) -> None:
    item = shown = page.context.active
    assert [layer.name for layer in item.layers.values()] == [
        "LiDAR points", "Cameras", "True boxes", "Detected boxes",
    ]  # fmt: skip
    assert item.layers["truth"].handles[0].points.shape == (13 * len(OBJECTS), 2, 3)
    assert [len(layer.handles) for layer in item.layers.values()] == [1, 6, 1, 1]
    # 6 objects have a class of the task; those with 0.1 and 0.2 are below the first limit.
    assert len(shown.detections) == sum(0.1 * i >= FIRST_SCORE - 1e-9 for i in range(1, 7))
    shown.set_min_score(0.55)
    assert len(shown.detections) == 1
    assert item.layers["detections"].handles[0].points.shape == (13, 2, 3)
    shown.set_min_score(1.0)
    assert item.layers["detections"].handles == []
    before = item.layers["points"].handles[0].points.copy()
    shown.go_to(3)
    assert shown.frame.token == shown.log.tokens[3]
    assert len(shown.detections) == 0  # none listed for this one
    assert len(shown.truth) == len(OBJECTS)
    assert np.abs(item.layers["points"].handles[0].points - before).max() > 0.1
    shown.color_points("photographs")
    assert len(item.layers["points"].handles) == 1


def test_hidden_layers_stay_hidden_in_the_next_frame(page) -> None:
    item = page.context.active
    item.layers["truth"].wanted = False
    item.layers["points"].handles[0].point_size = 0.05
    item.go_to(1)
    assert not item.layers["truth"].handles[0].visible
    assert item.layers["points"].handles[0].point_size == 0.05


def test_the_camera_that_is_looked_through_is_hidden_in_every_frame(page) -> None:
    layer = page.context.active.layers["photographs"]
    page.context.active.look_through(2)
    for frame in (0, 1, 3):
        page.context.active.go_to(frame)
        assert [handle.visible for handle in layer.handles] == [i != 2 for i in range(6)]
    page.context.active.look_through(None)
    assert all(handle.visible for handle in layer.handles)


def test_a_frame_that_cannot_be_read_leaves_the_one_before(tmp_path: Path) -> None:
    drive = write_nuscenes(tmp_path)
    (drive.root / drive.row("sample_data", sample_token=drive.tokens[1], fileformat="jpg")["filename"]).unlink()
    server, page = serve(load_subject(drive.root), port=0)
    try:
        with pytest.raises(BadInputError, match="is not there"):
            page.context.active.go_to(1)
        assert page.context.active.index == 0
        assert page.context.active.frame.token == drive.tokens[0]
    finally:
        page.close()
        server.stop()


def test_the_panel_in_a_browser(browser, page) -> None:
    tab = open_viewer(browser, page.context.server)
    tab.get_by_text("4 key frames", exact=True).wait_for()
    tab.get_by_role("tab", name="Boxes").click()
    tab.get_by_text("scene-0000, key frame 1").wait_for()
    tab.get_by_text("70 points · 7 true boxes · 4 of 6 detections").wait_for()
    tab.get_by_role("button", name="Next").click()
    tab.get_by_text("scene-0000, key frame 2").wait_for()
    tab.get_by_role("button", name="Previous").click()
    tab.get_by_role("button", name="Previous").click()
    tab.get_by_text("scene-0001, key frame 2").wait_for()
    tab.get_by_text("0 of 0 detections").wait_for()
    tab.close()


def test_pictures_of_all_cameras_one_camera_and_from_above(page) -> None:
    panel = page.panel("Boxes")
    until(lambda: panel.picture.shape == (3 * HEIGHT, 2 * WIDTH, 3))  # small photographs are not enlarged
    panel._choice.value = "from above"
    until(lambda: panel.picture.shape == (PICTURE_PX, PICTURE_PX, 3))
    panel._choice.value = "CAM_FRONT"
    until(lambda: panel.picture.shape == (HEIGHT, WIDTH, 3))
    capture = page.context.active.frame.capture
    plain = capture.image(capture.names.index("CAM_FRONT")).numpy()
    assert (panel.picture != plain).any(axis=-1).sum() > 50  # boxes are in it
    assert (panel.picture == plain).all(axis=-1).sum() > 500


def test_the_legend_counts_and_escapes() -> None:
    boxes = Boxes.upright(
        torch.zeros(3, 3), torch.ones(3, 3), torch.zeros(3), torch.tensor([0, 0, -1]), ("<b>bold</b>",)
    )
    told = legend(boxes, None)
    assert "2 true" in told
    assert "1 true" in told
    assert "<b>bold" not in told
    assert "&lt;b&gt;bold" in told
    assert "true boxes" in legend(boxes, boxes[:1])


def test_driving_data_is_known_by_what_is_in_it(drive: Drive, tmp_path: Path) -> None:
    assert is_driving_data(drive.root)
    assert is_driving_data(drive.folder)
    assert not is_driving_data(tmp_path)
    (tmp_path / "transforms.json").write_text(json.dumps({"frames": []}))
    assert not is_driving_data(tmp_path / "transforms.json")
    (tmp_path / "info.json").write_text(json.dumps({"metainfo": {}, "data_list": []}))
    assert is_driving_data(tmp_path / "info.json")
    with pytest.raises(BadInputError, match="is not there; a nuScenes-format folder"):
        read_driving_log(tmp_path / "absent")
    assert read_driving_log(drive.root, sweeps=2)[1].points.lag_s.max() > 0.1


def test_detections_need_their_driving_data(drive: Drive, results: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="on driving data only"):
        load_subjects([small_gaussians()], results)
    write_results(tmp_path / "other.json", {"somewhere": read_results(results)[drive.tokens[0]]})
    with pytest.raises(BadInputError, match=r"none of the 4 of .* is among them"):
        load_subjects([drive.root], tmp_path / "other.json")
    shown = load_subject(drive.root, read_results(results))
    assert "1 of the 4 key frames have no detections" in shown.notes[-1]


def test_the_first_frame_is_one_with_detections(drive: Drive, results: Path) -> None:
    found = read_results(results)
    third = {drive.tokens[2]: found[drive.tokens[2]]}
    server, page = serve(load_subject(drive.root, third), port=0)
    shown = page.context.subjects[0]
    assert (shown.index, shown.frame.token) == (2, drive.tokens[2])
    assert page.panel("Boxes")._slider.value == 3
    page.close()
    server.stop()
