"""Gradients of the native kernels against the reference implementation and against finite differences of it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from fewview.render import rasterization
from fewview.render import reference_rasterization as reference
from support.differences import central_differences, cosine, relative_error
from support.native import isa as isa
from support.scenes import SplatScene, random_blobs, smooth_scene, take, wide_scene
from support.threads import one_torch_thread as one_torch_thread
from torch import Tensor

BLOBS = {"count": 150, "width": 90, "height": 70}
blobs = functools.cache(random_blobs)
smooth = functools.cache(smooth_scene)
wide = functools.cache(wide_scene)


def weights_like(x: Tensor, seed: int) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(x.shape, generator=g, dtype=torch.float64).to(x.dtype)


def loss_of(image: Tensor, alpha: Tensor) -> Tensor:
    """A scalar that every number of both enters with a weight of its own."""
    return (image * weights_like(image, 1)).sum() + (alpha * weights_like(alpha, 2)).sum()


def gradients(
    function: Callable, scene: SplatScene, dtype: torch.dtype, **options: object
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """(gradient of every input, the inputs) of the weighted sum of the render."""
    inputs = scene.inputs(dtype, requires_grad=True)
    image, alpha, _ = scene.render(function, inputs, **options)
    used = {
        k: v
        for k, v in inputs.items()
        if not (k in ("colors", "backgrounds") and "RGB" not in options.get("render_mode", "RGB"))
    }
    return dict(zip(used, torch.autograd.grad(loss_of(image, alpha), list(used.values())), strict=True)), inputs


@functools.cache
def expected_gradients(scene: SplatScene, **options: object) -> dict[str, Tensor]:
    """The reference implementation is slow and knows no instruction sets: once for each scene object is enough."""
    return gradients(reference.rasterization, scene, torch.float64, **options)[0]


def assert_same_gradients(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """By several measures at once, since each alone lets some fault through (the practice of gsplat's tests)."""
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key].shape == value.shape, key
        if value.norm() == 0:
            assert found[key].norm() == 0, key
            continue
        assert relative_error(found[key], value) <= 1e-3, f"{key}: {relative_error(found[key], value):.1e}"
        assert cosine(found[key], value) >= 0.9999, key
        # One element: 0.2 % of itself, or of the largest where it is a difference of large terms or a pixel
        # of it flips at the 1/255 cut.
        torch.testing.assert_close(
            found[key].to(value),
            value,
            rtol=2e-3,
            atol=2e-3 * float(value.abs().max()),
            msg=lambda m, k=key: f"{k}: {m}",
        )


@pytest.mark.parametrize("degree", [0, 1, 2, 3, 4])
def test_harmonics(degree: int, isa: str) -> None:
    scene = blobs(seed=60 + degree, sh_degree=degree, **BLOBS)
    assert_same_gradients(gradients(rasterization, scene, torch.float32)[0], expected_gradients(scene))


@pytest.mark.parametrize("channels", [1, 3, 4, 7])
@pytest.mark.parametrize("backgrounds", [False, True])
def test_channels(channels: int, backgrounds: bool, isa: str) -> None:
    scene = blobs(seed=70, sh_degree=None, channels=channels, backgrounds=backgrounds, **BLOBS)
    assert_same_gradients(gradients(rasterization, scene, torch.float32)[0], expected_gradients(scene))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("rasterize_mode", ["classic", "antialiased"])
@pytest.mark.parametrize("render_mode", reference.RENDER_MODES)
def test_modes(render_mode: str, rasterize_mode: str, packed: bool) -> None:
    scene = blobs(seed=80, **BLOBS)
    if "ED" in render_mode:
        # Expected depth divides by alpha, and near its edge a blob's alpha is one term at the 1/255 cut; one wide
        # blob behind the others keeps alpha away from 0.
        scene = with_a_back_wall(scene)
    options = {"render_mode": render_mode, "rasterize_mode": rasterize_mode}
    assert_same_gradients(
        gradients(rasterization, scene, torch.float32, packed=packed, **options)[0],
        expected_gradients(scene, **options),
    )


def with_a_back_wall(scene: SplatScene) -> SplatScene:
    wall = take(scene, slice(0, 1))
    wall = replace(
        wall,
        means=torch.tensor([[0.0, 0.0, 3.0]], dtype=torch.float64),
        scales=torch.tensor([[9.0, 9.0, 0.3]], dtype=torch.float64),
        quats=torch.tensor([[1.0, 0.0, 0.0, 0.0]], dtype=torch.float64),
        opacities=torch.tensor([0.9], dtype=torch.float64),
    )
    names = ("means", "quats", "scales", "opacities", "colors")
    return replace(scene, **{n: torch.cat([getattr(scene, n), getattr(wall, n)]) for n in names})


def test_colours_of_their_own_for_each_camera() -> None:
    scene = blobs(seed=81, sh_degree=None, **BLOBS)
    scene = replace(scene, colors=torch.stack([scene.colors, 1 - scene.colors]))
    assert_same_gradients(gradients(rasterization, scene, torch.float32)[0], expected_gradients(scene))


def test_the_clamped_alpha_has_no_gradient(isa: str) -> None:
    scene = blobs(seed=82, **BLOBS)
    scene = replace(scene, opacities=torch.ones_like(scene.opacities), scales=3 * scene.scales)
    found = gradients(rasterization, scene, torch.float32)[0]
    expected = expected_gradients(scene)
    for key, value in expected.items():
        # At full opacity a pixel at its stop may carry a tenth of the light, so one flip is worth more here.
        assert relative_error(found[key], value) <= 2e-2, key


SMOOTH = {
    "harmonics": lambda: smooth(sh_degree=2),
    "colours": lambda: smooth(sh_degree=None),
    "beyond the tangent clamp": wide,
}


OPTIONS = {"rgb": {}, "all": {"rasterize_mode": "antialiased", "render_mode": "RGB+ED"}}


@functools.cache
def expected_differences(name: str, kind: str) -> dict[str, Tensor]:
    """Central differences of the reference for every input."""
    scene = SMOOTH[name]()
    inputs = scene.inputs(torch.float64)

    def loss() -> Tensor:
        image, alpha, _ = scene.render(reference.rasterization, inputs, **OPTIONS[kind])
        return loss_of(image, alpha)

    return {key: central_differences(loss, leaf) for key, leaf in inputs.items()}


@pytest.mark.parametrize("name", list(SMOOTH))
@pytest.mark.parametrize("kind", list(OPTIONS))
def test_finite_differences_of_the_reference(name: str, kind: str, isa: str) -> None:
    found, _ = gradients(rasterization, SMOOTH[name](), torch.float32, **OPTIONS[kind])
    assert_same_gradients(found, expected_differences(name, kind))


def test_gradients_flow_only_where_asked() -> None:
    scene = smooth()
    inputs = scene.inputs(torch.float32)
    full, _ = gradients(rasterization, scene, torch.float32)
    for key in inputs:
        alone = {k: v.clone().requires_grad_(k == key) for k, v in inputs.items()}
        image, alpha, _ = scene.render(rasterization, alone)
        loss_of(image, alpha).backward()
        assert torch.equal(alone[key].grad, full[key]), key
        assert all(leaf.grad is None for k, leaf in alone.items() if k != key)


def test_depths_and_means2d_in_meta_carry_gradients() -> None:
    """Losses on what meta holds (as depth supervision at points uses it) reach the inputs."""
    scene = blobs(seed=83, **BLOBS)
    results = []
    for function, dtype, extra in (
        (rasterization, torch.float32, {"packed": False}),
        (reference.rasterization, torch.float64, {}),
    ):
        inputs = scene.inputs(dtype, requires_grad=True)
        _, _, meta = scene.render(function, inputs, rasterize_mode="antialiased", **extra)
        loss = sum((meta[k] * weights_like(meta[k], 3)).sum() for k in ("depths", "means2d", "conics", "opacities"))
        keys = ("means", "quats", "scales", "opacities", "viewmats")
        results.append(dict(zip(keys, torch.autograd.grad(loss, [inputs[k] for k in keys]), strict=True)))
    assert_same_gradients(*results)
