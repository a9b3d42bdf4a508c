"""A data set's unit and origin do not matter: the same picture in millimetres, in kilometres and at a map's corner."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fewview.recon.optimise.dataset import Dataset
from fewview.recon.optimise.normalised_frame import world_from_normalised
from fewview.recon.pipeline.placement import _without_test_points
from fewview.recon.pipeline.reconstruction import ReconstructConfig, reconstruct
from fewview.render import render
from fewview.scene.edit.saving import save_edited_run
from fewview.scene.files import read_json
from fewview.scene.geometry import Similarity
from fewview.scene.readers import load_run_capture, read_capture, save_capture
from fewview.scene.run import Run
from fewview.scene.run_splat import load_run_splat
from support.capture_folder import write_capture
from support.datasets import rewrite
from support.training import truth

STEPS = 60
# Single draws of the noise in training do not depend on the unit, so what is left is rounding, which training
# amplifies: what a unit can cost is decibels, and this is a tenth of one.
SAME_DB = 0.1


@pytest.fixture(scope="module")
def posed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[float, tuple[float, float, float]], Path]:
    """A maker of the same data set in another unit and with another origin, points in double precision."""

    def make(scale: float, offset: tuple[float, float, float]) -> Path:
        folder = write_capture(tmp_path_factory.mktemp("units") / "scene")
        table = json.loads((folder / "transforms.json").read_text())
        for frame in table["frames"]:
            matrix = np.array(frame["transform_matrix"])
            matrix[:3, 3] = scale * matrix[:3, 3] + offset
            frame["transform_matrix"] = matrix.tolist()
        points = scale * truth().means.double().numpy() + offset
        lines = ["ply", "format ascii 1.0", f"element vertex {len(points)}"]
        lines += [*(f"property double {axis}" for axis in "xyz"), "end_header"]
        (folder / "points.ply").write_text("\n".join([*lines, *(" ".join(map(repr, p)) for p in points.tolist()), ""]))
        rewrite(folder / "transforms.json", table | {"ply_file_path": "points.ply"})
        return folder

    return make


def trained(folder: Path, method: str) -> tuple[Run, float]:
    """The run, and the PSNR of its held-out views in dB."""
    run = reconstruct(folder, folder.parent / "run", ReconstructConfig(method=method, steps=STEPS, eval=True))
    return run, run.metrics()["eval"]["mean"]["psnr"]


@pytest.mark.parametrize(
    ("scale", "offset"),
    [
        (1e-4, (0.0, 0.0, 0.0)),
        (1e5, (0.0, 0.0, 0.0)),
        (1.0, (5e5, 5e6, 100.0)),
        (37.0, (-1e7, 0.0, 1e7)),
        (1e-3, (1e7, 1e7, 0.0)),
    ],
)
def test_units_and_origin_do_not_change_the_picture(
    posed: Callable[[float, tuple[float, float, float]], Path], plain_psnr: float, scale: float,
    offset: tuple[float, float, float],
) -> None:  # fmt: skip
    folder = posed(scale, offset)
    run, psnr = trained(folder, "3dgs")
    # Without a far origin training starts from the same bits; what is left is the rounding of the written splat.
    assert psnr == pytest.approx(plain_psnr, abs=SAME_DB if any(offset) else 1e-3)
    # What is written is in the person's unit, and anyone who adds the origin has the person's coordinates.
    capture, splat = load_run_capture(run), load_run_splat(run)
    assert capture.cameras is not None
    table = json.loads((folder / "transforms.json").read_text())
    given = np.array([frame["transform_matrix"] for frame in table["frames"]])[:, :3, 3]
    written = capture.cameras.centers.double().numpy() + capture.origin
    assert np.abs(written - given).max() <= 1e-4 * scale
    away = torch.tensor(splat.gaussians.means.double().numpy() + capture.origin) - torch.tensor(offset)
    assert 0.1 * scale < float(away.norm(dim=1).median()) < 10 * scale
    # The written splat is drawn like the measured one by whoever opens it, near plane and all.
    view = capture.test[0]  # type: ignore[index]  # --eval holds some out
    drawn = render(splat.gaussians, capture.cameras[view], background=torch.tensor(splat.background))
    photograph = capture.image(view)[..., :3] / 255
    error = float(((drawn.rgb.clamp(0, 1) - photograph) ** 2).mean())
    first = run.metrics()["eval"]["views"][0]["psnr"]
    assert -10 * np.log10(error) == pytest.approx(first, abs=SAME_DB)


def start(folder: Path) -> Dataset:
    """The data set that training starts from, by way of a run's files."""
    capture = save_capture(Run.create(folder.parent / "kept", {}), read_capture(folder), 160)
    dataset = Dataset.from_capture(capture)
    return dataset.transformed(world_from_normalised(dataset.cameras).inverse())


@pytest.mark.parametrize(
    ("scale", "offset"),
    [(1e-4, (0.0, 0.0, 0.0)), (1e5, (0.0, 0.0, 0.0)), (37.0, (0.0, 0.0, 0.0)), (0.3, (20.0, -10.0, 5.0))],
)
def test_training_starts_from_the_same_bits_in_any_unit(
    posed: Callable[[float, tuple[float, float, float]], Path], scale: float, offset: tuple[float, float, float]
) -> None:
    """Rounding comes after unit and origin are gone: a last bit grows to a tenth of a decibel in training."""
    plain, other = start(posed(1.0, (0.0, 0.0, 0.0))), start(posed(scale, offset))
    assert plain.points is not None
    assert other.points is not None
    pairs = [
        (plain.cameras.cam_from_world, other.cameras.cam_from_world),
        (plain.cameras.K, other.cameras.K),
        (plain.points.xyz, other.points.xyz),
    ]
    for a, b in pairs:
        # Double precision leaves 1e-14 of these offsets, which tips one rounding to single precision in a million.
        assert int((a != b).sum()) <= 1
        torch.testing.assert_close(a, b, rtol=2e-7, atol=1e-7)


def test_what_was_rounded_stays_with_it_until_it_is_replaced(
    posed: Callable[[float, tuple[float, float, float]], Path],
) -> None:
    capture = read_capture(posed(37.0, (1.0, 2.0, 3.0)))
    cameras, points = capture.cameras, capture.points
    assert cameras is not None
    assert points is not None
    assert not torch.equal(cameras.unrounded_poses, cameras.cam_from_world.double())
    assert torch.equal(cameras[1:3].unrounded_poses, cameras.unrounded_poses[1:3])
    assert torch.equal(points[:5].unrounded_xyz, points.unrounded_xyz[:5])
    view = torch.arange(2 * len(points)) % 3
    observed = replace(points, seen_point=torch.arange(2 * len(points)) // 2, seen_view=view)
    held_out = _without_test_points(replace(capture.subset([0, 1, 2]), points=observed, test=(2,))).points
    assert held_out is not None
    assert 0 < len(held_out) < len(points)
    assert set(map(tuple, held_out.unrounded_xyz.tolist())) < set(map(tuple, points.unrounded_xyz.tolist()))
    moved = replace(cameras, cam_from_world=cameras.cam_from_world + 1e-3)
    assert torch.equal(moved.unrounded_poses, moved.cam_from_world.double())


@pytest.fixture(scope="module")
def plain_psnr(posed: Callable[[float, tuple[float, float, float]], Path]) -> float:
    return trained(posed(1.0, (0.0, 0.0, 0.0)), "3dgs")[1]


@pytest.mark.parametrize(("scale", "offset"), [(1e-4, (0.0, 0.0, 0.0)), (1e5, (0.0, 0.0, 0.0))])
def test_units_do_not_change_what_dense_stereo_starts_from(
    posed: Callable[[float, tuple[float, float, float]], Path], scale: float, offset: tuple[float, float, float]
) -> None:
    """Depth is kept in the run's unit, computed and used in the normalised frame."""
    plain = trained(posed(1.0, (0.0, 0.0, 0.0)), "instantsplat")[1]
    # Stereo takes discrete decisions, which rounding may tip; in world units its start alone cost 2 to 5 dB.
    assert trained(posed(scale, offset), "instantsplat")[1] == pytest.approx(plain, abs=0.5)


def test_far_origin_is_said_and_kept(posed: Callable[[float, tuple[float, float, float]], Path]) -> None:
    offset = (5e5, 5e6, 100.0)
    capture = read_capture(posed(1.0, offset))
    assert any("minus (500000, 5000000, 100)" in note for note in capture.notes)
    assert capture.origin == offset
    near = read_capture(posed(1.0, (0.0, 0.0, 0.0)))
    assert near.origin == (0.0, 0.0, 0.0)
    assert near.cameras is not None
    assert capture.cameras is not None
    # 1e-9 is what double precision leaves of coordinates of 5e6, 1e-6 what single precision leaves of coordinates of 3.
    assert torch.allclose(capture.cameras.cam_from_world, near.cameras.cam_from_world, atol=1e-6)
    assert near.points is not None
    assert capture.points is not None
    assert torch.allclose(capture.points.xyz, near.points.xyz, atol=1e-6)
    assert capture.cameras.cam_from_world.dtype == capture.points.xyz.dtype == torch.float32


def test_a_far_origin_follows_edits(posed: Callable[[float, tuple[float, float, float]], Path], tmp_path: Path) -> None:
    """An edited run's `applied_transform` takes the source's coordinates to its own."""
    offset = (5e5, 5e6, 100.0)
    run, _ = trained(posed(1.0, offset), "3dgs")
    assert load_run_capture(run).origin == offset
    move = Similarity(
        torch.tensor(2.0), torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]), torch.tensor([1.0, 2, 3])
    ).double()
    edited = save_edited_run(run, tmp_path / "edited", load_run_splat(run).moved(move), move, metric=False)
    before, after = load_run_capture(run).cameras, load_run_capture(edited).cameras
    assert before is not None
    assert after is not None
    applied = np.array(read_json(edited.cameras_path)["applied_transform"])
    source = before.centers.double().numpy() + offset
    # 1e-9 of 5e6 in double precision, 1e-6 of coordinates of a few units in single.
    assert source @ applied[:, :3].T + applied[:, 3] == pytest.approx(after.centers.double().numpy(), abs=1e-5)
