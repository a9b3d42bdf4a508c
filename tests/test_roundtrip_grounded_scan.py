"""A sentence's answer as a file, damaged ones, and what the viewer serves of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from fewview.scene.boxes import Boxes
from fewview.scene.errors import BadInputError
from fewview.scene.grounded_scan import (
    GROUNDED_FILE,
    GroundedScan,
    VoxelField,
    read_grounded_scan,
    write_grounded_scan,
)
from fewview.scene.point_cloud import PointCloud
from fewview.viewer.app import serve
from fewview.viewer.subjects.grounded_subject import FILL, OVER_THE_WALLS_DEG, GroundedSubject
from fewview.viewer.subjects.loader import load_subject


def small() -> GroundedScan:
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(50, 3, generator=generator) * 4
    colors = torch.randint(0, 255, (50, 3), generator=generator, dtype=torch.uint8)
    one = torch.tensor([[1.0, 2.0, 0.5]])
    boxes = Boxes.upright(one, one / 2, torch.zeros(1), torch.zeros(1).long(), ("object",), scores=torch.tensor([0.5]))
    kept = torch.tensor([True, False, True])
    field = VoxelField("Speaks of any object", 0.64, points[:3], torch.tensor([0.0, 0.5, 1.0]), kept)
    score = VoxelField(
        "Score of the sentence", 0.16, points[:5], torch.rand(5, generator=generator), torch.ones(5).bool()
    )
    return GroundedScan("the “red” chair", PointCloud(points, colors, metric=True), boxes, (field, score))


def test_the_file_comes_back_whole(tmp_path: Path) -> None:
    scan = small()
    write_grounded_scan(tmp_path / GROUNDED_FILE, scan)
    again = read_grounded_scan(tmp_path / GROUNDED_FILE)
    assert again.sentence == scan.sentence
    assert torch.equal(again.points.xyz, scan.points.xyz)
    assert torch.equal(again.points.rgb, scan.points.rgb)
    for name in ("centers", "sizes", "scores"):
        assert torch.equal(getattr(again.boxes, name), getattr(scan.boxes, name))
    for mine, theirs in zip(again.fields, scan.fields, strict=True):
        assert (mine.name, mine.edge_m) == (theirs.name, theirs.edge_m)
        for name in ("centers", "values", "kept"):
            assert torch.equal(getattr(mine, name), getattr(theirs, name))


@pytest.mark.parametrize("change", ["cut", "other", "shape", "missing"])
def test_a_damaged_file_is_one_sentence(tmp_path: Path, change: str) -> None:
    path = tmp_path / GROUNDED_FILE
    write_grounded_scan(path, small())
    if change == "cut":
        path.write_bytes(path.read_bytes()[:-40])
    elif change == "other":
        safetensors.torch.save_file({"points": torch.zeros(2, 3)}, path)
    else:
        with safetensors.safe_open(path, framework="pt") as file:
            tensors, about = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
        if change == "shape":
            tensors["field.1.values"] = torch.zeros(4)
        else:
            del tensors["box.sizes"]
        safetensors.torch.save_file(tensors, path, about)
    with pytest.raises(BadInputError, match=GROUNDED_FILE):
        load_subject(tmp_path)


def test_the_page_has_the_scan_the_box_and_what_was_kept(tmp_path: Path) -> None:
    scan = small()
    write_grounded_scan(tmp_path / GROUNDED_FILE, scan)
    subject = load_subject(tmp_path)
    assert isinstance(subject, GroundedSubject)
    server, page = serve(subject, port=0)
    try:
        layers = {key: layer.handles[0] for key, layer in subject.layers.items()}
        seen = [key for key, layer in subject.layers.items() if layer.seen]
        stage = page.context.stage
        assert seen == ["points", "box"]
        assert list(layers) == ["points", "box", "field0", "kept0", "field1"]  # of the last field all is kept
        np.testing.assert_allclose(layers["points"].points, stage.place(scan.points.xyz))
        assert layers["box"].points.shape == (13, 2, 3)
        assert layers["field0"].points.shape == (3, 3)
        np.testing.assert_allclose(layers["kept0"].points, stage.place(scan.fields[0].centers[[0, 2]]))
        low, _, high = layers["field0"].colors.tolist()
        assert low[2] > low[0]  # blue for what is not spoken of, red for what is
        assert high[0] > high[2]
        assert layers["field0"].point_size == pytest.approx(FILL * 0.64 * stage.scale)
        # Looked at over the walls, which hide from the front what was found.
        up = page.context.pilot.up
        view = subject.first_view(stage, up)
        away = view.position - view.look_at
        above_deg = np.degrees(np.arcsin(away @ up / np.linalg.norm(away)))
        assert above_deg == pytest.approx(OVER_THE_WALLS_DEG)
    finally:
        page.close()
        server.stop()
