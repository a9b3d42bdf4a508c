"""Patch features: alike is what looks alike; the file that keeps them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from fewview.recon.evidence.evidence_kinds import PATCH_FEATURES, gather
from fewview.recon.evidence.patch_features import PatchFeatures, load_patch_features, save_patch_features
from fewview.recon.optimise.dataset import Dataset, View
from fewview.scene.cameras import Cameras
from fewview.scene.errors import BadInputError
from fewview.scene.run import Run
from support.layered_scene import CELL, layered_scene
from support.training import capture_of, tiny_dataset


def data_set(rgb: torch.Tensor) -> Dataset:
    camera = Cameras.pinhole(torch.eye(4)[None], 80.0, rgb.shape[1], rgb.shape[0])
    view = View((rgb * 255).round().to(torch.uint8), None, camera.K[0])
    return Dataset((view,), camera, ("photo.png",), (0,))


def features_of(dataset: Dataset, tmp_path: Path) -> PatchFeatures:
    return gather(PATCH_FEATURES, Run.create(tmp_path / "run", {}), capture_of(dataset), dataset, 0)


def test_cells_of_one_surface_are_more_alike_than_cells_of_two(tmp_path: Path) -> None:
    scene = layered_scene()
    grid = features_of(data_set(scene.rgb), tmp_path).grids[0]
    assert grid.shape == (8, 12, 32)
    cosine = grid.flatten(0, 1) @ grid.flatten(0, 1).T
    same = scene.cell_layer[:, None] == scene.cell_layer
    torch.testing.assert_close(cosine.diagonal(), torch.ones(96))
    assert float(cosine[same].mean()) > 0.5 + float(cosine[~same].mean())


def test_a_texture_is_told_from_another_of_the_same_colour(tmp_path: Path) -> None:
    rgb = torch.full((64, 96, 3), 0.5)
    rgb[:, :48] += 0.2 * torch.sin(torch.arange(48) * torch.pi / 2)[:, None]  # upright, lying stripes
    rgb[:, 48:] += 0.2 * torch.sin(torch.arange(64) * torch.pi / 2)[:, None, None]
    grid = features_of(data_set(rgb), tmp_path).grids[0]
    left, right = grid[1:-1, 1:4].flatten(0, 1), grid[1:-1, 8:-1].flatten(0, 1)  # not at the borders and the seam
    assert float((left @ left.T).min()) > 0.2 + float((left @ right.T).max())


def test_any_picture_is_described_like_the_photographs(tmp_path: Path) -> None:
    dataset = tiny_dataset(3)
    found = features_of(dataset, tmp_path)
    for index, grid in enumerate(found.grids):
        again = found.describe(dataset.view(index).target(torch.zeros(3)))
        torch.testing.assert_close(again, grid, atol=1e-5, rtol=0)  # products of another size round otherwise
    assert found.describe(torch.rand(20, 41, 3)).shape[:2] == (2, 5)  # what is beyond the last whole cell is left out


def test_roundtrip_of_the_file(tmp_path: Path) -> None:
    dataset, run = tiny_dataset(3), Run.create(tmp_path / "run", {})
    first = gather(PATCH_FEATURES, run, capture_of(dataset), dataset, 0)
    again = gather(PATCH_FEATURES, run, capture_of(dataset), dataset, 0)
    assert all(torch.equal(a, b) for a, b in zip(first.grids, again.grids, strict=True))
    assert torch.equal(first.basis, again.basis)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"grid/a": torch.ones(2, 3, 5)}, "grid"),
        ({"grid/a": torch.full((2, 3, 4), 2.0)}, "unit length"),
        ({"grid/a": torch.full((2, 3, 4), torch.nan)}, "unit length"),
        ({"grid/a": None}, "grid/a"),
        ({"basis": torch.ones(6, 4)}, "basis"),
    ],
    ids=["channels", "length", "nan", "missing", "basis"],
)
def test_malformed_files_are_refused(tmp_path: Path, changes: dict[str, torch.Tensor | None], words: str) -> None:
    path, cameras = tmp_path / "patch_features.safetensors", tiny_dataset(1).cameras
    good = PatchFeatures((torch.full((2, 3, 4), 0.5),), torch.zeros(5), torch.ones(5, 4))
    save_patch_features(path, good, ["a"])
    assert torch.equal(load_patch_features(path, cameras, ["a"]).grids[0], good.grids[0])
    tensors = {"grid/a": good.grids[0], "mean": good.mean, "basis": good.basis} | changes
    path.write_bytes(safetensors.torch.save({name: t for name, t in tensors.items() if t is not None}))
    with pytest.raises(BadInputError, match=words):
        load_patch_features(path, cameras, ["a"])
    path.write_bytes(b"no tensors at all")
    with pytest.raises(BadInputError, match="Delete it"):
        load_patch_features(path, cameras, ["a"])


def test_malformed_photographs_of_less_than_a_cell_are_one_sentence(tmp_path: Path) -> None:
    dataset = data_set(layered_scene(1, 2).rgb[: CELL - 1])
    with pytest.raises(BadInputError, match=r"photo\.png has 16 x 7 pixels"):
        features_of(replace(dataset), tmp_path)
