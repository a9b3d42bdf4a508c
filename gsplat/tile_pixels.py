"""`rasterize_to_pixels`: pictures from projected Gaussians and given lists of tiles, by gsplat's name."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor

from ..render.reference_rasterization import composite
from ..scene.errors import BadInputError


def rasterize_to_pixels(
    means2d: Tensor,  # [..., N, 2] or [nnz, 2]
    conics: Tensor,  # [..., N, 3] or [nnz, 3]
    colors: Tensor,  # [..., N, D] or [nnz, D]
    opacities: Tensor,  # [..., N] or [nnz]
    image_width: int,
    image_height: int,
    tile_size: int,
    isect_offsets: Tensor,  # [..., tile_height, tile_width] from isect_offset_encode
    flatten_ids: Tensor,  # [n_isects] from isect_tiles
    backgrounds: Tensor | None = None,  # [..., D]
    masks: Tensor | None = None,  # [..., tile_height, tile_width] bool, false: only the background
    packed: bool = False,
    absgrad: bool = False,
) -> tuple[Tensor, Tensor]:
    """Blend the Gaussians of each tile in the order of the lists: colours [..., H, W, D] and alphas [..., H, W, 1].

    Arguments and results of gsplat 1.5.3, for tiles of any size and any number of channels. Plain PyTorch,
    tile by tile, because the lists are whatever the caller made of them: `rasterization`, which makes its own, draws
    the same picture much faster. Differentiable; with `absgrad` the backward pass writes
    `means2d.absgrad`.
    """
    image_dims, (tiles_y, tiles_x) = tuple(isect_offsets.shape[:-2]), isect_offsets.shape[-2:]
    channels, leading = colors.shape[-1], tuple(opacities.shape)
    for name, tensor, tail in (("means2d", means2d, 2), ("conics", conics, 3), ("colors", colors, channels)):
        if tuple(tensor.shape) != (*leading, tail):
            raise BadInputError(f"{name}: expected {(*leading, tail)} as of opacities, found {tuple(tensor.shape)}.")
    if not packed and leading[:-1] != image_dims:
        raise BadInputError(f"isect_offsets: expected {leading[:-1]} images, found {image_dims}.")
    if tiles_y * tile_size < image_height or tiles_x * tile_size < image_width:
        raise BadInputError(
            f"isect_offsets: {tiles_y} x {tiles_x} tiles of {tile_size} pixels do not cover "
            f"{image_height} x {image_width}."
        )
    if masks is not None and masks.shape != isect_offsets.shape:
        raise BadInputError(f"masks: expected {tuple(isect_offsets.shape)}, found {tuple(masks.shape)}.")
    if backgrounds is not None and tuple(backgrounds.shape) != (*image_dims, channels):
        raise BadInputError(f"backgrounds: expected {(*image_dims, channels)}, found {tuple(backgrounds.shape)}.")

    flat = means2d.reshape(-1, 2), conics.reshape(-1, 3), opacities.reshape(-1), colors.reshape(-1, channels)
    absolute = torch.zeros_like(flat[0]) if absgrad else None
    if absolute is not None and means2d.requires_grad:
        means2d.__dict__["absgrad"] = absolute.view(means2d.shape)
    n_pixels = math.prod(image_dims) * image_height * image_width
    image = colors.new_zeros(n_pixels, channels)
    transmittance = colors.new_ones(n_pixels, 1)
    where, drawn, left = [], [], []
    starts = [*isect_offsets.flatten().tolist(), len(flatten_ids)]
    shown = [True] * len(starts) if masks is None else masks.flatten().tolist()
    for tile in range(len(starts) - 1):
        if starts[tile] == starts[tile + 1] or not shown[tile]:
            continue
        rows = flatten_ids[starts[tile] : starts[tile + 1]].long()
        index, place = divmod(tile, tiles_y * tiles_x)
        y, x = torch.meshgrid(
            _span(place // tiles_x, tile_size, image_height),
            _span(place % tiles_x, tile_size, image_width),
            indexing="ij",
        )
        pixels = torch.stack([x, y], dim=-1).reshape(-1, 2).to(means2d) + 0.5
        centers, shapes, weights, values = (t[rows] for t in flat)
        if absolute is not None and centers.requires_grad:
            # One copy for each pixel, so that their gradients can be told apart.
            centers = centers.expand(len(pixels), -1, -1)
            centers.register_hook(partial(_add_absolute, absolute, rows))
        color, behind = composite(pixels, centers, shapes, weights, values)
        where.append((index * image_height * image_width + y * image_width + x).flatten())
        drawn.append(color)
        left.append(behind)
    if where:
        at = (torch.cat(where).to(means2d.device),)
        image, transmittance = image.index_put(at, torch.cat(drawn)), transmittance.index_put(at, torch.cat(left))
    shape = (*image_dims, image_height, image_width, -1)
    image, transmittance = image.reshape(shape), transmittance.reshape(shape)
    if backgrounds is not None:
        image = image + transmittance * backgrounds[..., None, None, :]
    return image, 1 - transmittance


def _add_absolute(total: Tensor, rows: Tensor, gradient: Tensor) -> None:
    total.index_add_(0, rows, gradient.abs().sum(0))


def _span(tile: int, tile_size: int, limit: int) -> Tensor:
    return torch.arange(tile * tile_size, min((tile + 1) * tile_size, limit))
