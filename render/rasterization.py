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

TILE_SIZE = 16
RENDER_MODES = ("RGB", "D", "ED", "RGB+D", "RGB+ED")


class Meta(dict[str, Any]):
    """gsplat's dictionary of intermediate results.

    The tile lists (`tiles_per_gauss`, `flatten_ids`, `isect_offsets`, `isect_ids`) are only written out when
    somebody asks for them by `meta[name]`, because training does not.
    """

    def __init__(self, values: dict[str, Any], images: list[native.ImageLists]) -> None:
        super().__init__(values)
        self._images = images

    def __missing__(self, key: str) -> Any:
        if key not in ("tiles_per_gauss", "flatten_ids", "isect_offsets", "isect_ids"):
            raise KeyError(key)
        self._write_tile_lists()
        return self[key]

    def _write_tile_lists(self) -> None:
        tiles_x, tiles_y = self["tile_width"], self["tile_height"]
        depths = self["depths"].detach().reshape(-1)
        per_gaussian = torch.zeros(depths.shape[0], dtype=torch.int32)
        flatten_ids, offsets, isect_ids, before = [], [], [], 0
        for index, image in enumerate(self._images):
            ids = torch.empty(image.lists.n_pairs, dtype=torch.int32)
            starts = torch.empty(tiles_y, tiles_x, dtype=torch.int32)
            image.lists.flatten(ids.numpy(), starts.numpy(), per_gaussian[image.begin : image.end].numpy())
            ids += image.begin
            counts = torch.diff(starts.flatten(), append=torch.tensor([len(ids)], dtype=torch.int32))
            tile = torch.repeat_interleave(torch.arange(tiles_x * tiles_y), counts.long())
            tile_bits = (tiles_x * tiles_y).bit_length()
            depth_bits = depths[ids.long()].contiguous().view(torch.int32).long() & 0xFFFFFFFF
            isect_ids.append((index << (32 + tile_bits)) | (tile << 32) | depth_bits)
            flatten_ids.append(ids)
            offsets.append(starts + before)
            before += len(ids)
        self["tiles_per_gauss"] = per_gaussian.reshape(self["depths"].shape)
        self["flatten_ids"] = torch.cat(flatten_ids)
        self["isect_offsets"] = torch.stack(offsets)
        self["isect_ids"] = torch.cat(isect_ids)


def rasterization(
    means: Tensor,  # [N, 3]
    quats: Tensor,  # [N, 4]
    scales: Tensor,  # [N, 3]
    opacities: Tensor,  # [N]
    colors: Tensor,  # [(C,) N, D] or [(C,) N, K, 3]
    viewmats: Tensor,  # [C, 4, 4]
    Ks: Tensor,  # [C, 3, 3]
    width: int,
    height: int,
    near_plane: float = 0.01,
    far_plane: float = 1e10,
    radius_clip: float = 0.0,
    eps2d: float = 0.3,
    sh_degree: int | None = None,
    packed: bool = True,
    tile_size: int = TILE_SIZE,
    backgrounds: Tensor | None = None,  # [C, D]
    render_mode: Literal["RGB", "D", "ED", "RGB+D", "RGB+ED"] = "RGB",
    sparse_grad: bool = False,
    absgrad: bool = False,
    rasterize_mode: Literal["classic", "antialiased"] = "classic",
    channel_chunk: int = 32,
    distributed: bool = False,
    camera_model: str = "pinhole",
    segmented: bool = False,
    covars: Tensor | None = None,
    **unsupported: Any,
) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """Draw N Gaussians in C pinhole cameras; differentiable in every tensor but Ks.

    Arguments, defaults and results are those of `gsplat.rasterization` 1.5.3, so that code written for it runs on
    a CPU by importing this instead. CUDA tensors are handed to gsplat with all arguments as they are. On the CPU,
    what is not supported is refused by its name: leading batch dimensions, covars, absgrad, sparse_grad,
    distributed, other camera models, distortion, rolling shutter, the unscented transform, tiles other than 16.

    Args:
        means: Centres in the world. [N, 3]
        quats: Rotations wxyz, normalised here. [N, 4]
        scales: Standard deviations along the local axes. [N, 3]
        opacities: In [0, 1]. [N]
        colors: Channels [(C,) N, D], or SH coefficients [(C,) N, K, 3] when sh_degree is given.
        viewmats: cam_from_world, OpenCV axes. [C, 4, 4]
        Ks: Intrinsics in pixels. [C, 3, 3]
        near_plane, far_plane: Depths between which Gaussians are drawn, world units.
        radius_clip: Gaussians of at most this radius in pixels are skipped.
        eps2d: Added to the diagonal of the image covariance, square pixels.
        packed: Whether `meta` holds only the visible Gaussians ([nnz, ...]) or all ([C, N, ...]).
        backgrounds: Blended behind. [C, D]
        render_mode: "D" is the accumulated depth, "ED" the expected one; the last channel.
        rasterize_mode: "antialiased" multiplies opacities by sqrt(det / det blurred) (Mip-Splatting).

    Returns:
        Colours [C, H, W, X], alphas [C, H, W, 1] and the dictionary of intermediate results.

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
        return _gsplat_rasterization()(
            means=means, quats=quats, scales=scales, opacities=opacities, colors=colors, viewmats=viewmats, Ks=Ks,
            width=width, height=height, near_plane=near_plane, far_plane=far_plane, radius_clip=radius_clip,
            eps2d=eps2d, sh_degree=sh_degree, packed=packed, tile_size=tile_size, backgrounds=backgrounds,
            render_mode=render_mode, sparse_grad=sparse_grad, absgrad=absgrad, rasterize_mode=rasterize_mode,
            channel_chunk=channel_chunk, distributed=distributed, camera_model=camera_model, covars=covars,
            **newer, **unsupported,
        )  # fmt: skip
    only_value = {
        "tile_size": (tile_size, TILE_SIZE), "sparse_grad": (sparse_grad, False), "absgrad": (absgrad, False),
        "distributed": (distributed, False), "camera_model": (camera_model, "pinhole"), "covars": (covars, None),
    }  # fmt: skip
    _refuse_unsupported(only_value, unsupported)
    _check_modes(render_mode, rasterize_mode)
    C, N = viewmats.shape[0], means.shape[0]
    _check_shapes(means, quats, scales, opacities, colors, viewmats, Ks, sh_degree)
    _check_backgrounds(backgrounds, C, 3 if sh_degree is not None else colors.shape[-1])
    options = native.ProjectOptions(
        width, height, eps2d, near_plane, far_plane, radius_clip, antialiased=rasterize_mode == "antialiased"
    )
    radii, means2d, depths, conics, compensations = native.project(
        means, quats, scales, opacities, viewmats, Ks, options
    )
    if sh_degree is not None:
        # A camera's centre is a function of its pose, and SH colours carry a gradient to it.
        centers = torch.linalg.inv(viewmats)[:, :3, 3]
        if colors.ndim == 3:
            colors = native.sh_colors(sh_degree, means, centers, colors, radii)
        else:
            each = [
                native.sh_colors(sh_degree, means, centers[c : c + 1], colors[c], radii[c : c + 1]) for c in range(C)
            ]
            colors = torch.cat(each)
    elif colors.ndim == 2:
        colors = colors.expand(C, *colors.shape)
    image_opacities = opacities.expand(C, N)
    if rasterize_mode == "antialiased":
        image_opacities = image_opacities * compensations

    camera_ids = gaussian_ids = batch_ids = None
    if packed:
        visible = (radii > 0).all(-1)
        camera_ids, gaussian_ids = torch.nonzero(visible, as_tuple=True)
        batch_ids = torch.zeros_like(camera_ids)
        radii, means2d, depths, conics, image_opacities, colors = (
            t[camera_ids, gaussian_ids] for t in (radii, means2d, depths, conics, image_opacities, colors)
        )
        ends = torch.searchsorted(camera_ids, torch.arange(C + 1)).tolist()
        bounds = list(itertools.pairwise(ends))
    else:
        bounds = [(c * N, (c + 1) * N) for c in range(C)]

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
        "n_batches": 1,
        "n_cameras": C,
    }
    if render_mode in ("RGB+D", "RGB+ED"):
        colors = torch.cat((colors, depths[..., None]), dim=-1)
        if backgrounds is not None:
            backgrounds = torch.cat((backgrounds, torch.zeros(C, 1)), dim=-1)
    elif render_mode in ("D", "ED"):
        colors = depths[..., None]
        backgrounds = None if backgrounds is None else torch.zeros(C, 1)

    flat = (means2d.reshape(-1, 2), conics.reshape(-1, 3), colors.reshape(-1, colors.shape[-1]))
    flat_opacities = image_opacities.reshape(-1)
    images = native.bin_gaussians(
        flat[0], depths.reshape(-1), flat[1], flat_opacities, radii.reshape(-1, 2), bounds, width, height
    )
    render_colors, render_alphas = native.rasterize(*flat, flat_opacities, backgrounds, images, width, height)
    if render_mode in ("ED", "RGB+ED"):
        expected = render_colors[..., -1:] / render_alphas.clamp(min=1e-10)
        render_colors = torch.cat((render_colors[..., :-1], expected), dim=-1)
    return render_colors, render_alphas, Meta(meta, images)


def _gsplat_rasterization() -> Any:
    try:
        from gsplat import rasterization as on_cuda
    except ImportError as error:
        raise BadInputError(
            "The Gaussians are on a GPU, where gsplat draws them, and gsplat is not installed; "
            "type `pip install fewview[cuda]`, or move the tensors to the CPU."
        ) from error
    return on_cuda


def _is_set(name: str, value: Any) -> bool:
    """True where a gsplat option differs from its default. Rolling shutter's default is an enum called GLOBAL."""
    return not (name == "rolling_shutter" and getattr(value, "name", value) == "GLOBAL")


def _refuse_unsupported(
    only_value: dict[str, tuple[Any, Any]],  # by option: the value given, and the one that the kernels know
    others: dict[str, Any],  # options that the kernels do not have, refused unless they are off
) -> None:
    refused = [f"{name}={value!r}" for name, (value, only) in only_value.items() if value is not only and value != only]
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
    sh_degree: int | None,
) -> None:
    N, C = means.shape[0], viewmats.shape[0]
    expected = {"means": (N, 3), "quats": (N, 4), "scales": (N, 3), "opacities": (N,)}
    expected |= {"viewmats": (C, 4, 4), "Ks": (C, 3, 3)}
    tensors = {"means": means, "quats": quats, "scales": scales, "opacities": opacities, "viewmats": viewmats, "Ks": Ks}
    for name, tensor in tensors.items():
        if tuple(tensor.shape) != expected[name]:
            raise BadInputError(f"{name}: expected shape {expected[name]}, found {tuple(tensor.shape)}.")
    for name, tensor in {**tensors, "colors": colors}.items():
        if tensor.dtype != torch.float32 or tensor.is_cuda:
            raise BadInputError(f"{name}: expected float32 on the CPU, found {tensor.dtype} on {tensor.device}.")
    tail = colors.shape[-1:] if sh_degree is None else colors.shape[-2:]
    if colors.shape[: colors.ndim - len(tail)] not in ((N,), (C, N)) or (sh_degree is not None and tail[1] != 3):
        layout = "[(C,) N, D]" if sh_degree is None else "[(C,) N, K, 3]"
        raise BadInputError(f"colors: expected {layout} with C = {C}, N = {N}, found {tuple(colors.shape)}.")
    if sh_degree is not None and not (0 <= sh_degree <= 4 and (sh_degree + 1) ** 2 <= tail[0]):
        raise BadInputError(f"sh_degree: expected 0 to 4 with (sh_degree + 1)^2 <= K = {tail[0]}, found {sh_degree}.")


def _check_backgrounds(backgrounds: Tensor | None, C: int, D: int) -> None:
    if backgrounds is not None and tuple(backgrounds.shape) != (C, D):
        raise BadInputError(f"backgrounds: expected shape {(C, D)}, found {tuple(backgrounds.shape)}.")
