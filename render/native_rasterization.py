"""The CPU kernels as differentiable functions. Same names, shapes and meaning as in `reference_rasterization`.

Tensors are float32 on the CPU. A kernel never allocates: it gets NumPy views of tensors that are made here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .. import _native
from .sh_factors import ShFactors, kept_factors

MAX_CHANNELS = 4  # of one pass; more are drawn in several passes over the same tile lists


def _array(tensor: Tensor) -> np.ndarray:
    """A NumPy view of a contiguous CPU tensor."""
    return tensor.detach().contiguous().numpy()


def _grad_array(gradient: Tensor | None, shape: torch.Size | tuple[int, ...]) -> np.ndarray:
    return np.zeros(shape, np.float32) if gradient is None else _array(gradient)


@dataclass(frozen=True)
class ProjectOptions:
    """Settings of the projection; the names are gsplat's."""

    width: int
    height: int
    eps2d: float = 0.3
    near_plane: float = 0.01
    far_plane: float = 1e10
    radius_clip: float = 0.0
    antialiased: bool = False

    def as_arguments(self) -> tuple[Any, ...]:
        return (
            self.width, self.height, self.eps2d, self.near_plane, self.far_plane, self.radius_clip, self.antialiased,
        )  # fmt: skip


class _Project(torch.autograd.Function):
    @staticmethod
    def forward(ctx, means, quats, scales, opacities, cam_from_world, K, options):  # type: ignore[override]
        inputs = [t.detach().contiguous() for t in (means, quats, scales, opacities, cam_from_world, K)]
        C, N = cam_from_world.shape[0], means.shape[0]
        radii = torch.empty(C, N, 2, dtype=torch.int32)
        outputs = [torch.empty(C, N, 2), torch.empty(C, N), torch.empty(C, N, 3), torch.empty(C, N)]
        arrays = [t.numpy() for t in inputs]
        _native.project(*arrays, *options.as_arguments(), radii.numpy(), *(t.numpy() for t in outputs))
        ctx.save_for_backward(*inputs, radii, *outputs)
        ctx.options = options
        ctx.mark_non_differentiable(radii)
        ctx.set_materialize_grads(False)
        return (radii, *outputs)

    @staticmethod
    @once_differentiable
    def backward(ctx, _, *v_outputs):  # type: ignore[override]
        saved = ctx.saved_tensors
        inputs, outputs = saved[:6], saved[7:]
        means, quats, scales, _, cam_from_world, _ = inputs
        v_means, v_quats, v_scales = torch.empty_like(means), torch.empty_like(quats), torch.empty_like(scales)
        v_camera = torch.zeros_like(cam_from_world) if ctx.needs_input_grad[4] else None
        _native.project_backward(
            *(t.numpy() for t in inputs),
            *ctx.options.as_arguments(),
            *(t.numpy() for t in saved[6:]),
            *(_grad_array(v, out.shape) for v, out in zip(v_outputs, outputs, strict=True)),
            v_means.numpy(),
            v_quats.numpy(),
            v_scales.numpy(),
            None if v_camera is None else v_camera.numpy(),
        )
        return v_means, v_quats, v_scales, None, v_camera, None, None


def project(
    means: Tensor,  # [N, 3]
    quats: Tensor,  # [N, 4] wxyz
    scales: Tensor,  # [N, 3]
    opacities: Tensor,  # [N]
    cam_from_world: Tensor,  # [C, 4, 4]
    K: Tensor,  # [C, 3, 3]
    options: ProjectOptions,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """radii int32 [C, N, 2], means2d [C, N, 2], depths [C, N], conics [C, N, 3], compensations [C, N].

    Gaussians that cannot be seen have radius 0 and zeros everywhere. Gradients flow to means, quats, scales and
    cam_from_world; opacities only decide extents.
    """
    return _Project.apply(means, quats, scales, opacities, cam_from_world, K, options)  # type: ignore[no-untyped-call]


class _ShColors(torch.autograd.Function):
    @staticmethod
    def forward(ctx, degree, means, centers, sh, radii, kept):  # type: ignore[override]
        inputs = [t.detach().contiguous() for t in (means, centers, sh)]
        colors = torch.empty(centers.shape[0], means.shape[0], 3)
        _native.sh_colors(degree, *(t.numpy() for t in inputs), radii.numpy(), colors.numpy())
        ctx.degree, ctx.kept = degree, kept
        ctx.save_for_backward(*inputs, radii, colors)
        return colors

    @staticmethod
    @once_differentiable
    def backward(ctx, v_colors):  # type: ignore[override]
        means, centers, sh, radii, colors = ctx.saved_tensors
        v_means, v_centers = torch.empty_like(means), torch.empty_like(centers)
        v_sh = factors = None
        if ctx.kept is None or not ctx.needs_input_grad[3]:
            v_sh = torch.empty_like(sh)
        else:
            factors = ShFactors(ctx.degree, torch.empty_like(colors), torch.empty_like(colors))
            ctx.kept.append(factors)
        _native.sh_colors_backward(
            ctx.degree,
            *(t.numpy() for t in (means, centers, sh, radii, colors)),
            _array(v_colors),
            None if v_sh is None else v_sh.numpy(),
            *((None, None) if factors is None else (factors.directions.numpy(), factors.v_colors.numpy())),
            v_means.numpy(),
            v_centers.numpy(),
        )
        return None, v_means, v_centers, v_sh, None, None


def sh_colors(
    degree: int,
    means: Tensor,  # [N, 3]
    centers: Tensor,  # [C, 3] camera centres
    sh: Tensor,  # [N, K, 3]
    radii: Tensor,  # [C, N, 2] int32
) -> Tensor:
    """Colours max(0, SH + 0.5) seen from each camera, [C, N, 3]; zeros where the radius is 0.

    The gradient of `sh` is kept as factors where it asks for that (`sh_factors`).
    """
    return _ShColors.apply(degree, means, centers, sh, radii, kept_factors(sh))  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class ImageLists:
    """The Gaussians begin .. end of a flat list, sorted into the tiles of one image."""

    begin: int
    end: int
    lists: _native.TileLists


def bin_gaussians(
    means2d: Tensor,  # [M, 2]
    depths: Tensor,  # [M]
    conics: Tensor,  # [M, 3]
    opacities: Tensor,  # [M]
    radii: Tensor,  # [M, 2]
    bounds: list[tuple[int, int]],  # one stretch of the M for each image
    width: int,
    height: int,
) -> list[ImageLists]:
    """Tile lists for each image, Gaussians front to back."""
    arrays = [_array(t) for t in (radii, means2d, depths, conics, opacities)]
    images = []
    for begin, end in bounds:
        lists = _native.TileLists()
        lists.bin(width, height, *(a[begin:end] for a in arrays))
        images.append(ImageLists(begin, end, lists))
    return images


class _Rasterize(torch.autograd.Function):
    @staticmethod
    def forward(ctx, means2d, conics, colors, opacities, backgrounds, images, width, height, take_absgrad):  # type: ignore[override]
        colors = colors.detach().contiguous()
        color_array = colors.numpy()
        out = torch.empty(len(images), height, width, colors.shape[-1])
        transmittance = torch.empty(len(images), height, width)
        bg = None if backgrounds is None else _array(backgrounds)
        for i, image in enumerate(images):
            _native.rasterize(
                image.lists, color_array[image.begin : image.end], None if bg is None else bg[i],
                out[i].numpy(), transmittance[i].numpy(),
            )  # fmt: skip
        ctx.save_for_backward(colors, backgrounds, out, transmittance)
        ctx.images, ctx.shapes = images, (means2d.shape, conics.shape, colors.shape, opacities.shape)
        ctx.take_absgrad = take_absgrad
        ctx.set_materialize_grads(False)
        return out, (1 - transmittance)[..., None]

    @staticmethod
    @once_differentiable
    def backward(ctx, v_out, v_alphas):  # type: ignore[override]
        colors, backgrounds, out, transmittance = ctx.saved_tensors
        color_array = colors.numpy()
        bg = None if backgrounds is None else _array(backgrounds)
        v_out_array = _grad_array(v_out, out.shape)
        v_alpha_array = _grad_array(v_alphas, (*transmittance.shape, 1))[..., 0]
        gradients = [torch.zeros(shape) for shape in ctx.shapes]
        absolute = None if ctx.take_absgrad is None else torch.zeros(ctx.shapes[0])
        for i, image in enumerate(ctx.images):
            stretch = slice(image.begin, image.end)
            v_means2d, v_conics, v_colors, v_opacities = (gradient[stretch].numpy() for gradient in gradients)
            _native.rasterize_backward(
                image.lists, color_array[stretch], None if bg is None else bg[i],
                out[i].numpy(), transmittance[i].numpy(), v_out_array[i], v_alpha_array[i],
                v_means2d, v_conics, v_colors, v_opacities, None if absolute is None else absolute[stretch].numpy(),
            )  # fmt: skip
        if absolute is not None:
            ctx.take_absgrad(absolute)
        v_background = None
        if backgrounds is not None and ctx.needs_input_grad[4]:
            v_background = torch.einsum("chwd,chw->cd", torch.from_numpy(v_out_array), transmittance)
        return (*gradients, v_background, None, None, None, None)


def rasterize(
    means2d: Tensor,  # [M, 2]
    conics: Tensor,  # [M, 3]
    colors: Tensor,  # [M, D]
    opacities: Tensor,  # [M]
    backgrounds: Tensor | None,  # [I, D]
    images: list[ImageLists],
    width: int,
    height: int,
    take_absgrad: Callable[[Tensor], None] | None = None,
) -> tuple[Tensor, Tensor]:
    """Colours [I, H, W, D] and alphas [I, H, W, 1] of I images whose Gaussians lie one after another.

    Gradients flow to every tensor. The backward pass hands `take_absgrad` the sums over pixels of the absolute
    gradients of means2d [M, 2] (AbsGS, Ye et al. 2024), which are defined for one pass: at most MAX_CHANNELS channels.
    """
    assert take_absgrad is None or colors.shape[-1] <= MAX_CHANNELS
    parts, alphas = [], None
    for first in range(0, max(colors.shape[-1], 1), MAX_CHANNELS):
        some = slice(first, first + MAX_CHANNELS)
        bg = None if backgrounds is None else backgrounds[:, some]
        part, alpha = _Rasterize.apply(
            means2d, conics, colors[:, some], opacities, bg, images, width, height, take_absgrad
        )  # type: ignore[no-untyped-call]
        parts.append(part)
        alphas = alpha if alphas is None else alphas
    assert alphas is not None
    return (parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)), alphas


class _L1Dssim(torch.autograd.Function):
    @staticmethod
    def forward(ctx, image, target, dssim_weight):  # type: ignore[override]
        gradient = torch.empty(image.shape) if ctx.needs_input_grad[0] else None
        loss, _ = _native.image_loss(
            _array(image), _array(target), dssim_weight, None if gradient is None else gradient.numpy()
        )
        ctx.gradient = gradient
        return image.new_tensor(loss)

    @staticmethod
    @once_differentiable
    def backward(ctx, v_loss):  # type: ignore[override]
        return (None if ctx.gradient is None else ctx.gradient * v_loss), None, None


def l1_dssim(image: Tensor, target: Tensor, dssim_weight: float) -> Tensor:
    """The scalar loss of two images [H, W, 3]; differentiable in the first."""
    return _L1Dssim.apply(image, target, dssim_weight)  # type: ignore[no-untyped-call]
