"""`fewview.gsplat`: each function against its formula, or against `rasterization`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from fewview import gsplat
from fewview.render import rasterization
from fewview.scene.errors import BadInputError
from fewview.scene.formats import load_splat
from fewview.scene.geometry import rotation_from_quat
from support.scenes import SplatScene, random_blobs, smooth_scene
from support.threads import one_torch_thread as one_torch_thread
from torch import Tensor

BLOBS = {"count": 60, "width": 40, "height": 33}
F64 = torch.float64


def weights_like(image: Tensor) -> Tensor:
    return torch.linspace(-1.0, 1.3, image.numel(), dtype=image.dtype).mul(7).sin().reshape(image.shape)


@pytest.mark.parametrize("leading", [(5,), (2, 3)])
def test_covariances_and_their_inverses(leading: tuple[int, ...]) -> None:
    g = torch.Generator().manual_seed(1)
    quats = torch.randn(*leading, 4, generator=g, dtype=F64)
    scales = 0.2 + torch.rand(*leading, 3, generator=g, dtype=F64)
    covars, precis = gsplat.quat_scale_to_covar_preci(quats, scales)
    eye = torch.eye(3, dtype=F64).expand_as(covars)
    torch.testing.assert_close(covars @ precis, eye, rtol=0, atol=1e-12)
    torch.testing.assert_close(torch.linalg.eigvalsh(covars), scales.square().sort(-1).values)
    rotated = rotation_from_quat(quats).transpose(-1, -2) @ covars @ rotation_from_quat(quats)
    torch.testing.assert_close(rotated.diagonal(dim1=-2, dim2=-1), scales.square())
    upper, none = gsplat.quat_scale_to_covar_preci(quats, scales, compute_preci=False, triu=True)
    assert none is None
    order = [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)]
    assert torch.equal(upper, torch.stack([covars[..., i, j] for i, j in order], dim=-1))


@pytest.mark.parametrize("degree", range(5))
def test_harmonics_only_where_the_mask_says(degree: int) -> None:
    g = torch.Generator().manual_seed(2)
    dirs = torch.randn(2, 7, 3, generator=g, dtype=F64).requires_grad_()
    coeffs = torch.randn(2, 7, 25, 3, generator=g, dtype=F64).requires_grad_()
    masks = torch.rand(2, 7, generator=g) > 0.4
    values = gsplat.spherical_harmonics(degree, dirs, coeffs, masks)
    full = gsplat.spherical_harmonics(degree, dirs, coeffs)
    torch.testing.assert_close(values, full * masks[..., None])
    values.square().sum().backward()
    assert (coeffs.grad[~masks] == 0).all()
    assert (coeffs.grad[..., (degree + 1) ** 2 :, :] == 0).all()
    assert (coeffs.grad[masks][:, : (degree + 1) ** 2] != 0).all()


def project(scene: SplatScene, inputs: dict[str, Tensor], **options: object) -> tuple[Tensor | None, ...]:
    three = (None, inputs["quats"], inputs["scales"])
    if "covars" in options:
        three = (options.pop("covars"), None, None)
    rest = (inputs["viewmats"], scene.Ks.to(inputs["means"].dtype), scene.width, scene.height)
    return gsplat.fully_fused_projection(inputs["means"], *three, *rest, **options)


@pytest.mark.parametrize("camera_model", ["pinhole", "ortho", "fisheye"])
@pytest.mark.parametrize("calc_compensations", [False, True])
def test_projection_is_that_of_rasterization(camera_model: str, calc_compensations: bool) -> None:
    scene = random_blobs(seed=3, **BLOBS)
    inputs = scene.inputs(torch.float32)
    mode = "antialiased" if calc_compensations else "classic"
    options = {"camera_model": camera_model}
    for packed in (False, True):
        _, _, meta = scene.render(rasterization, inputs, packed=packed, rasterize_mode=mode, **options)
        found = project(
            scene,
            inputs,
            packed=packed,
            opacities=inputs["opacities"],
            calc_compensations=calc_compensations,
            **options,
        )
        names = ["radii", "means2d", "depths", "conics"]
        if packed:
            names = ["batch_ids", "camera_ids", "gaussian_ids", *names]
        for name, tensor in zip(names, found, strict=False):
            assert torch.equal(tensor, meta[name]), name
        assert len(found) == len(names) + 1
        if calc_compensations:
            ids = meta["gaussian_ids"] if packed else slice(None)
            expected = found[-1] * inputs["opacities"][ids]
            torch.testing.assert_close(expected, meta["opacities"])
        else:
            assert found[-1] is None


def test_without_opacities_radii_reach_three_and_a_third_sigmas() -> None:
    scene = random_blobs(seed=4, **BLOBS)
    inputs = scene.inputs(F64)
    radii, _, _, conics, _ = project(scene, inputs, eps2d=0.3)
    seen = (radii > 0).all(-1)
    a, b, c = conics[seen].unbind(-1)
    variances = torch.stack([c, a], dim=-1) / (a * c - b * b)[:, None]
    assert torch.equal(radii[seen].double(), (3.33 * variances.sqrt()).ceil())
    tighter = project(scene, inputs, opacities=inputs["opacities"])[0]
    assert (tighter <= radii).all()
    assert (tighter < radii).any()


def test_projection_of_covariances_and_of_a_batch() -> None:
    scenes = [random_blobs(seed=5 + i, **BLOBS) for i in range(2)]
    each = [scene.inputs(F64) for scene in scenes]
    expected = [project(scene, inputs, calc_compensations=True) for scene, inputs in zip(scenes, each, strict=True)]
    stacked = {k: torch.stack([inputs[k] for inputs in each]) for k in each[0]}
    Ks = torch.stack([scene.Ks for scene in scenes])
    covars, _ = gsplat.quat_scale_to_covar_preci(stacked["quats"], stacked["scales"], triu=True)
    for three in ((None, stacked["quats"], stacked["scales"]), (covars, None, None)):
        found = gsplat.fully_fused_projection(
            stacked["means"], *three, stacked["viewmats"], Ks, 40, 33, calc_compensations=True
        )
        for tensor, parts in zip(found, zip(*expected, strict=True), strict=True):
            torch.testing.assert_close(tensor, torch.stack(parts), rtol=1e-9, atol=1e-9)


def test_sparse_gradients_of_the_projection() -> None:
    scene = random_blobs(seed=7, **BLOBS)
    gradients = []
    for sparse in (False, True):
        inputs = scene.inputs(torch.float32, requires_grad=True)
        found = project(scene, inputs, packed=True, sparse_grad=sparse)
        (found[4].sum() + found[6].square().sum()).backward()
        gradients.append([inputs[k].grad for k in ("means", "quats", "scales")])
    for dense, sparse in zip(*gradients, strict=True):
        assert sparse.is_sparse
        assert torch.equal(sparse.to_dense(), dense)


def test_sparse_gradients_of_covariances_go_on_as_dense_ones() -> None:
    scene = random_blobs(seed=7, **BLOBS)
    gradients = []
    for sparse in (False, True):
        inputs = scene.inputs(torch.float32, requires_grad=True)
        covars, _ = gsplat.quat_scale_to_covar_preci(inputs["quats"], inputs["scales"], compute_preci=False, triu=True)
        found = project(scene, inputs, covars=covars, packed=True, sparse_grad=sparse)
        means2d, _, conics = found[4:7]
        (means2d.sum() + conics.square().sum()).backward()  # of these only the conics know of the covariances
        assert inputs["means"].grad.is_sparse == sparse
        gradients.append([inputs[k].grad for k in ("quats", "scales")])
    for dense, other in zip(*gradients, strict=True):
        assert dense.any()
        torch.testing.assert_close(other, dense)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("tile_size", [16, 10])
def test_pixels_of_given_tiles_are_those_of_rasterization(tile_size: int, packed: bool) -> None:
    scene = random_blobs(seed=8, sh_degree=None, channels=5, **BLOBS)
    results = []
    for by_hand in (False, True):
        inputs = scene.inputs(torch.float32, requires_grad=True)
        image, alpha, meta = scene.render(rasterization, inputs, packed=packed)
        if by_hand:
            tiles_x, tiles_y = -(-40 // tile_size), -(-33 // tile_size)
            listed = {
                "packed": packed,
                "n_images": 2,
                "image_ids": meta["camera_ids"],
                "gaussian_ids": meta["gaussian_ids"],
            }
            flat = (meta["means2d"], meta["radii"], meta["depths"])
            _, isect_ids, flatten_ids = gsplat.isect_tiles(*flat, tile_size, tiles_x, tiles_y, **listed)
            offsets = gsplat.isect_offset_encode(isect_ids, 2, tiles_x, tiles_y)
            colors = inputs["colors"].expand(2, -1, -1)
            if packed:
                colors = inputs["colors"][meta["gaussian_ids"]]
            image, alpha = gsplat.rasterize_to_pixels(
                meta["means2d"], meta["conics"], colors, meta["opacities"], 40, 33, tile_size, offsets, flatten_ids,
                backgrounds=inputs["backgrounds"], packed=packed,
            )  # fmt: skip
        (image * weights_like(image)).sum().backward()
        results.append((image, alpha, {k: v.grad for k, v in inputs.items()}))
    (image, alpha, gradients), (same, same_alpha, same_gradients) = results
    # A pixel that stops one blob early or late differs by less than 1/255 (see `random_blobs`); all others by rounding.
    for found, expected in ((same, image), (same_alpha, alpha)):
        assert (found - expected).abs().max() < 1 / 255
        assert (found - expected).abs().median() < 1e-6
    for key, expected in gradients.items():
        assert (same_gradients[key] - expected).norm() < 2e-2 * expected.norm(), key


def test_absgrad_and_masks_of_given_tiles() -> None:
    scene = smooth_scene(sh_degree=None)
    inputs = scene.inputs(torch.float32, requires_grad=True)
    image, _, meta = scene.render(rasterization, inputs, packed=False, absgrad=True)
    meta["means2d"].retain_grad()
    (image * weights_like(image)).sum().backward()
    flat = {k: meta[k].detach().requires_grad_() for k in ("means2d", "conics", "opacities")}
    colors = inputs["colors"].detach().expand(2, -1, -1)
    lists = (flat["opacities"], 14, 11, 16, meta["isect_offsets"], meta["flatten_ids"])
    backgrounds = inputs["backgrounds"].detach()
    same, _ = gsplat.rasterize_to_pixels(
        flat["means2d"], flat["conics"], colors, *lists, backgrounds=backgrounds, absgrad=True
    )
    (same * weights_like(same)).sum().backward()
    largest = float(meta["means2d"].absgrad.max())
    torch.testing.assert_close(flat["means2d"].absgrad, meta["means2d"].absgrad, rtol=1e-4, atol=1e-5 * largest)

    masks = torch.tensor([True, False]).reshape(2, 1, 1)
    masked, alpha = gsplat.rasterize_to_pixels(
        flat["means2d"], flat["conics"], colors, *lists, backgrounds=backgrounds, masks=masks
    )
    assert torch.equal(masked[0], same[0])
    assert torch.equal(masked[1], backgrounds[1].expand(11, 14, 3))
    assert (alpha[1] == 0).all()


def test_the_order_of_the_lists_decides() -> None:
    """One pixel, two opaque Gaussians: the one that is listed first is seen."""
    means2d, conics = torch.full((2, 2), 0.5), torch.tensor([[1.0, 0, 1]]).expand(2, 3)
    colors, opacities = torch.tensor([[1.0], [0.0]]), torch.full((2,), 0.9)
    for order, expected in (([0, 1], 0.9), ([1, 0], 0.09)):
        lists = torch.zeros(1, 1, 1, dtype=torch.int32), torch.tensor(order, dtype=torch.int32)
        splats = (t[None] for t in (means2d, conics, colors, opacities))
        image, _ = gsplat.rasterize_to_pixels(*splats, 1, 1, 16, *lists)
        assert float(image) == pytest.approx(expected)


def test_relocation_limits_its_ratios() -> None:
    opacities, scales = torch.tensor([0.5, 0.5, 0.5]), torch.full((3, 3), 2.0)
    shared, smaller = gsplat.compute_relocation(opacities, scales, torch.tensor([1, 4, 9]), torch.zeros(5, 5))
    assert shared.tolist() == pytest.approx([0.5, 1 - 0.5**0.25, 1 - 0.5**0.2])
    # One in the place of one stays as it is; the integral of the copies is that of the original (equation 9).
    assert smaller[0].tolist() == pytest.approx([2.0] * 3)
    assert (smaller[1:] < 2).all()


@pytest.mark.parametrize("shape", [(6,), (6, 4), (6, 3, 2)])
def test_selective_adam_moves_visible_rows_by_its_formula(shape: tuple[int, ...]) -> None:
    g = torch.Generator().manual_seed(9)
    param = torch.randn(shape, generator=g).requires_grad_()
    optimizer = gsplat.SelectiveAdam([{"params": [param], "lr": 0.1}], eps=1e-8, betas=(0.9, 0.999))
    value, m, v = param.detach().double().clone(), torch.zeros(shape, dtype=F64), torch.zeros(shape, dtype=F64)
    for _ in range(3):
        gradient, visible = torch.randn(shape, generator=g), torch.rand(6, generator=g) > 0.4
        param.grad = gradient.clone()
        optimizer.step(visible)
        at = visible.reshape(-1, *[1] * (len(shape) - 1)).double()
        m = torch.where(at > 0, 0.9 * m + 0.1 * gradient, m)
        v = torch.where(at > 0, 0.999 * v + 0.001 * gradient.double().square(), v)
        value = value - at * 0.1 * m / (v.sqrt() + 1e-8)
    # three steps in float32, of up to 0.3 each
    torch.testing.assert_close(param.detach().double(), value, rtol=1e-5, atol=1e-5)
    with pytest.raises(BadInputError, match=r"visibility: expected \[6\]"):
        optimizer.step(torch.ones(5, dtype=torch.bool))


@pytest.mark.parametrize("format", ["ply", "splat", "ply_compressed"])
def test_an_exported_splat_is_read_back(format: str, tmp_path: Path) -> None:
    g = torch.Generator().manual_seed(3)
    means, quats = torch.randn(20, 3, generator=g), torch.randn(20, 4, generator=g)
    scales, opacities = torch.randn(20, 3, generator=g) - 3, torch.randn(20, generator=g)
    sh = 0.2 * torch.randn(20, 4, 3, generator=g)
    means[3, 1] = float("nan")
    path = tmp_path / ("a.splat" if format == "splat" else "a.ply")
    data = gsplat.export_splats(
        means.requires_grad_(), scales, quats, opacities, sh[:, :1], sh[:, 1:], format=format, save_to=str(path)
    )
    assert path.read_bytes() == data
    found = load_splat(path).gaussians
    kept = torch.arange(20) != 3
    assert len(found) == 19
    # Each format has an order of its own; compressed PLY keeps positions to 11 bits of the scene's size.
    distance, nearest = torch.cdist(means.detach()[kept], found.means).min(dim=1)
    assert distance.max() < 0.01
    assert (found.log_scales[nearest] - scales[kept]).abs().max() < 0.02
    if format == "ply":
        assert torch.equal(found.sh, sh[kept])
        assert torch.equal(found.opacity_logits, opacities[kept])
    with pytest.raises(BadInputError, match="format: expected one of ply"):
        gsplat.export_splats(means, scales, quats, opacities, sh[:, :1], sh[:, 1:], format="usd")


def test_bad_shapes_are_named() -> None:
    scene = random_blobs(seed=10, **BLOBS)
    inputs = scene.inputs(torch.float32)
    with pytest.raises(BadInputError, match="covars"):
        project(scene, inputs, covars=torch.zeros(60, 3, 3))
    with pytest.raises(BadInputError, match="Neither covars nor quats"):
        project(scene, inputs, covars=None)
    with pytest.raises(BadInputError, match="ftheta"):
        project(scene, inputs, camera_model="ftheta")
    with pytest.raises(BadInputError, match="degrees_to_use"):
        gsplat.spherical_harmonics(3, torch.zeros(2, 3), torch.zeros(2, 9, 3))
    with pytest.raises(BadInputError, match="do not cover"):
        gsplat.rasterize_to_pixels(
            torch.zeros(1, 1, 2), torch.zeros(1, 1, 3), torch.zeros(1, 1, 3), torch.zeros(1, 1), 40, 33, 16,
            torch.zeros(1, 1, 1, dtype=torch.int32), torch.zeros(0, dtype=torch.int32),
        )  # fmt: skip


@pytest.mark.parametrize(
    "name",
    ["rasterization_2dgs", "fully_fused_projection_2dgs", "rasterize_to_pixels_2dgs", "fully_fused_projection_with_ut",
     "rasterize_to_pixels_eval3d", "accumulate", "accumulate_2dgs", "rasterize_to_indices_in_range",
     "rasterize_to_indices_in_range_2dgs", "rasterization_inria_wrapper", "rasterization_2dgs_inria_wrapper"],
)  # fmt: skip
def test_what_is_not_here_is_refused_by_name(name: str) -> None:
    with pytest.raises(BadInputError, match=f"{name}: .* is not in fewview.gsplat"):
        getattr(gsplat, name)(torch.zeros(1), width=3)


def test_the_checkout_does_not_pose_as_gsplat() -> None:
    """Started in the checkout, Python would find our folder before the package of that name, and fail obscurely."""
    root = Path(gsplat.__file__).resolve().parent.parent
    code = "import gsplat"
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert "start Python in another folder" in done.stderr
