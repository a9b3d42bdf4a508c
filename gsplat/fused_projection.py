"""`fully_fused_projection`: Gaussians in the world to Gaussians on images, by gsplat's name."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..render.native_rasterization import ProjectOptions
from ..render.projection import (
    ANY_OPACITY,
    check_camera_model,
    project_scene,
    symmetric_matrices,
    with_sparse_gradient,
)
from ..scene.errors import BadInputError


def fully_fused_projection(
    means: Tensor,  # [..., N, 3]
    covars: Tensor | None,  # [..., N, 6] upper triangles, or quats and scales
    quats: Tensor | None,  # [..., N, 4]
    scales: Tensor | None,  # [..., N, 3]
    viewmats: Tensor,  # [..., C, 4, 4] cam_from_world
    Ks: Tensor,  # [..., C, 3, 3]
    width: int,
    height: int,
    eps2d: float = 0.3,
    near_plane: float = 0.01,
    far_plane: float = 1e10,
    radius_clip: float = 0.0,
    packed: bool = False,
    sparse_grad: bool = False,
    calc_compensations: bool = False,
    camera_model: str = "pinhole",
    opacities: Tensor | None = None,  # [..., N], for tighter radii
) -> tuple[Tensor | None, ...]:
    """Project Gaussians into C cameras; arguments and results of gsplat 1.5.3, differentiable but in Ks and opacities.

    Returns radii int32 [..., C, N, 2], means2d [..., C, N, 2], depths [..., C, N], conics [..., C, N, 3] and
    compensations [..., C, N] (None unless asked for). Packed: batch_ids, camera_ids and gaussian_ids [nnz] of what is
    visible, then the same five of [nnz, ...].
    """
    check_camera_model(camera_model)
    batch, N, C = tuple(means.shape[:-2]), means.shape[-2], viewmats.shape[-3]
    given = {"means": (means, (N, 3)), "viewmats": (viewmats, (C, 4, 4)), "Ks": (Ks, (C, 3, 3))}
    if opacities is None:
        opacities = means.new_full((*batch, N), ANY_OPACITY)
        tighter = False
    else:
        tighter = True
    given["opacities"] = opacities, (N,)
    if covars is not None:
        given["covars"] = covars, (N, 6)
    elif quats is None or scales is None:
        raise BadInputError("Neither covars nor quats with scales were given; one of the two is needed.")
    else:
        given |= {"quats": (quats, (N, 4)), "scales": (scales, (N, 3))}
    for name, (tensor, tail) in given.items():
        if tuple(tensor.shape) != batch + tail:
            raise BadInputError(f"{name}: expected shape {batch + tail}, found {tuple(tensor.shape)}.")
    if sparse_grad and (not packed or batch):
        raise BadInputError("sparse_grad needs packed=True and tensors without batch dimensions; leave it out.")

    tensors = {name: tensor for name, (tensor, _) in given.items()}
    visible_rows: list[Tensor] = []
    if sparse_grad:
        learnt = {"means", "covars", "quats", "scales"} & set(tensors)
        tensors |= {name: with_sparse_gradient(tensors[name], visible_rows) for name in learnt}
    if covars is not None:
        tensors["covars"] = symmetric_matrices(tensors["covars"])
    options = ProjectOptions(
        width, height, eps2d, near_plane, far_plane, radius_clip, antialiased=calc_compensations and tighter
    )
    flat = {name: tensor.reshape(-1, *tensor.shape[len(batch) :]) for name, tensor in tensors.items()}
    scenes = [
        project_scene(**{name: tensor[b] for name, tensor in flat.items()}, options=options, camera_model=camera_model)
        for b in range(math.prod(batch))
    ]
    radii, *others = (_stacked(parts, batch) for parts in zip(*scenes, strict=True))
    if not calc_compensations:
        others.pop()
    missing = () if calc_compensations else (None,)
    if not packed:
        return radii, *others, *missing
    seen = torch.nonzero((radii > 0).all(-1).reshape(-1, C, N), as_tuple=True)
    visible_rows.append(seen[2].unique())
    shown = [t.reshape(-1, C, *t.shape[len(batch) + 1 :])[seen] for t in (radii, *others)]
    return *seen, *shown, *missing


def _stacked(parts: Sequence[Tensor], batch: tuple[int, ...]) -> Tensor:
    return torch.stack(list(parts)).reshape(*batch, *parts[0].shape)
