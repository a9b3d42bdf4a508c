"""gsplat's options on the CPU, each against its definition: absgrad, batches, covars, lenses, tiles and the rest."""

from __future__ import annotations

import math

import pytest
import torch
from fewview.render import rasterization
from fewview.render import reference_rasterization as reference
from fewview.render.reference_lenses import LENSES
from fewview.render.tile_intersection import isect_offset_encode, isect_tiles
from fewview.scene.errors import BadInputError
from fewview.scene.geometry import rotation_from_quat
from support.differences import central_differences, relative_error
from support.native import isa as isa
from support.scenes import random_blobs, smooth_scene
from support.threads import one_torch_thread as one_torch_thread
from torch import Tensor

BLOBS = {"count": 80, "width": 40, "height": 33}


def weights_like(image: Tensor) -> Tensor:
    return torch.linspace(-1.0, 1.3, image.numel(), dtype=image.dtype).mul(7).sin().reshape(image.shape)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("render_mode", ["RGB", "RGB+D", "D"])
def test_absgrad_is_the_sum_of_absolute_gradients_of_the_pixels(render_mode: str, packed: bool, isa: str) -> None:
    scene = smooth_scene(sh_degree=None)
    image, _, meta = scene.render(
        rasterization, scene.inputs(torch.float32, requires_grad=True), absgrad=True, packed=packed,
        render_mode=render_mode,
    )  # fmt: skip
    meta["means2d"].retain_grad()
    (image * weights_like(image)).sum().backward()

    # The same in double precision, one backward pass for each pixel.
    exact, _, exact_meta = scene.render(
        reference.rasterization, scene.inputs(requires_grad=True), render_mode=render_mode
    )
    means2d = exact_meta["means2d"]
    per_pixel = (exact * weights_like(exact)).sum(-1).flatten()
    gradients = [torch.autograd.grad(value, means2d, retain_graph=True)[0] for value in per_pixel]
    signed, absolute = sum(gradients), sum(g.abs() for g in gradients)
    # float32 sums of some hundred terms of both signs, each right to a few parts in 1e6.
    shape = meta["means2d"].shape
    tolerance = 1e-5 * float(absolute.max())
    torch.testing.assert_close(meta["means2d"].grad.double(), signed.reshape(shape), rtol=1e-4, atol=tolerance)
    torch.testing.assert_close(meta["means2d"].absgrad.double(), absolute.reshape(shape), rtol=1e-4, atol=tolerance)
    assert float((absolute - signed.abs()).max()) > 100 * tolerance


def test_absgrad_of_more_channels_than_one_pass_is_refused() -> None:
    scene = random_blobs(seed=1, sh_degree=None, channels=5, **BLOBS)
    with pytest.raises(BadInputError, match="absgrad is defined for up to 4 channels"):
        scene.render(rasterization, scene.inputs(torch.float32), absgrad=True)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("batch", [(2,), (1, 3)])
@pytest.mark.parametrize("sh_degree", [None, 1])
def test_a_batch_is_its_scenes_one_by_one(batch: tuple[int, ...], packed: bool, sh_degree: int | None) -> None:
    scenes = [random_blobs(seed=20 + i, sh_degree=sh_degree, **BLOBS) for i in range(math.prod(batch))]
    each = [scene.inputs(torch.float32) for scene in scenes]
    inputs = {k: torch.stack([e[k] for e in each]).unflatten(0, batch).requires_grad_() for k in each[0]}
    Ks = torch.stack([scene.Ks.float() for scene in scenes]).unflatten(0, batch)
    options = {"width": 40, "height": 33, "sh_degree": sh_degree, "render_mode": "RGB+ED", "packed": packed}
    image, alpha, meta = rasterization(**inputs, Ks=Ks, **options)
    assert image.shape == (*batch, 2, 33, 40, 4)
    assert meta["n_batches"] == len(scenes)
    assert meta["n_cameras"] == 2
    meta["means2d"].retain_grad()
    (image * weights_like(image)).sum().backward()

    singles = []
    for single, scene in zip(each, scenes, strict=True):
        leaves = {k: v.requires_grad_() for k, v in single.items()}
        singles.append((rasterization(**leaves, Ks=scene.Ks.float(), **options), leaves))
    expected = torch.stack([result[0] for result, _ in singles]).reshape(image.shape)
    assert torch.equal(image, expected)
    assert torch.equal(alpha, torch.stack([result[1] for result, _ in singles]).reshape(alpha.shape))
    (expected * weights_like(image)).sum().backward()
    for key, leaf in inputs.items():
        assert torch.equal(leaf.grad, torch.stack([leaves[key].grad for _, leaves in singles]).reshape(leaf.shape)), key
    if packed:
        counts = [len(result[2]["radii"]) for result, _ in singles]
        assert torch.bincount(meta["batch_ids"]).tolist() == counts
        assert torch.equal(meta["camera_ids"], torch.cat([result[2]["camera_ids"] for result, _ in singles]))
    else:
        assert meta["radii"].shape == (*batch, 2, 80, 2)
        assert meta["tiles_per_gauss"].shape == (*batch, 2, 80)
    assert len(meta["flatten_ids"]) == sum(len(result[2]["flatten_ids"]) for result, _ in singles)


def covariances(quats: Tensor, scales: Tensor) -> Tensor:
    half = rotation_from_quat(quats) * scales[..., None, :]
    return half @ half.transpose(-1, -2)


def test_covars_stand_for_quats_and_scales() -> None:
    scene = random_blobs(seed=3, **BLOBS)
    inputs = scene.inputs(torch.float32)
    covars = covariances(inputs["quats"], inputs["scales"])
    image, alpha, _ = scene.render(rasterization, inputs)
    inputs["quats"], inputs["scales"] = None, None
    same, same_alpha, _ = scene.render(rasterization, inputs, covars=covars)
    # xx yy - xy^2 cancels digits that the product of half matrices keeps; no blob here is thinner than 1 to 14.
    torch.testing.assert_close(same, image, rtol=0, atol=2e-3)
    assert (same - image).abs().mean() < 1e-5
    torch.testing.assert_close(same_alpha, alpha, rtol=0, atol=2e-3)


def test_the_gradient_of_covars_goes_to_the_upper_triangle() -> None:
    scene = smooth_scene(sh_degree=None)
    inputs = scene.inputs(torch.float32)
    covars = covariances(inputs["quats"], inputs["scales"]).requires_grad_()
    image, _, _ = scene.render(rasterization, inputs, covars=covars)
    (image * weights_like(image)).sum().backward()
    exact = covariances(scene.inputs()["quats"], scene.inputs()["scales"])

    def loss(upper: Tensor) -> Tensor:
        full = upper.triu() + upper.triu(1).transpose(-1, -2)
        image, _, _ = scene.render(reference.rasterization, scene.inputs(), covars=full, cutoff=False)
        return (image * weights_like(image)).sum()

    upper = exact.triu().clone()
    expected = central_differences(lambda: loss(upper), upper)
    assert (covars.grad.tril(-1) == 0).all()
    # float32 against differences in float64
    assert relative_error(covars.grad.double().triu(), expected.triu()) < 1e-3


@pytest.mark.parametrize("with_covars", [False, True])
@pytest.mark.parametrize("cameras", [1, 3])
def test_sparse_gradients_are_the_dense_ones(cameras: int, with_covars: bool) -> None:
    scene = random_blobs(seed=5, cameras=cameras, **BLOBS)
    found = {}
    for sparse in (False, True):
        inputs = scene.inputs(torch.float32, requires_grad=True)
        options = {}
        if with_covars:
            options["covars"] = inputs["covars"] = covariances(inputs["quats"], inputs["scales"]).detach()
            inputs["covars"].requires_grad_()
        given = {k: v for k, v in inputs.items() if k != "covars"}
        image, _, meta = scene.render(rasterization, given, sparse_grad=sparse, **options)
        image.square().sum().backward()
        found[sparse] = inputs, meta
    (dense, _), (sparse_inputs, meta) = found[False], found[True]
    assert len(meta["gaussian_ids"].unique()) < 80
    for key in ("means", "covars") if with_covars else ("means", "quats", "scales"):
        gradient = sparse_inputs[key].grad
        assert gradient.is_sparse
        assert torch.equal(gradient.coalesce().indices()[0], meta["gaussian_ids"].unique())
        assert torch.equal(gradient.to_dense(), dense[key].grad), key
    assert not sparse_inputs["opacities"].grad.is_sparse


def test_sparse_gradients_need_packed_results() -> None:
    scene = random_blobs(seed=6, **BLOBS)
    with pytest.raises(BadInputError, match="sparse_grad needs packed=True"):
        scene.render(rasterization, scene.inputs(torch.float32), sparse_grad=True, packed=False)


@pytest.mark.parametrize("render_mode", ["D", "ED"])
@pytest.mark.parametrize("channels", [1, 3])
def test_depth_has_nothing_behind_it(render_mode: str, channels: int) -> None:
    scene = random_blobs(seed=7, backgrounds=False, **BLOBS)
    inputs = scene.inputs(torch.float32)
    image, _, _ = scene.render(rasterization, inputs, render_mode=render_mode)
    behind = scene.render(rasterization, inputs, render_mode=render_mode, backgrounds=torch.ones(2, channels))[0]
    assert torch.equal(image, behind)


def test_sizes_may_be_floats_that_are_whole() -> None:
    scene = random_blobs(seed=8, **BLOBS)
    inputs = scene.inputs(torch.float32) | {"Ks": scene.Ks.float(), "sh_degree": scene.sh_degree}
    image, _, meta = rasterization(**inputs, width=40.0, height=torch.tensor(33.0))
    assert image.shape == (2, 33, 40, 3)
    assert isinstance(meta["width"], int)
    with pytest.raises(BadInputError, match=r"width: .*found 40\.5"):
        rasterization(**inputs, width=40.5, height=33)


@pytest.mark.parametrize("name", list(LENSES))
def test_the_jacobian_of_a_lens_is_its_derivative(name: str) -> None:
    g = torch.Generator().manual_seed(11)
    points = torch.randn(20, 3, generator=g, dtype=torch.float64) * 0.4 + torch.tensor([0.0, 0.0, 3.0])
    points[0, :2] = 0  # on the axis
    K = torch.tensor([[31.0, 0, 17], [0, 37, 15], [0, 0, 1]], dtype=torch.float64).expand(20, 3, 3)
    _, jacobian = LENSES[name](points, K, 34, 30)

    def pixels(points: Tensor) -> Tensor:
        return LENSES[name](points, K, 34, 30)[0].sum(0)  # every pixel depends on its own point

    step = 1e-5
    for axis in range(3):
        move = torch.zeros(3, dtype=torch.float64)
        move[axis] = step
        slope = (LENSES[name](points + move, K, 34, 30)[0] - LENSES[name](points - move, K, 34, 30)[0]) / (2 * step)
        # Differences of second order: the error is about step^2 and rounding / step.
        torch.testing.assert_close(jacobian[..., axis], slope, rtol=1e-6, atol=1e-6)
    derivative = torch.autograd.functional.jacobian(pixels, points)  # [2, 20, 3]
    torch.testing.assert_close(derivative[:, 1:].transpose(0, 1), jacobian[1:], rtol=1e-9, atol=1e-9)


def test_where_a_fisheye_and_an_orthographic_camera_see_a_point() -> None:
    K = torch.tensor([[[100.0, 0, 50], [0, 100, 50], [0, 0, 1]]], dtype=torch.float64)
    point = torch.tensor([[2.0, 0.0, 2.0]], dtype=torch.float64)  # 45 degrees to the right
    assert LENSES["fisheye"](point, K, 100, 100)[0][0].tolist() == pytest.approx([50 + 100 * math.pi / 4, 50])
    assert LENSES["ortho"](point, K, 100, 100)[0][0].tolist() == pytest.approx([250, 50])


@pytest.mark.parametrize("camera_model", ["ortho", "fisheye"])
@pytest.mark.parametrize("packed", [False, True])
def test_other_lenses_against_the_reference(camera_model: str, packed: bool) -> None:
    scene = smooth_scene()
    scales = {"ortho": 0.25, "fisheye": 1.0}[camera_model]  # an orthographic K is in pixels per world unit
    Ks = scene.Ks.clone()
    Ks[:, :2, :2] *= scales
    renders = {}
    for function, dtype in ((rasterization, torch.float32), (reference.rasterization, torch.float64)):
        inputs = scene.inputs(dtype, requires_grad=True)
        options = {"packed": packed} if function is rasterization else {}
        image, alpha, _ = function(
            **inputs, Ks=Ks.to(dtype), width=14, height=11, sh_degree=2, camera_model=camera_model, **options
        )
        (image * weights_like(image)).sum().backward()
        renders[dtype] = image, alpha, {k: v.grad for k, v in inputs.items()}
    (image, alpha, gradients), (exact, exact_alpha, exact_gradients) = renders[torch.float32], renders[torch.float64]
    torch.testing.assert_close(image.double(), exact, rtol=0, atol=1e-5)
    torch.testing.assert_close(alpha.double(), exact_alpha, rtol=0, atol=1e-5)
    for key, expected in exact_gradients.items():
        assert relative_error(gradients[key].double(), expected) < 1e-3, key


@pytest.mark.parametrize("camera_model", ["ortho", "fisheye"])
def test_gradients_of_other_lenses_by_finite_differences(camera_model: str) -> None:
    scene = smooth_scene(sh_degree=None, cameras=1)
    Ks = scene.Ks.clone()
    Ks[:, :2, :2] *= {"ortho": 0.25, "fisheye": 1.0}[camera_model]
    inputs = scene.inputs(requires_grad=True)

    def loss() -> Tensor:
        image, alpha, _ = reference.rasterization(
            **inputs, Ks=Ks, width=14, height=11, camera_model=camera_model, cutoff=False, render_mode="RGB+D"
        )
        return (image * weights_like(image)).sum() + alpha.square().sum()

    for key, gradient in zip(inputs, torch.autograd.grad(loss(), list(inputs.values())), strict=True):
        assert relative_error(gradient, central_differences(loss, inputs[key])) < 1e-5, key


def test_tiles_of_gaussians_by_their_boxes() -> None:
    scene = random_blobs(seed=12, cameras=2, **BLOBS)
    for packed in (False, True):
        _, _, meta = scene.render(rasterization, scene.inputs(torch.float32), packed=packed)
        tiles_x, tiles_y = meta["tile_width"], meta["tile_height"]
        means2d, radii, depths = (meta[k].reshape(-1, *meta[k].shape[-1:]) for k in ("means2d", "radii", "depths"))
        depths = meta["depths"].flatten()
        image_of = meta["camera_ids"] if packed else torch.arange(2).repeat_interleave(80)
        found, tiles = [], []
        for row in range(len(depths)):
            (x, y), (rx, ry) = means2d[row].tolist(), radii[row].tolist()
            here = [
                (int(image_of[row]), ty * tiles_x + tx, float(depths[row]), row)
                for ty in range(tiles_y)
                for tx in range(tiles_x)
                if rx > 0 and x - rx < 16 * tx + 16 and x + rx > 16 * tx and y - ry < 16 * ty + 16 and y + ry > 16 * ty
            ]
            found += here
            tiles.append(len(here))
        found.sort()
        assert meta["tiles_per_gauss"].flatten().tolist() == tiles
        assert meta["flatten_ids"].tolist() == [row for *_, row in found]
        bits = (tiles_x * tiles_y).bit_length()
        assert (meta["isect_ids"] >> 32).tolist() == [image << bits | tile for image, tile, *_ in found]
        starts = [
            sum((image, tile) < (i, t) for image, tile, *_ in found) for i in range(2) for t in range(tiles_x * tiles_y)
        ]
        assert meta["isect_offsets"].flatten().tolist() == starts
        unsorted = isect_tiles(
            meta["means2d"], meta["radii"], meta["depths"], 16, tiles_x, tiles_y, sort=False, packed=packed,
            n_images=2, image_ids=meta["camera_ids"],
        )  # fmt: skip
        assert torch.equal(unsorted[1].sort().values, meta["isect_ids"])
        assert torch.equal(isect_offset_encode(meta["isect_ids"], 2, tiles_x, tiles_y), meta["isect_offsets"])
