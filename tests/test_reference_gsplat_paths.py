"""`fewview.gsplat`: the two halves of a projection, points of depth maps, and gsplat's paths of import."""

from __future__ import annotations

import importlib

import pytest
import torch
from fewview import gsplat
from fewview.gsplat.distributed import cli
from fewview.gsplat.utils import depth_to_normal, depth_to_points, inverse_log_transform, log_transform
from fewview.scene.errors import BadInputError
from support.scenes import random_blobs

F64 = torch.float64
PATHS = {
    "compression": ["PngCompression"],
    "distributed": ["cli"],
    "exporter": ["export_splats"],
    "optimizers": ["SelectiveAdam"],
    "relocation": ["compute_relocation"],
    "rendering": ["rasterization", "rasterization_2dgs"],
    "strategy": ["DefaultStrategy", "MCMCStrategy", "Strategy"],
    "utils": ["depth_to_normal", "depth_to_points", "log_transform", "normalized_quat_to_rotmat"],
}


@pytest.mark.parametrize("path", PATHS)
def test_names_are_found_by_the_paths_of_gsplat(path: str) -> None:
    module = importlib.import_module(f"fewview.gsplat.{path}")
    for name in PATHS[path]:
        assert getattr(module, name) is getattr(gsplat, name, getattr(module, name))


@pytest.mark.parametrize("camera_model", ["pinhole", "ortho", "fisheye"])
@pytest.mark.parametrize("batch", [(), (2,)])
def test_both_halves_make_the_whole_projection(camera_model: str, batch: tuple[int, ...]) -> None:
    scene = random_blobs(seed=5, count=60, width=40, height=33)
    inputs = {name: t.expand(*batch, *t.shape) for name, t in scene.inputs(F64).items()}
    Ks = scene.Ks.to(F64).expand(*batch, *scene.Ks.shape)
    covars, _ = gsplat.quat_scale_to_covar_preci(inputs["quats"], inputs["scales"], compute_preci=False)
    in_cam = gsplat.world_to_cam(inputs["means"], covars, inputs["viewmats"])
    means2d, covars2d = gsplat.proj(*in_cam, Ks, scene.width, scene.height, camera_model)
    radii, whole2d, depths, conics, _ = gsplat.fully_fused_projection(
        inputs["means"], None, inputs["quats"], inputs["scales"], inputs["viewmats"], Ks, scene.width, scene.height,
        camera_model=camera_model,
    )  # fmt: skip
    seen = (radii > 0).all(-1)
    assert seen.sum() > 20
    torch.testing.assert_close(means2d[seen], whole2d[seen])
    torch.testing.assert_close(in_cam[0][..., 2][seen], depths[seen])
    blurred = torch.linalg.inv(covars2d[seen] + 0.3 * torch.eye(2, dtype=F64))
    torch.testing.assert_close(torch.stack([blurred[:, 0, 0], blurred[:, 0, 1], blurred[:, 1, 1]], -1), conics[seen])


def test_gradients_of_both_halves_by_finite_differences() -> None:
    g = torch.Generator().manual_seed(6)
    means = torch.randn(3, 3, generator=g, dtype=F64) + torch.tensor([0, 0, 4.0], dtype=F64)
    half = torch.randn(3, 3, 3, generator=g, dtype=F64)
    viewmats = torch.eye(4, dtype=F64).expand(2, 4, 4) + 0.05 * torch.randn(2, 4, 4, generator=g, dtype=F64)
    K = torch.tensor([[30.0, 0, 16], [0, 32, 12], [0, 0, 1]], dtype=F64).expand(2, 3, 3)

    def both(means: torch.Tensor, covars: torch.Tensor, viewmats: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return gsplat.proj(*gsplat.world_to_cam(means, covars, viewmats), K, 32, 24)

    given = (means, half @ half.transpose(-1, -2), viewmats)
    assert torch.autograd.gradcheck(both, tuple(t.clone().requires_grad_() for t in given))


@pytest.mark.parametrize("z_depth", [True, False])
def test_points_of_depth_lie_behind_their_pixels(z_depth: bool) -> None:
    K = torch.tensor([[20.0, 0, 8], [0, 22, 5], [0, 0, 1]], dtype=F64)
    pose = torch.eye(4, dtype=F64)
    pose[:3, :3] = gsplat.utils.normalized_quat_to_rotmat(torch.tensor([0.5, 0.5, -0.5, 0.5], dtype=F64))
    pose[:3, 3] = torch.tensor([1.0, -2, 3], dtype=F64)
    depths = 1 + torch.rand(2, 11, 17, 1, generator=torch.Generator().manual_seed(1), dtype=F64)
    points = depth_to_points(depths, pose.expand(2, 4, 4), K.expand(2, 3, 3), z_depth)
    in_cam = (points - pose[:3, 3]) @ pose[:3, :3]
    found = in_cam[..., 2:] if z_depth else in_cam.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(found, depths)
    pixels = in_cam @ K.T
    expected = torch.stack(torch.meshgrid(torch.arange(17.0), torch.arange(11.0), indexing="xy"), -1).double() + 0.5
    torch.testing.assert_close(pixels[..., :2] / pixels[..., 2:], expected.expand(2, 11, 17, 2))


def test_normals_of_a_slanted_wall() -> None:
    K = torch.tensor([[20.0, 0, 8], [0, 20, 6], [0, 0, 1]], dtype=F64)
    away = torch.nn.functional.normalize(torch.tensor([0.3, -0.2, 1.0], dtype=F64), dim=0)
    y, x = torch.meshgrid(torch.arange(12.0) + 0.5, torch.arange(16.0) + 0.5, indexing="ij")
    rays = torch.stack([(x - 8) / 20, (y - 6) / 20, torch.ones_like(x)], dim=-1).double()
    depths = (5 / (rays @ away))[..., None]
    normals = depth_to_normal(depths, torch.eye(4, dtype=F64), K)
    torch.testing.assert_close(normals[1:-1, 1:-1], -away.expand(10, 14, 3))
    assert (normals[0] == 0).all()
    assert (normals[:, -1] == 0).all()


def test_logarithms_of_any_size_come_back() -> None:
    x = torch.tensor([-1e6, -1.0, 0.0, 1e-9, 2.0, 1e6], dtype=F64)
    torch.testing.assert_close(inverse_log_transform(log_transform(x)), x)


def test_one_process_gets_the_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    assert cli(lambda *given: calls.append(given), {"steps": 3}, verbose=True)
    assert calls == [(0, 0, 1, {"steps": 3})]
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "4")
    with pytest.raises(BadInputError, match="without it"):
        cli(print, None)


def test_shapes_that_do_not_fit_are_named() -> None:
    with pytest.raises(BadInputError, match=r"covars: expected shape \(5, 3, 3\), found \(5, 6\)"):
        gsplat.world_to_cam(torch.zeros(5, 3), torch.zeros(5, 6), torch.zeros(2, 4, 4))
    with pytest.raises(BadInputError, match="ftheta"):
        gsplat.proj(torch.zeros(1, 5, 3), torch.zeros(1, 5, 3, 3), torch.zeros(1, 3, 3), 4, 4, "ftheta")
    with pytest.raises(BadInputError, match=r"depths, Ks: expected"):
        depth_to_points(torch.zeros(4, 5, 1), torch.zeros(4, 4), torch.zeros(2, 3, 3))
