"""`rasterization`: gsplat 1.5's function, on any device.

CPU tensors go to the native kernels here, CUDA tensors to gsplat itself.
"""

from __future__ import annotations

import itertools
import math
from typing import Any, Literal

import torch
from torch import Tensor

from ..scene.errors import BadInputError
from . import native_rasterization as native
from .projection import check_camera_model, project_scene, symmetric_matrices, upper_triangle, with_sparse_gradient
from .rasterization_meta import Meta

TILE_SIZE = 16
RENDER_MODES = ("RGB", "D", "ED", "RGB+D", "RGB+ED")


def rasterization(
    means: Tensor,  # [..., N, 3]
    quats: Tensor,  # [..., N, 4]
    scales: Tensor,  # [..., N, 3]
    opacities: Tensor,  # [..., N]
    colors: Tensor,  # [..., (C,) N, D] or [..., (C,) N, K, 3]
    viewmats: Tensor,  # [..., C, 4, 4]
    Ks: Tensor,  # [..., C, 3, 3]
    width: float,
    height: float,
    near_plane: float = 0.01,
    far_plane: float = 1e10,
    radius_clip: float = 0.0,
    eps2d: float = 0.3,
    sh_degree: int | None = None,
    packed: bool = True,
    tile_size: int = TILE_SIZE,
    backgrounds: Tensor | None = None,  # [..., C, D]
    render_mode: Literal["RGB", "D", "ED", "RGB+D", "RGB+ED"] = "RGB",
    sparse_grad: bool = False,
    absgrad: bool = False,
    rasterize_mode: Literal["classic", "antialiased"] = "classic",
    channel_chunk: int = 32,
    distributed: bool = False,
    camera_model: str = "pinhole",
    segmented: bool = False,
    covars: Tensor | None = None,  # [..., N, 3, 3]
    **unsupported: Any,
) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """Draw N Gaussians in C cameras, for each item of a batch; differentiable in every tensor but Ks.

    Arguments, defaults and results are those of `gsplat.rasterization` 1.5.3, so that code written for it runs on
    a CPU by importing this instead. CUDA tensors are handed to gsplat with all arguments as they are. On the CPU,
    what is not supported is refused by its name: distributed, f-theta cameras, distortion, rolling shutter, the
    unscented transform, tiles other than 16, absgrad of more than four channels. Orthographic and fisheye cameras
    and covars are projected in plain PyTorch, which is slower; the rest of the way is the same.

    Args:
        means: Centres in the world. [..., N, 3]
        quats: Rotations wxyz, normalised here. [..., N, 4]
        scales: Standard deviations along the local axes. [..., N, 3]
        opacities: In [0, 1]. [..., N]
        colors: Channels [..., (C,) N, D], or SH coefficients [..., (C,) N, K, 3] when sh_degree is given.
        viewmats: cam_from_world, OpenCV axes. [..., C, 4, 4]
        Ks: Intrinsics in pixels. [..., C, 3, 3]
        width, height: Whole numbers of pixels, int or float.
        near_plane, far_plane: Depths between which Gaussians are drawn, world units.
        radius_clip: Gaussians of at most this radius in pixels are skipped.
        eps2d: Added to the diagonal of the image covariance, square pixels.
        packed: Whether `meta` holds only the visible Gaussians ([nnz, ...]) or all ([..., C, N, ...]).
        backgrounds: Blended behind. [..., C, D]; "D" and "ED" have black behind, whatever is given.
        render_mode: "D" is the accumulated depth, "ED" the expected one; the last channel.
        sparse_grad: Whether means, quats, scales and covars get sparse gradients, of the visible rows; packed only.
        absgrad: Whether the backward pass writes `meta["means2d"].absgrad`, the sums of the absolute gradients of all
            pixels (AbsGS, Ye et al. 2024).
        rasterize_mode: "antialiased" multiplies opacities by sqrt(det / det blurred) (Mip-Splatting).
        channel_chunk, segmented: Of no effect here.
        camera_model: "pinhole", "ortho" or "fisheye" (equidistant).
        covars: Covariances instead of quats and scales, read from their upper triangles. [..., N, 3, 3]

    Returns:
        Colours [..., C, H, W, X], alphas [..., C, H, W, 1] and the dictionary of intermediate results.

    Raises:
        BadInputError: an option that the CPU kernels do not support, or shapes that do not fit.

    >>> means, quats = torch.tensor([[0.0, 0.0, 5.0]], requires_grad=True), torch.tensor([[1.0, 0, 0, 0]])
    >>> scales, opacities, colors = torch.full((1, 3), 0.5), torch.tensor([0.8]), torch.tensor([[1.0, 0.0, 0.0]])
    >>> K = torch.tensor([[[50.0, 0, 32], [0, 50, 24], [0, 0, 1]]])
    >>> image, alpha, meta = rasterization(means, quats, scales, opacities, colors, torch.eye(4)[None], K, 64, 48)
    >>> image.shape, alpha.shape, round(float(alpha.detach().max()), 2)
    (torch.Size([1, 48, 64, 3]), torch.Size([1, 48, 64, 1]), 0.79)
    >>> image.mean().backward()
    >>> means.grad.shape
    torch.Size([1, 3])
    """
    if means.is_cuda:
        # gsplat 1.4, which nerfstudio pins, has all arguments but `segmented`.
        newer = {"segmented": segmented} if segmented else {}
        return gsplat_rasterization()(
            means=means, quats=quats, scales=scales, opacities=opacities, colors=colors, viewmats=viewmats, Ks=Ks,
            width=width, height=height, near_plane=near_plane, far_plane=far_plane, radius_clip=radius_clip,
            eps2d=eps2d, sh_degree=sh_degree, packed=packed, tile_size=tile_size, backgrounds=backgrounds,
            render_mode=render_mode, sparse_grad=sparse_grad, absgrad=absgrad, rasterize_mode=rasterize_mode,
            channel_chunk=channel_chunk, distributed=distributed, camera_model=camera_model, covars=covars,
            **newer, **unsupported,
        )  # fmt: skip
    width, height = _whole("width", width), _whole("height", height)
    _refuse_unsupported({"tile_size": (tile_size, TILE_SIZE), "distributed": (distributed, False)}, unsupported)
    check_camera_model(camera_model)
    _check_modes(render_mode, rasterize_mode)
    batch = means.shape[:-2]
    B, C, N = math.prod(batch), viewmats.shape[-3], means.shape[-2]
    _check_shapes(means, quats, scales, opacities, colors, viewmats, Ks, covars, sh_degree)
    if "RGB" not in render_mode:
        backgrounds = None  # nothing is behind a depth
    _check_backgrounds(backgrounds, (*batch, C), 3 if sh_degree is not None else colors.shape[-1])
    if sparse_grad and (not packed or batch):
        raise BadInputError("sparse_grad needs packed=True and tensors without batch dimensions; leave it out.")
    options = native.ProjectOptions(
        width, height, eps2d, near_plane, far_plane, radius_clip, antialiased=rasterize_mode == "antialiased"
    )
    visible_rows: list[Tensor] = []
    if sparse_grad:
        means, quats, scales = (with_sparse_gradient(t, visible_rows) for t in (means, quats, scales))
        covars = None if covars is None else with_sparse_gradient(covars, visible_rows)
    if covars is not None:
        covars = symmetric_matrices(upper_triangle(covars))
    flat = {"means": means, "opacities": opacities, "viewmats": viewmats, "Ks": Ks, "colors": colors}
    flat |= {"quats": quats, "scales": scales} if covars is None else {"covars": covars}
    # The gradient of one scene passes as it is; picking it out of a batch would fill and copy a tensor for each input.
    each = {
        name: (tensor if not batch else tensor.reshape(tensor.shape[len(batch) :]),)
        if B == 1
        else tensor.reshape(B, *tensor.shape[len(batch) :]).unbind()
        for name, tensor in flat.items()
    }
    projected = []
    for b in range(B):
        scene = {name: scenes[b] for name, scenes in each.items()}
        own_colors = scene.pop("colors")
        radii, *others = project_scene(**scene, options=options, camera_model=camera_model)
        seen_colors = _seen_colors(own_colors, sh_degree, scene["means"], scene["viewmats"], radii)
        projected.append((radii, *others, seen_colors))
    radii, means2d, depths, conics, compensations, colors = (
        torch.stack(parts) if B > 1 else parts[0][None] for parts in zip(*projected, strict=True)
    )
    image_opacities = opacities.reshape(B, 1, N).expand(B, C, N)
    if rasterize_mode == "antialiased":
        image_opacities = image_opacities * compensations

    batch_ids = camera_ids = gaussian_ids = image_ids = None
    shown = [radii, means2d, depths, conics, image_opacities]  # [B, C, N, ...], or [nnz, ...] of what is visible
    if packed:
        seen = batch_ids, camera_ids, gaussian_ids = torch.nonzero((radii > 0).all(-1), as_tuple=True)
        image_ids = batch_ids * C + camera_ids
        shown, colors = [t[seen] for t in shown], colors[seen]
        bounds = list(itertools.pairwise(torch.searchsorted(image_ids, torch.arange(B * C + 1)).tolist()))
        visible_rows.append(gaussian_ids if C == 1 else gaussian_ids.unique())
    else:
        shown = [t.reshape(*batch, *t.shape[1:]) for t in shown]
        bounds = [(i * N, (i + 1) * N) for i in range(B * C)]
    radii, means2d, depths, conics, image_opacities = shown

    meta = {
        "batch_ids": batch_ids,
        "camera_ids": camera_ids,
        "gaussian_ids": gaussian_ids,
        "radii": radii,
        "means2d": means2d,
        "depths": depths,
        "conics": conics,
        "opacities": image_opacities,
        "tile_width": math.ceil(width / TILE_SIZE),
        "tile_height": math.ceil(height / TILE_SIZE),
        "width": width,
        "height": height,
        "tile_size": TILE_SIZE,
        "n_batches": B,
        "n_cameras": C,
    }
    backgrounds = None if backgrounds is None else backgrounds.reshape(B * C, backgrounds.shape[-1])
    flat_depths = depths.reshape(-1)
    flat_colors = colors.reshape(len(flat_depths), colors.shape[-1])
    if render_mode in ("RGB+D", "RGB+ED"):
        flat_colors = torch.cat((flat_colors, flat_depths[:, None]), dim=-1)
        if backgrounds is not None:
            backgrounds = torch.cat((backgrounds, torch.zeros(B * C, 1)), dim=-1)
    elif render_mode in ("D", "ED"):
        flat_colors = flat_depths[:, None]

    take_absgrad = None
    if absgrad:
        if flat_colors.shape[-1] > native.MAX_CHANNELS:
            raise BadInputError(
                f"absgrad is defined for up to {native.MAX_CHANNELS} channels drawn at once, depth included, but there "
                f"are {flat_colors.shape[-1]}; draw the others in a call of their own."
            )

        def take_absgrad(absolute: Tensor) -> None:
            means2d.__dict__["absgrad"] = absolute.reshape(means2d.shape)

    splats = (means2d.reshape(-1, 2), conics.reshape(-1, 3), flat_colors)
    flat_opacities = image_opacities.reshape(-1)
    images = native.bin_gaussians(
        splats[0], flat_depths, splats[1], flat_opacities, radii.reshape(-1, 2), bounds, width, height
    )
    render_colors, render_alphas = native.rasterize(
        *splats, flat_opacities, backgrounds, images, width, height, take_absgrad
    )
    if render_mode in ("ED", "RGB+ED"):
        expected = render_colors[..., -1:] / render_alphas.clamp(min=1e-10)
        render_colors = torch.cat((render_colors[..., :-1], expected), dim=-1)
    if batch:
        render_colors, render_alphas = (t.reshape(*batch, C, *t.shape[1:]) for t in (render_colors, render_alphas))
    return render_colors, render_alphas, Meta(meta, image_ids)


def _seen_colors(
    colors: Tensor,  # [(C,) N, D] or [(C,) N, K, 3]
    sh_degree: int | None,
    means: Tensor,  # [N, 3]
    viewmats: Tensor,  # [C, 4, 4]
    radii: Tensor,  # [C, N, 2]
) -> Tensor:
    """The colours [C, N, D] of every Gaussian as each camera sees it."""
    C = len(viewmats)
    if sh_degree is None:
        return colors.expand(C, *colors.shape[-2:])
    # A camera's centre is a function of its pose, and SH colours carry a gradient to it.
    centers = torch.linalg.inv(viewmats)[:, :3, 3]
    if colors.ndim == 3:
        return native.sh_colors(sh_degree, means, centers, colors, radii)
    each = [native.sh_colors(sh_degree, means, centers[c : c + 1], colors[c], radii[c : c + 1]) for c in range(C)]
    return torch.cat(each)


def gsplat_rasterization() -> Any:
    """gsplat's own function, which draws on a GPU. Raises BadInputError where it cannot be imported."""
    try:
        from gsplat import rasterization as on_cuda
    except ImportError as error:
        raise BadInputError(
            f"The Gaussians are on a GPU, where gsplat draws them, and gsplat cannot be imported ({error}); "
            "type `pip install fewview[cuda]`, or move the tensors to the CPU."
        ) from error
    return on_cuda


def _is_set(name: str, value: Any) -> bool:
    """True where a gsplat option differs from its default. Rolling shutter's default is an enum called GLOBAL."""
    return not (name == "rolling_shutter" and getattr(value, "name", value) == "GLOBAL")


def _whole(name: str, value: float) -> int:
    """A size in pixels, which code written for gsplat may have computed as a float."""
    if float(value) != int(value) or value < 1:
        raise BadInputError(f"{name}: expected a whole number of pixels from 1, found {value}.")
    return int(value)


def _refuse_unsupported(
    only_value: dict[str, tuple[Any, Any]],  # by option: the value given, and the one that the kernels know
    others: dict[str, Any],  # options that the kernels do not have, refused unless they are off
) -> None:
    refused = [f"{name}={value!r}" for name, (value, only) in only_value.items() if value != only]
    refused += [n for n, v in others.items() if v is not None and v is not False and _is_set(n, v)]
    if refused:
        raise BadInputError(
            f"rasterization on the CPU does not support {', '.join(refused)}; leave it out, or use CUDA tensors."
        )


def _check_modes(render_mode: str, rasterize_mode: str) -> None:
    if render_mode not in RENDER_MODES:
        raise BadInputError(f"render_mode: expected one of {', '.join(RENDER_MODES)}, found {render_mode!r}.")
    if rasterize_mode not in ("classic", "antialiased"):
        raise BadInputError(f"rasterize_mode: expected 'classic' or 'antialiased', found {rasterize_mode!r}.")


def _check_shapes(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    colors: Tensor,
    viewmats: Tensor,
    Ks: Tensor,
    covars: Tensor | None,
    sh_degree: int | None,
) -> None:
    batch, N, C = tuple(means.shape[:-2]), means.shape[-2], viewmats.shape[-3]
    tails = {"means": (N, 3), "opacities": (N,), "viewmats": (C, 4, 4), "Ks": (C, 3, 3)}
    tensors = {"means": means, "opacities": opacities, "viewmats": viewmats, "Ks": Ks}
    if covars is None:
        tails |= {"quats": (N, 4), "scales": (N, 3)}
        tensors |= {"quats": quats, "scales": scales}
    else:
        tails["covars"], tensors["covars"] = (N, 3, 3), covars
    for name, tensor in tensors.items():
        if tuple(tensor.shape) != batch + tails[name]:
            raise BadInputError(f"{name}: expected shape {batch + tails[name]}, found {tuple(tensor.shape)}.")
    for name, tensor in {**tensors, "colors": colors}.items():
        if tensor.dtype != torch.float32 or tensor.is_cuda:
            raise BadInputError(f"{name}: expected float32 on the CPU, found {tensor.dtype} on {tensor.device}.")
    if math.prod(batch) == 0:
        raise BadInputError(f"means: expected a batch of at least one scene, found the shape {tuple(means.shape)}.")
    tail = tuple(colors.shape[-1:] if sh_degree is None else colors.shape[-2:])
    leading = tuple(colors.shape[: colors.ndim - len(tail)])
    if leading not in ((*batch, N), (*batch, C, N)) or (sh_degree is not None and tail[1] != 3):
        layout = "[..., (C,) N, D]" if sh_degree is None else "[..., (C,) N, K, 3]"
        raise BadInputError(
            f"colors: expected {layout} with ... = {batch}, C = {C}, N = {N}, found {tuple(colors.shape)}."
        )
    if sh_degree is not None and not (0 <= sh_degree <= 4 and (sh_degree + 1) ** 2 <= tail[0]):
        raise BadInputError(f"sh_degree: expected 0 to 4 with (sh_degree + 1)^2 <= K = {tail[0]}, found {sh_degree}.")


def _check_backgrounds(backgrounds: Tensor | None, leading: tuple[int, ...], D: int) -> None:
    if backgrounds is not None and tuple(backgrounds.shape) != (*leading, D):
        raise BadInputError(f"backgrounds: expected shape {(*leading, D)}, found {tuple(backgrounds.shape)}.")
