"""Monocular depth: the fill between known pixels against a direct solver, its file, and where it comes from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from fewview.recon.evidence import DepthMap, Stereo, evidence_kinds
from fewview.recon.evidence.evidence_kinds import DEPTH, MONOCULAR_DEPTH, gather
from fewview.recon.evidence.filled_disparity import filled_disparity, known_inverse_depth
from fewview.recon.evidence.monocular_depth import MonocularDepth, load_monocular, save_monocular
from fewview.recon.evidence.stereo.fill import EDGE_GREY, WEAKEST_TIE
from fewview.recon.optimise.dataset import Dataset
from fewview.scene.errors import BadInputError
from fewview.scene.geometry import Similarity
from fewview.scene.point_cloud import PointCloud
from fewview.scene.run import Run
from scipy.sparse import coo_matrix, diags
from scipy.sparse.linalg import spsolve
from support.training import HEIGHT, WIDTH, capture_of, tiny_dataset


def two_surfaces() -> tuple[Dataset, Stereo]:
    """One view: black and near on the left, white and far on the right; two pixels of each side are known."""
    dataset = tiny_dataset(1, with_points=False)
    pixels = torch.zeros(HEIGHT, WIDTH, 3, dtype=torch.uint8)
    pixels[:, WIDTH // 2 :] = 255
    depth, confidence = torch.full((HEIGHT, WIDTH), 3.0), torch.ones(HEIGHT, WIDTH)
    for row, column, value in ((4, 3, 1.0), (20, 12, 1.25), (5, 20, 4.0), (20, 28, 5.0)):
        depth[row, column], confidence[row, column] = value, 6.0
    dataset = replace(dataset, views=(replace(dataset.views[0], pixels=pixels),))
    return dataset, Stereo(dataset.cameras, (DepthMap(depth, confidence),))


def test_reference_fill_equals_a_direct_solution_of_the_normal_equations() -> None:
    dataset, stereo = two_surfaces()
    (filled,) = filled_disparity(dataset, stereo).disparity
    number = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)
    grey = dataset.views[0].pixels[..., 0].numpy().astype(np.float64)
    a = np.concatenate([number[:, :-1].ravel(), number[:-1].ravel()])
    b = np.concatenate([number[:, 1:].ravel(), number[1:].ravel()])
    tie = WEAKEST_TIE + np.exp(-np.abs(grey.ravel()[a] - grey.ravel()[b]) / EDGE_GREY)
    laplacian = coo_matrix((np.tile(-tie, 2), (np.r_[a, b], np.r_[b, a])), shape=(number.size, number.size)).tocsr()
    weight = (stereo.maps[0].confidence.numpy().ravel() - 1).astype(np.float64)
    system = laplacian - diags(np.asarray(laplacian.sum(1)).ravel()) + diags(weight)
    truth = spsolve(system.tocsc(), weight / stereo.maps[0].depth.numpy().ravel()).reshape(HEIGHT, WIDTH)
    assert np.abs(filled.numpy() - truth).max() < 5e-3  # conjugate gradients in float32 stop at a residual of 1e-4


def test_filled_depth_jumps_where_the_photograph_does() -> None:
    dataset, stereo = two_surfaces()
    (filled,) = filled_disparity(dataset, stereo).disparity
    assert float(filled[:, : WIDTH // 2].min()) > 0.75
    assert float(filled[:, WIDTH // 2 :].max()) < 0.3


def test_sparse_points_are_known_where_a_view_sees_them() -> None:
    _, stereo = two_surfaces()
    camera = stereo.cameras[0]
    on_axis = torch.linalg.inv(camera.cam_from_world)  # columns: the camera's axes and its place
    xyz = torch.stack([on_axis[:3, 3] + 2.0 * on_axis[:3, 2], on_axis[:3, 3] - 2.0 * on_axis[:3, 2]])
    value, weight = known_inverse_depth(stereo.maps[0], camera, PointCloud(xyz, torch.zeros(2, 3, dtype=torch.uint8)))
    row, column = HEIGHT // 2, WIDTH // 2
    assert value[row, column] == pytest.approx(0.5, rel=1e-5)
    assert (weight > 0).sum() == 5  # four pixels of stereo, and the point in front of the camera
    matched = replace(stereo.maps[0], confidence=torch.full((HEIGHT, WIDTH), 2.0))  # and 3 deep all around
    value, _ = known_inverse_depth(matched, camera, PointCloud(xyz, torch.zeros(2, 3, dtype=torch.uint8)))
    assert value[row, column] == pytest.approx(1 / 3, rel=1e-5)


def test_monocular_depth_is_made_of_the_depth_of_the_same_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def wall(dataset: Dataset, seed: int, progress: object) -> Stereo:
        asked.append(seed)
        maps = [DepthMap(torch.full((HEIGHT, WIDTH), 3.0), torch.full((HEIGHT, WIDTH), 5.0)) for _ in dataset.train]
        return Stereo(dataset.cameras[list(dataset.train)], tuple(maps))

    monkeypatch.setattr(evidence_kinds, "stereo_depth", wall)
    dataset, run = tiny_dataset(4), Run.create(tmp_path / "run", {})
    dataset = replace(dataset, train=(0, 1, 3), test=(2,))
    found = gather(MONOCULAR_DEPTH, run, capture_of(dataset), dataset, 7)
    assert [tuple(one.shape) for one in found.disparity] == [(HEIGHT, WIDTH)] * 3
    ratio = found.disparity[0].max() / found.disparity[0].min()
    assert float(ratio) == pytest.approx(1, abs=1e-5)
    gather(DEPTH, run, capture_of(dataset), dataset, 7)
    gather(MONOCULAR_DEPTH, run, capture_of(dataset), dataset, 7)
    assert asked == [7]  # what one kind is made of is kept for those that ask for it next
    assert run.evidence_path(DEPTH).is_file()


def some_depth() -> MonocularDepth:
    generator = torch.Generator().manual_seed(3)
    return MonocularDepth(tuple(torch.rand(HEIGHT, WIDTH, generator=generator) for _ in range(2)))


def test_roundtrip_of_the_file(tmp_path: Path) -> None:
    depth, cameras = some_depth(), tiny_dataset(2).cameras
    save_monocular(tmp_path / "m.safetensors", depth, ["a", "b"])
    back = load_monocular(tmp_path / "m.safetensors", cameras[[1, 0]], ["b", "a"])
    assert torch.equal(back.disparity[0], depth.disparity[1])
    assert torch.equal(back.disparity[1], depth.disparity[0])


def test_relative_depth_is_the_same_in_every_world() -> None:
    depth = some_depth()
    assert depth.transformed(Similarity(torch.tensor(2.0), torch.eye(3), torch.ones(3))) is depth


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -1e-3])
def test_malformed_values_are_refused(tmp_path: Path, bad: float) -> None:
    tensors = {"disparity/a": some_depth().disparity[0].clone()}
    tensors["disparity/a"][3, 4] = bad
    with pytest.raises(ValueError, match="finite numbers"):
        MonocularDepth((tensors["disparity/a"],))
    safetensors.torch.save_file(tensors, tmp_path / "m.safetensors")
    with pytest.raises(BadInputError, match="finite numbers"):
        load_monocular(tmp_path / "m.safetensors", tiny_dataset(1).cameras, ["a"])


@pytest.mark.parametrize("shape", [(HEIGHT, WIDTH + 9), (0, WIDTH), (1, HEIGHT, WIDTH)])
def test_malformed_shapes_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    safetensors.torch.save_file({"disparity/a": torch.ones(shape)}, tmp_path / "m.safetensors")
    with pytest.raises(BadInputError, match=r"m\.safetensors cannot be used"):
        load_monocular(tmp_path / "m.safetensors", tiny_dataset(1).cameras, ["a"])


def test_malformed_files_are_refused(tmp_path: Path) -> None:
    path, cameras = tmp_path / "m.safetensors", tiny_dataset(2).cameras
    save_monocular(path, some_depth(), ["a", "b"])
    with pytest.raises(BadInputError, match="cannot be used"):
        load_monocular(path, cameras, ["a", "c"])
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BadInputError, match="cannot be used"):
        load_monocular(path, cameras, ["a", "b"])
