"""Boxes between conventions, in result files, and tables through the cache come back as they were."""

from __future__ import annotations

import json
import math
import os
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from fewview.scene.boxes import Boxes
from fewview.scene.datasets import nuscenes_cache
from fewview.scene.datasets.box_conventions import (
    from_mmdet3d,
    from_mmdet3d_0,
    from_nuscenes,
    to_mmdet3d,
    to_mmdet3d_0,
    to_nuscenes,
)
from fewview.scene.datasets.nuscenes_classes import ATTRIBUTES, DETECTION_NAMES, as_detection_classes
from fewview.scene.datasets.nuscenes_log import NuScenes
from fewview.scene.datasets.nuscenes_results import read_results, write_results
from fewview.scene.datasets.nuscenes_tables import Tables, build_tables
from fewview.scene.errors import BadInputError
from fewview.scene.files import cache_folder
from hypothesis import given, settings
from hypothesis import strategies as st
from support.nuscenes_folder import Drive, write_nuscenes

NAMES = ("car", "person")


def _random(n: int, seed: int, upright: bool = False) -> Boxes:
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    centers, sizes, velocities = 1000 * normal(n, 3), 0.3 + normal(n, 3).abs(), normal(n, 3)
    labels = torch.randint(0, 10, (n,), generator=g)
    others = {
        "scores": torch.rand(n, generator=g, dtype=torch.float64),
        "velocities": velocities * torch.tensor([1, 1, 0]),
        "attributes": tuple(("", *ATTRIBUTES)[i % 9] for i in range(n)),
    }
    if upright:
        yaws = 2 * math.pi * torch.rand(n, generator=g, dtype=torch.float64) - math.pi
        return Boxes.upright(centers, sizes, yaws, labels, DETECTION_NAMES, **others)
    quats = torch.nn.functional.normalize(normal(n, 4), dim=-1)
    return Boxes(centers, sizes, quats, labels, DETECTION_NAMES, **others)


def test_hand_made_boxes_of_each_convention() -> None:
    """One car: 4.5 m long, 2 wide, 1.5 high, its middle 0.75 above the ground, heading 30 degrees left of +x."""
    label = torch.tensor([0])
    half = math.radians(15)
    expected = Boxes.upright(
        torch.tensor([[10.0, 5, 0.75]]), torch.tensor([[4.5, 2, 1.5]]), torch.tensor([math.radians(30)]), label, NAMES
    )
    nuscenes = from_nuscenes(
        torch.tensor([[10.0, 5, 0.75]]),
        torch.tensor([[2, 4.5, 1.5]]),
        torch.tensor([[math.cos(half), 0, 0, math.sin(half)]]),
        label,
        NAMES,
    )
    new = from_mmdet3d(torch.tensor([[10.0, 5, 0.75, 4.5, 2, 1.5, math.radians(30)]]), label, NAMES)
    # The old yaw turns the other way and starts at -y, and the height is that of the floor.
    old = from_mmdet3d_0(torch.tensor([[10.0, 5, 0, 2, 4.5, 1.5, math.radians(-120), 3, 1]]), label, NAMES)
    for boxes in (nuscenes, new, old):
        torch.testing.assert_close(boxes.corners, expected.corners)
    assert old.velocities is not None
    assert old.velocities.tolist() == [[3, 1, 0]]


def test_old_yaws_are_minus_the_heading_vector() -> None:
    """SparseFusion regresses (sin yaw, cos yaw) = -(heading x, heading y)."""
    boxes = _random(20, 0, upright=True)
    yaws, heading = to_mmdet3d_0(boxes)[:, 6], boxes.rotations[:, :, 0]
    torch.testing.assert_close(torch.stack([yaws.sin(), yaws.cos()], dim=1), -heading[:, :2])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_conventions_come_back(seed: int) -> None:
    tilted, upright = _random(6, seed), _random(6, seed, upright=True)
    translations, sizes, rotations = to_nuscenes(tilted)
    again = from_nuscenes(translations, sizes, rotations, tilted.labels, NAMES * 5)
    torch.testing.assert_close(again.corners, tilted.corners, rtol=0, atol=1e-9)
    torch.testing.assert_close(
        from_mmdet3d(to_mmdet3d(upright), upright.labels, DETECTION_NAMES).corners, upright.corners, rtol=0, atol=1e-9
    )
    old = from_mmdet3d_0(to_mmdet3d_0(upright), upright.labels, DETECTION_NAMES)
    torch.testing.assert_close(old.corners, upright.corners, rtol=0, atol=1e-9)
    torch.testing.assert_close(old.velocities, upright.velocities)
    assert bool((to_mmdet3d_0(upright)[:, 6].abs() <= math.pi).all())


def test_results_come_back_exactly(tmp_path: Path) -> None:
    results = {"one": _random(3, 1), "none": Boxes.empty(DETECTION_NAMES), "two": _random(500, 2)}
    empty = results["none"]
    results["none"] = Boxes(empty.centers, empty.sizes, empty.quats, empty.labels, DETECTION_NAMES, torch.zeros(0))
    write_results(tmp_path / "results.json", results, used=("use_lidar", "use_camera"))
    meta = json.loads((tmp_path / "results.json").read_text())["meta"]
    assert [name for name, used in meta.items() if used] == ["use_camera", "use_lidar"]
    again = read_results(tmp_path / "results.json")
    assert list(again) == ["one", "none", "two"]
    assert len(again["none"]) == 0
    for token in ("one", "two"):
        a, b = results[token], again[token]
        for name in ("centers", "sizes", "labels", "scores", "velocities"):
            assert torch.equal(getattr(a, name), getattr(b, name)), name
        torch.testing.assert_close(a.quats, b.quats, rtol=0, atol=1e-15)  # normalised once more
        assert a.attributes == b.attributes


def test_truth_through_the_sweep_s_frame_becomes_the_same_submission(tmp_path: Path) -> None:
    write_nuscenes(tmp_path / "data")
    data = NuScenes(tmp_path / "data")
    results = {}
    for i, token in enumerate(data.tokens):
        frame = data.frame(i)
        assert frame.truth is not None
        boxes = as_detection_classes(frame.truth)
        boxes = boxes[boxes.labels >= 0].to(torch.float64).moved(frame.global_from_lidar)
        columns = {f.name: getattr(boxes, f.name) for f in fields(boxes)}
        results[token] = Boxes(**{**columns, "scores": torch.ones(len(boxes)), "point_counts": None})
    write_results(tmp_path / "results.json", results)
    again = read_results(tmp_path / "results.json")
    log = data.log().with_detections(again)
    for i, token in enumerate(data.tokens):
        truth = as_detection_classes(data.boxes(i))
        truth = truth[truth.labels >= 0]
        # float32 in a frame that is 30 m wide, and a quaternion of it.
        torch.testing.assert_close(again[token].centers, truth.centers, rtol=0, atol=1e-5)
        torch.testing.assert_close(again[token].sizes, truth.sizes, rtol=1e-6, atol=0)
        torch.testing.assert_close(again[token].rotations, truth.rotations, rtol=0, atol=1e-6)
        torch.testing.assert_close(again[token].velocities, truth.velocities, rtol=0, atol=1e-2)  # z is dropped
        detections, own = log[i].detections, log[i].truth
        assert detections is not None
        assert own is not None
        kept = own[as_detection_classes(own).labels >= 0]
        torch.testing.assert_close(detections.corners, kept.corners, rtol=0, atol=2e-5)


def test_a_frame_that_no_result_names_has_no_detections(tmp_path: Path) -> None:
    write_nuscenes(tmp_path)
    log = NuScenes(tmp_path).log().with_detections({})
    assert len(log[0].detections) == 0


class TestCache:
    @pytest.fixture
    def drive(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Drive:
        monkeypatch.setattr(nuscenes_cache, "MIN_TABLE_BYTES", 0)
        return write_nuscenes(tmp_path / "data")

    def _tables(self, drive: Drive) -> list[Path]:
        return [p for p in drive.folder.iterdir() if p.stem not in ("visibility", "log", "map")]

    def _same(self, a: Tables, b: Tables) -> None:
        for f in fields(Tables):
            x, y = getattr(a, f.name), getattr(b, f.name)
            assert x.dtype == y.dtype, f.name
            np.testing.assert_array_equal(x, y)

    def test_tables_come_back_mapped_and_nothing_is_written_beside_them(self, tmp_path: Path, drive: Drive) -> None:
        before = sorted(drive.root.rglob("*"))
        told: list[tuple[str, int]] = []

        def progress(stage: str, done: int, total: int, figures: object = None) -> None:
            told.append((stage, total - done))

        first = nuscenes_cache.load_tables(drive.folder, tmp_path / "cache", progress)
        assert told == [("tables", sum(p.stat().st_size for p in self._tables(drive))), ("tables", 0)]
        mapped = nuscenes_cache.load_tables(drive.folder, tmp_path / "cache", progress)
        assert len(told) == 2  # nothing had to be read
        self._same(first, build_tables(drive.folder))
        self._same(mapped, first)
        assert not mapped.file_pose.flags.writeable
        assert sorted(drive.root.rglob("*")) == before
        assert NuScenes(drive.root, tmp_path / "cache").frame(3).title == "scene-0001, key frame 2"

    def test_a_changed_table_is_read_again(self, tmp_path: Path, drive: Drive) -> None:
        nuscenes_cache.load_tables(drive.folder, tmp_path / "cache")
        path = drive.folder / "scene.json"
        stat = path.stat()
        drive.tables["scene"][0]["name"] = "scene-9999"
        drive.rewrite("scene")  # as long as before
        assert path.stat().st_size == stat.st_size
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
        again = nuscenes_cache.load_tables(drive.folder, tmp_path / "cache")
        assert again.sample_scene[0] == b"scene-9999"

    @pytest.mark.parametrize("damage", ["cut", "header", "empty", "shape", "folder"])
    def test_a_damaged_cache_is_made_again(self, tmp_path: Path, drive: Drive, damage: str) -> None:
        cache = tmp_path / "cache"
        first = nuscenes_cache.load_tables(drive.folder, cache)
        (path,) = (cache / "nuscenes").iterdir()
        data = path.read_bytes()
        if damage == "folder":
            path.unlink()
            path.mkdir()
        else:
            changed = {
                "cut": data[:-100],
                "header": b"\xff" * 8 + data[8:],
                "empty": b"",
                "shape": data.replace(b'"shape":[4,7]', b'"shape":[9,7]'),
            }
            path.write_bytes(changed[damage])
        self._same(nuscenes_cache.load_tables(drive.folder, cache), first)

    def test_a_cache_that_cannot_be_written_is_done_without(self, tmp_path: Path, drive: Drive) -> None:
        (tmp_path / "file").write_text("")
        assert len(nuscenes_cache.load_tables(drive.folder, tmp_path / "file")) == 4

    def test_the_cache_follows_the_environment(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert cache_folder() == tmp_path / "fewview"


def test_results_of_other_samples_are_refused(tmp_path: Path) -> None:
    write_results(tmp_path / "r.json", {"one": _random(1, 0)})
    text = (tmp_path / "r.json").read_text()
    (tmp_path / "r.json").write_text(text.replace('"sample_token": "one"', '"sample_token": "two"'))
    with pytest.raises(BadInputError, match="belongs to another sample, 'two'"):
        read_results(tmp_path / "r.json")
