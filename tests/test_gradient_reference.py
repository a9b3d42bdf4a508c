"""Autograd through the reference implementation against finite differences of it, in double precision."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from fewview.render.reference_rasterization import rasterization, spherical_harmonics
from support.differences import central_differences, relative_error
from support.scenes import SplatScene, random_blobs, smooth_scene, viewing_directions, wide_scene
from support.threads import one_torch_thread as one_torch_thread
from torch import Tensor

F64 = torch.float64
SCENES: dict[str, Callable[[], SplatScene]] = {
    "harmonics": lambda: smooth_scene(sh_degree=2),
    "fourth degree": lambda: smooth_scene(sh_degree=4, cameras=1),
    "colours": lambda: smooth_scene(sh_degree=None),
    "beyond the tangent clamp": wide_scene,
}


def weighted_sum(*outputs: Tensor) -> Tensor:
    """A scalar that every element of every output enters with a weight of its own."""
    return sum(
        (output * torch.linspace(0.3, 1.7, output.numel(), dtype=output.dtype).sin().reshape(output.shape)).sum()
        for output in outputs
    )


@pytest.mark.parametrize("name", list(SCENES))
@pytest.mark.parametrize("options", [{}, {"rasterize_mode": "antialiased", "render_mode": "RGB+ED"}])
def test_every_input_by_finite_differences(name: str, options: dict) -> None:
    scene = SCENES[name]()
    inputs = scene.inputs(requires_grad=True)

    def loss() -> Tensor:
        image, alpha, _ = scene.render(rasterization, inputs, cutoff=False, **options)
        return weighted_sum(image, 0.5 * alpha)

    gradients = dict(zip(inputs, torch.autograd.grad(loss(), list(inputs.values())), strict=True))
    for key, leaf in inputs.items():
        # 1e-5 is the promise; the differences themselves are good to about 1e-9.
        assert relative_error(gradients[key], central_differences(loss, leaf)) < 1e-5, key
        assert gradients[key].abs().max() > 0, key


@pytest.mark.parametrize("name", list(SCENES))
def test_the_smooth_scenes_are_smooth(name: str) -> None:
    """With and without the cut-offs they are the same picture, so finite differences hold for any kernel."""
    scene = SCENES[name]()
    inputs = scene.inputs()
    image, alpha, meta = scene.render(rasterization, inputs)
    assert torch.equal(image, scene.render(rasterization, inputs, cutoff=False)[0])
    assert (meta["radii"] > 0).all()
    assert alpha.max() < 1 - 1e-3
    assert (meta["opacities"] < 0.95).all()
    depths = meta["depths"].sort(dim=-1).values
    assert depths.diff(dim=-1).min() > 1e-3


def test_the_wide_scene_is_beyond_every_limit_of_the_clamp() -> None:
    scene = wide_scene()
    tangents = scene.means[:, :2] / scene.means[:, 2:]
    K = scene.Ks[0]
    focal, center = K[[0, 1], [0, 1]], K[:2, 2]
    size = torch.tensor([scene.width, scene.height], dtype=F64)
    margin = 0.3 * size / 2 / focal
    outside = torch.cat([tangents > (size - center) / focal + margin, tangents < -center / focal - margin], dim=1)
    assert outside.any(0).all()
    assert not outside[-1].any()


def test_gradients_beyond_the_cut_are_those_of_the_pixels_inside_it() -> None:
    """With the cut-offs on, the gradient is that of the same sum with the choice of terms held fixed."""
    scene = random_blobs(seed=21, count=40, cameras=1)
    inputs = scene.inputs(requires_grad=True)

    def loss() -> Tensor:
        image, alpha, _ = scene.render(rasterization, inputs)
        return weighted_sum(image, alpha)

    (gradient,) = torch.autograd.grad(loss(), inputs["colors"])
    # The choice of terms depends on no colour, so for colours finite differences hold everywhere.
    picked = inputs["colors"].detach()[:3].clone()

    def loss_of_picked() -> Tensor:
        changed = dict(inputs, colors=torch.cat([picked, inputs["colors"][3:]]))
        image, alpha, _ = scene.render(rasterization, changed)
        return weighted_sum(image, alpha)

    assert relative_error(gradient[:3], central_differences(loss_of_picked, picked)) < 1e-5


def test_harmonics_by_gradcheck() -> None:
    directions = (1.7 * viewing_directions(6)).requires_grad_()
    coefficients = torch.sin(torch.arange(6 * 25 * 3, dtype=F64)).reshape(6, 25, 3).requires_grad_()
    for degree in range(5):
        torch.autograd.gradcheck(lambda d, c, n=degree: spherical_harmonics(n, d, c), (directions, coefficients))
