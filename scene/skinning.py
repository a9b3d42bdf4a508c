"""`skin`: where the nodes of a deformation graph take vertices, by linear blending, dual quaternions or a mixture.

Linear blending (LBS) loses volume where neighbours turn against each other; dual quaternions (DQS, Kavan et al. 2008)
keep each vertex's own motion rigid, and bulge where a limb is bent. DreamMesh4D (section 3.3) blends both by a share
that nodes learn.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .. import _native
from .filled import filled
from .geometry import quat_multiply, rotation_from_quat

LEAST_SQUARE = 1e-20  # of a blended quaternion; opposite ones may cancel


def node_transforms(
    quats: Tensor,  # [M, 4] wxyz, normalised here
    translations: Tensor,  # [M, 3]
    strains: Tensor | None = None,  # [M, 6] xx, yy, zz, xy, xz, yz of a symmetric matrix, 0 for none
    pivots: Tensor | None = None,  # [M, 3] that nodes turn about; the origin when None
) -> tuple[Tensor, Tensor]:
    """(affine [M, 12] for linear blending, duals [M, 8]) of nodes that take x to R S (x - p) + p + T.

    S = I + strain. Dual quaternions are rigid, so they leave S out.
    """
    rotation = rotation_from_quat(quats)
    matrix = rotation if strains is None else rotation + rotation @ symmetric(strains)
    linear_shift = rigid_shift = translations
    if pivots is not None:
        linear_shift = translations + pivots - (matrix @ pivots[..., None])[..., 0]
        rigid_shift = translations + pivots - (rotation @ pivots[..., None])[..., 0]
    unit = torch.nn.functional.normalize(quats, dim=-1)
    dual = 0.5 * quat_multiply(torch.cat([torch.zeros_like(rigid_shift[..., :1]), rigid_shift], dim=-1), unit)
    return torch.cat([matrix, linear_shift[..., None]], dim=-1).flatten(-2), torch.cat([unit, dual], dim=-1)


def symmetric(six: Tensor) -> Tensor:
    """[..., 6] xx, yy, zz, xy, xz, yz -> [..., 3, 3]"""
    xx, yy, zz, xy, xz, yz = six.unbind(-1)
    return torch.stack([xx, xy, xz, xy, yy, yz, xz, yz, zz], dim=-1).unflatten(-1, (3, 3))


def skin(
    vertices: Tensor,  # [V, 3]
    affine: Tensor,  # [M, 12] rows of [matrix | translation]
    duals: Tensor,  # [M, 8] unit quaternion wxyz, and its dual part
    shares: Tensor,  # [M] of linear blending
    values: Tensor,  # [M, C] anything else to blend
    index: Tensor,  # [V, K] int32
    weights: Tensor,  # [V, K] of at least 0 that sum to one
    *,
    offset: float = 0.0,
    antipodal: bool = True,
) -> tuple[Tensor, Tensor]:
    """(places [V, 3], blended values [V, C]), differentiable in all but `index` and `weights`.

    v goes to b L + (1 - b) D, of linear blending and dual quaternions, with b = min(1, offset + sum_k w_k share_k)
    (DreamMesh4D as released; the paper has no offset). `antipodal` takes each quaternion with the sign that is nearer
    to that of the heaviest node, q and -q being one rotation; the released code takes them as they are. On the CPU in
    float32 a native kernel does it, else the reference implementation.
    """
    if vertices.device.type != "cpu" or vertices.dtype != torch.float32:
        return reference_skin(
            vertices, affine, duals, shares, values, index, weights, offset=offset, antipodal=antipodal
        )
    moved, blend = _Skin.apply(vertices, affine, duals, shares, values, index, weights, offset, antipodal)
    return moved, blend


def reference_skin(
    vertices: Tensor,
    affine: Tensor,
    duals: Tensor,
    shares: Tensor,
    values: Tensor,
    index: Tensor,
    weights: Tensor,
    *,
    offset: float = 0.0,
    antipodal: bool = True,
) -> tuple[Tensor, Tensor]:
    """`skin` in plain PyTorch."""
    near, w = index.long(), weights[..., None]
    blended = (w * affine[near]).sum(1).unflatten(-1, (3, 4))
    linear = (blended[..., :3] @ vertices[..., None])[..., 0] + blended[..., 3]
    chosen = duals[near]
    if antipodal:
        first = chosen[torch.arange(len(chosen)), weights.argmax(1), :4]
        along = (chosen[..., :4] * first[:, None]).sum(-1, keepdim=True)
        chosen = torch.where(along < 0, -chosen, chosen)
    real, dual = (w * chosen).sum(1).split(4, dim=-1)
    length = real.square().sum(-1, keepdim=True).clamp_min(LEAST_SQUARE).sqrt()
    real, dual = real / length, dual / length
    moved_by = 2 * quat_multiply(dual, real * filled((1.0, -1.0, -1.0, -1.0), real.device).to(real.dtype))[..., 1:]
    turned = (rotation_from_quat(real) @ vertices[..., None])[..., 0] + moved_by
    share = (offset + (weights * shares[near]).sum(1)).clamp(max=1)[:, None]
    return share * linear + (1 - share) * turned, (w * values[near]).sum(1)


class _Skin(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor]:
        *tensors, offset, antipodal = inputs
        kept = [t.detach().contiguous() for t in tensors]
        vertices, values = kept[0], kept[4]
        moved, blend = torch.empty_like(vertices), vertices.new_empty(len(vertices), values.shape[1])
        arguments: list[Any] = [*(t.numpy() for t in kept), offset, antipodal, moved.numpy(), blend.numpy()]
        _native.skin(*arguments)
        ctx.save_for_backward(*kept)
        ctx.settings = offset, antipodal
        return moved, blend

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        kept = ctx.saved_tensors
        outputs = tuple(torch.empty_like(t) for t in kept[:5])
        arrays = [t.numpy() for t in kept]
        _native.skin_backward(
            *arrays, *ctx.settings, *(g.contiguous().numpy() for g in gradients), *(t.numpy() for t in outputs)
        )
        return (*outputs, None, None, None, None)
