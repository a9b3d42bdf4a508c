"""Reference implementation of the splatting kernels, slow and plain PyTorch: the definition of what they compute.

Ordinary tensor code that autograd differentiates, in float32 and float64. The rules are those of gsplat 1.5.3,
completed where gsplat leaves a case undefined: what is not finite is culled, and a quaternion of length zero is the
identity. Opacities are expected in [0, 1].
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ..scene.geometry import rotation_from_quat
from ..scene.spherical_harmonics import sh_basis
from .reference_lenses import LENSES

ALPHA_MIN = 1 / 255  # what adds less than one step of an 8-bit image is skipped
ALPHA_MAX = 0.999  # keeps 1 / (1 - alpha) bounded in the backward pass
TRANSMITTANCE_MIN = 1e-4  # a pixel is finished before its transmittance falls to this
EXTENT_SIGMAS = 3.33  # sqrt(2 ln 255): where an opacity of 1 has fallen to ALPHA_MIN
RADIUS_MAX_PX = 1e9  # radii are int32; what is larger is no picture of anything, and culled
EXPECTED_DEPTH_MIN_ALPHA = 1e-10  # expected depth divides by no less
RENDER_MODES = ("RGB", "D", "ED", "RGB+D", "RGB+ED")

_CHUNK_ELEMENTS = 1 << 22  # pixels times Gaussians held at once


def project(
    means: Tensor,  # [N, 3] world
    quats: Tensor,  # [N, 4] wxyz
    scales: Tensor,  # [N, 3] world units
    opacities: Tensor,  # [N]
    cam_from_world: Tensor,  # [C, 4, 4]
    K: Tensor,  # [C, 3, 3] pixels
    width: int,
    height: int,
    *,
    near_plane: float = 0.01,
    far_plane: float = 1e10,
    radius_clip: float = 0.0,
    eps2d: float = 0.3,
    antialiased: bool = False,
    camera_model: str = "pinhole",
    covars: Tensor | None = None,  # [N, 3, 3] world units squared, instead of quats and scales
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Project 3D Gaussians to 2D Gaussians on C images by a local affine approximation (EWA splatting).

    Returns radii int32 [C, N, 2] (half sides in pixels of the box that holds every alpha >= 1/255), means2d
    [C, N, 2] in pixels, depths [C, N] (camera z), conics [C, N, 3] (xx, xy, yy of the inverse 2D covariance) and
    compensations [C, N] (what Mip-Splatting multiplies opacities by). `antialiased` says that the opacity seen on
    the image, which decides the radii, is the compensated one. Rows of culled Gaussians are 0 everywhere.
    `camera_model` is a name of `LENSES`. With `covars`, quats and scales are not looked at.
    """
    C, N = cam_from_world.shape[0], means.shape[0]
    half = rotation_from_quat(quats) * scales[:, None, :] if covars is None else None  # covariance = half half^T
    inputs = (means, half, covars, cam_from_world, K)
    with torch.no_grad():
        camera_ids = torch.arange(C, device=means.device).repeat_interleave(N)
        gaussian_ids = torch.arange(N, device=means.device).repeat(C)
        every = _project_pairs(*inputs, camera_ids, gaussian_ids, width, height, eps2d, camera_model)
        radii = _radii(*every, opacities[gaussian_ids], width, height, near_plane, far_plane, radius_clip, antialiased)
        seen = (radii > 0).all(-1)
    # Only what is seen enters the graph, so that the culled have gradients of exactly zero and never NaN.
    pair = camera_ids[seen], gaussian_ids[seen]
    means2d, depths, _, conics, compensations = _project_pairs(*inputs, *pair, width, height, eps2d, camera_model)
    return (
        radii.reshape(C, N, 2),
        means.new_zeros(C, N, 2).index_put(pair, means2d),
        means.new_zeros(C, N).index_put(pair, depths),
        means.new_zeros(C, N, 3).index_put(pair, conics),
        means.new_zeros(C, N).index_put(pair, compensations),
    )


def _project_pairs(
    means: Tensor,  # [N, 3]
    half: Tensor | None,  # [N, 3, 3] any matrix with half half^T = covariance
    covars: Tensor | None,  # [N, 3, 3] where there is no half
    cam_from_world: Tensor,  # [C, 4, 4]
    K: Tensor,  # [C, 3, 3]
    camera_ids: Tensor,  # [M]
    gaussian_ids: Tensor,  # [M]
    width: int,
    height: int,
    eps2d: float,
    camera_model: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """means2d [M, 2], depths [M], variances [M, 2], conics [M, 3], compensations [M] of M pairs."""
    rotation = cam_from_world[:, :3, :3][camera_ids]
    points = (rotation @ means[gaussian_ids, :, None]).squeeze(-1) + cam_from_world[camera_ids, :3, 3]
    means2d, jacobian = LENSES[camera_model](points, K[camera_ids], width, height)
    from_world = jacobian @ rotation
    if half is not None:
        half2d = from_world @ half[gaussian_ids]
        xx, xy, yy = (half2d[:, [0, 0, 1]] * half2d[:, [0, 1, 1]]).sum(-1).unbind(-1)
        # |a x b|^2 is xx yy - xy^2 without the cancellation that erases long thin Gaussians in float32.
        det_sharp = torch.linalg.cross(half2d[:, 0], half2d[:, 1]).square().sum(-1)
    else:
        assert covars is not None
        covars2d = from_world @ covars[gaussian_ids] @ from_world.transpose(-1, -2)
        xx, xy, yy = covars2d[:, 0, 0], (covars2d[:, 0, 1] + covars2d[:, 1, 0]) / 2, covars2d[:, 1, 1]
        det_sharp = (xx * yy - xy * xy).clamp_min(0)
    det = det_sharp + eps2d * (xx + yy) + eps2d**2
    xx, yy = xx + eps2d, yy + eps2d
    variances = torch.stack([xx, yy], dim=-1)
    conics = torch.stack([yy, -xy, xx], dim=-1) / det[:, None]
    return means2d, points[:, 2], variances, conics, _sqrt_or_zero(det_sharp / det)


def _sqrt_or_zero(x: Tensor) -> Tensor:
    """sqrt(max(0, x)) with a gradient of 0, not infinity, where x <= 0."""
    positive = x > 0
    return torch.where(positive, torch.where(positive, x, 1.0).sqrt(), 0.0)


def _radii(
    means2d: Tensor,  # [M, 2]
    depths: Tensor,  # [M]
    variances: Tensor,  # [M, 2]
    conics: Tensor,  # [M, 3]
    compensations: Tensor,  # [M]
    opacities: Tensor,  # [M]
    width: int,
    height: int,
    near_plane: float,
    far_plane: float,
    radius_clip: float,
    antialiased: bool,
) -> Tensor:
    """Radii int32 [M, 2] in pixels, 0 for what is culled.

    Every condition is written so that NaN fails it. A singular covariance has conics that are not finite.
    """
    if antialiased:
        opacities = opacities * compensations
    extent = (2 * (opacities / ALPHA_MIN).log()).sqrt().clamp(max=EXTENT_SIGMAS)
    radii = (extent[:, None] * variances.sqrt()).ceil()
    size = means2d.new_tensor([width, height])
    seen = (depths >= near_plane) & (depths <= far_plane) & (opacities >= ALPHA_MIN)
    seen &= (radii < RADIUS_MAX_PX).all(-1) & (radii > radius_clip).any(-1)
    seen &= ((means2d + radii > 0) & (means2d - radii < size)).all(-1)
    seen &= torch.isfinite(torch.cat([means2d, conics, opacities[:, None]], dim=-1)).all(-1)
    return torch.where(seen[:, None], radii, 0.0).to(torch.int32)


def spherical_harmonics(
    degree: int,
    dirs: Tensor,  # [..., 3] from the camera centre to the Gaussian, any length
    coeffs: Tensor,  # [..., K, 3], K >= (degree + 1)^2
) -> Tensor:
    """The function [..., 3] that the first (degree + 1)^2 coefficients stand for, seen along dirs."""
    basis = sh_basis(degree, dirs)
    return (basis[..., None] * coeffs[..., : basis.shape[-1], :]).sum(-2)


def sh_colors(degree: int, dirs: Tensor, coeffs: Tensor) -> Tensor:
    """Colours [..., 3] of spherical harmonics: max(0, SH + 0.5), not limited above. Shapes as spherical_harmonics."""
    return (spherical_harmonics(degree, dirs, coeffs) + 0.5).clamp_min(0)


def rasterize(
    means2d: Tensor,  # [C, N, 2] pixels
    conics: Tensor,  # [C, N, 3]
    colors: Tensor,  # [C, N, D]
    opacities: Tensor,  # [C, N] as seen on the image, compensated if antialiased
    depths: Tensor,  # [C, N]
    radii: Tensor,  # [C, N, 2]
    width: int,
    height: int,
    backgrounds: Tensor | None = None,  # [C, D]
    *,
    cutoff: bool = True,
) -> tuple[Tensor, Tensor]:
    """Blend 2D Gaussians front to back into colors [C, H, W, D] and alphas [C, H, W, 1].

    Equal depths keep the order of the Gaussians. Pixel centres lie at + 0.5. With `cutoff=False` nothing is skipped
    for a small alpha and no pixel finishes early: a smooth function, for finite differences.
    """
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixels = (torch.stack([x, y], dim=-1).reshape(-1, 2) + 0.5).to(means2d)
    images, transmittances = [], []
    for camera in range(means2d.shape[0]):
        seen = (radii[camera] > 0).all(-1).nonzero().squeeze(-1)
        order = seen[torch.argsort(depths[camera, seen], stable=True)]
        splats = (means2d[camera, order], conics[camera, order], opacities[camera, order], colors[camera, order])
        chunks = pixels.split(max(1, _CHUNK_ELEMENTS // max(1, len(order))))
        # Several chunks are recomputed in the backward pass, which keeps the memory bounded.
        parts = [
            checkpoint(composite, chunk, *splats, cutoff, use_reentrant=False)
            if len(chunks) > 1
            else composite(chunk, *splats, cutoff)
            for chunk in chunks
        ]
        image, transmittance = (torch.cat(p) for p in zip(*parts, strict=True))
        images.append(image if backgrounds is None else image + transmittance * backgrounds[camera])
        transmittances.append(transmittance)
    shape = (means2d.shape[0], height, width, -1)
    return torch.stack(images).reshape(shape), 1 - torch.stack(transmittances).reshape(shape)


def composite(
    pixels: Tensor,  # [P, 2] centres
    means2d: Tensor,  # [n, 2] or [P, n, 2], front to back
    conics: Tensor,  # [n, 3]
    opacities: Tensor,  # [n]
    colors: Tensor,  # [n, D]
    cutoff: bool = True,
) -> tuple[Tensor, Tensor]:
    """Blended colours [P, D] and what is left of the light from behind [P, 1]."""
    dx, dy = (means2d - pixels[:, None]).unbind(-1)  # [P, n]
    sigma = 0.5 * (conics[:, 0] * dx * dx + conics[:, 2] * dy * dy) + conics[:, 1] * dx * dy
    alpha = (opacities * torch.exp(-sigma)).clamp(max=ALPHA_MAX)
    if cutoff:
        alpha = torch.where((sigma >= 0) & (alpha >= ALPHA_MIN), alpha, 0.0)
        behind = (1 - alpha.detach()).cumprod(dim=-1)
        alpha = torch.where(behind > TRANSMITTANCE_MIN, alpha, 0.0)
    transmittance = torch.cat([torch.ones_like(pixels[:, :1]), (1 - alpha).cumprod(dim=-1)], dim=-1)  # [P, n + 1]
    return (alpha * transmittance[:, :-1]) @ colors, transmittance[:, -1:]


def rasterization(
    means: Tensor,  # [N, 3]
    quats: Tensor,  # [N, 4] wxyz
    scales: Tensor,  # [N, 3]
    opacities: Tensor,  # [N]
    colors: Tensor,  # [(C,) N, D], or [(C,) N, K, 3] with sh_degree
    viewmats: Tensor,  # [C, 4, 4] cam_from_world
    Ks: Tensor,  # [C, 3, 3]
    width: int,
    height: int,
    near_plane: float = 0.01,
    far_plane: float = 1e10,
    radius_clip: float = 0.0,
    eps2d: float = 0.3,
    sh_degree: int | None = None,
    backgrounds: Tensor | None = None,  # [C, D]
    render_mode: str = "RGB",
    rasterize_mode: str = "classic",
    *,
    camera_model: str = "pinhole",
    covars: Tensor | None = None,  # [N, 3, 3], instead of quats and scales
    cutoff: bool = True,
) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """Render Gaussians with gsplat's names and shapes: colors [C, H, W, X], alphas [C, H, W, 1] and meta.

    X is D, 1 or D + 1 by `render_mode`. The tensors in meta are dense, [C, N, ...], as gsplat gives them with
    `packed=False`; the tile lists are absent. `cutoff` as in `rasterize`.
    """
    if render_mode not in RENDER_MODES or rasterize_mode not in ("classic", "antialiased"):
        raise ValueError(f"unknown render_mode {render_mode!r} or rasterize_mode {rasterize_mode!r}")
    C, N = viewmats.shape[0], means.shape[0]
    antialiased = rasterize_mode == "antialiased"
    radii, means2d, depths, conics, compensations = project(
        means, quats, scales, opacities, viewmats, Ks, width, height, near_plane=near_plane, far_plane=far_plane,
        radius_clip=radius_clip, eps2d=eps2d, antialiased=antialiased, camera_model=camera_model,
        covars=covars,
    )  # fmt: skip
    opacities = opacities * compensations if antialiased else opacities.expand(C, N)
    meta = {
        "batch_ids": None, "camera_ids": None, "gaussian_ids": None, "radii": radii, "means2d": means2d,
        "depths": depths, "conics": conics, "opacities": opacities, "width": width, "height": height,
        "n_batches": 1, "n_cameras": C,
    }  # fmt: skip
    if sh_degree is not None:
        centers = torch.linalg.inv(viewmats)[:, :3, 3]
        colors = sh_colors(sh_degree, means - centers[:, None], colors)
    colors = colors.expand(C, N, -1)
    if "D" in render_mode:
        with_rgb = render_mode.startswith("RGB")
        colors = torch.cat([colors, depths[..., None]], dim=-1) if with_rgb else depths[..., None]
        if backgrounds is not None:
            nothing = backgrounds.new_zeros(C, 1)
            backgrounds = torch.cat([backgrounds, nothing], dim=-1) if with_rgb else nothing
    image, alphas = rasterize(
        means2d, conics, colors, opacities, depths, radii, width, height, backgrounds, cutoff=cutoff
    )
    if "ED" in render_mode:
        expected = image[..., -1:] / alphas.clamp_min(EXPECTED_DEPTH_MIN_ALPHA)
        image = torch.cat([image[..., :-1], expected], dim=-1)
    return image, alphas, meta
