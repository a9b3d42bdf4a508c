"""The slope of an image by a camera's twist, which is what training moves cameras by.

The slope by each element of the camera matrix itself is in test_gradient_reference.py and test_gradient_native.py.
"""

from __future__ import annotations

import pytest
import torch
from fewview.render import rasterization
from fewview.render import reference_rasterization as reference
from fewview.scene.geometry import se3_exp
from support.differences import central_differences, cosine, relative_error
from support.scenes import smooth_scene, wide_scene
from support.threads import one_torch_thread as one_torch_thread
from torch import Tensor

TWISTS = {
    "at the start": [0.0] * 6,
    "a hair away": [1e-5, -2e-5, 1e-5, 0.0, 1e-5, 0.0],  # on the other side of the series for small angles
    "after a while": [0.04, -0.03, 0.05, 0.02, 0.1, -0.06],
}


def scalar(image: Tensor, alpha: Tensor) -> Tensor:
    """Every number of both enters with a weight of its own."""
    values = torch.cat([image.flatten(), alpha.flatten()])
    return values @ torch.linspace(0.3, 40, values.numel(), dtype=torch.float64).sin().to(values)


@pytest.mark.parametrize("name", list(TWISTS))
@pytest.mark.parametrize("scene", [smooth_scene(sh_degree=0, cameras=1), smooth_scene(cameras=1), wide_scene()])
def test_the_slope_by_the_twist_is_that_of_finite_differences(name: str, scene) -> None:
    def loss(function, twist: Tensor) -> Tensor:
        inputs = scene.inputs(twist.dtype)
        inputs["viewmats"] = (se3_exp(twist) @ inputs["viewmats"][0])[None]
        return scalar(*scene.render(function, inputs)[:2])

    twist = torch.tensor(TWISTS[name], dtype=torch.float64)
    expected = central_differences(lambda: loss(reference.rasterization, twist), twist)
    ours = torch.tensor(TWISTS[name], requires_grad=True)
    (found,) = torch.autograd.grad(loss(rasterization, ours), ours)
    assert expected.abs().min() > 1e-3, "a part of the twist that changes nothing tests nothing"
    # float32 kernels against double differences.
    assert relative_error(found, expected) < 1e-3
    assert cosine(found, expected) > 0.99999
