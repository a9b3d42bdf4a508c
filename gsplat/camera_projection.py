"""`world_to_cam` and `proj`: the two halves of a projection, by gsplat's names."""

from __future__ import annotations

from torch import Tensor

from ..render.projection import check_camera_model
from ..render.reference_lenses import LENSES
from ..scene.errors import BadInputError


def world_to_cam(
    means: Tensor,  # [..., N, 3]
    covars: Tensor,  # [..., N, 3, 3]
    viewmats: Tensor,  # [..., C, 4, 4] cam_from_world
) -> tuple[Tensor, Tensor]:
    """Centres [..., C, N, 3] and covariances [..., C, N, 3, 3] in the frames of C cameras.

    Arguments and results of gsplat 1.5.3; differentiable, plain PyTorch.
    """
    batch, N, C = tuple(means.shape[:-2]), means.shape[-2], viewmats.shape[-3]
    _check("means", means, (*batch, N, 3))
    _check("covars", covars, (*batch, N, 3, 3))
    _check("viewmats", viewmats, (*batch, C, 4, 4))
    rotation, translation = viewmats[..., :3, :3], viewmats[..., :3, 3]
    turned = rotation[..., None, :, :] @ means[..., None, :, :, None]
    within = rotation[..., None, :, :] @ covars[..., None, :, :, :] @ rotation[..., None, :, :].transpose(-1, -2)
    return turned.squeeze(-1) + translation[..., None, :], within


def proj(
    means: Tensor,  # [..., C, N, 3] in the frames of the cameras
    covars: Tensor,  # [..., C, N, 3, 3] in the frames of the cameras
    Ks: Tensor,  # [..., C, 3, 3]
    width: int,
    height: int,
    camera_model: str = "pinhole",
) -> tuple[Tensor, Tensor]:
    """Centres [..., C, N, 2] in pixels and covariances [..., C, N, 2, 2] on the images, without blur.

    Arguments and results of gsplat 1.5.3: the covariance goes through the Jacobian at the centre, which for a pinhole
    is taken at most 0.15 image sizes outside of the image. Differentiable, plain PyTorch.
    """
    check_camera_model(camera_model)
    leading = tuple(means.shape[:-1])
    _check("means", means, (*leading, 3))
    _check("covars", covars, (*leading, 3, 3))
    _check("Ks", Ks, (*leading[:-1], 3, 3))
    every = Ks[..., None, :, :].expand(*leading, 3, 3).reshape(-1, 3, 3)
    pixels, jacobian = LENSES[camera_model](means.reshape(-1, 3), every, width, height)
    on_image = jacobian @ covars.reshape(-1, 3, 3) @ jacobian.transpose(-1, -2)
    return pixels.reshape(*leading, 2), on_image.reshape(*leading, 2, 2)


def _check(name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(tensor.shape) != shape:
        raise BadInputError(f"{name}: expected shape {shape}, found {tuple(tensor.shape)}.")
