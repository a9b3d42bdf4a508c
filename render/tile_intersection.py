"""Square tiles that projected Gaussians touch, by gsplat's rule: all tiles of the box mean +- radius.

The CPU kernels draw by shorter lists of their own, which leave out tiles that the ellipse alpha = 1/255 does not reach;
the pictures are the same. These functions give gsplat's numbers to code that reads them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..scene.errors import BadInputError

DEPTH_BITS = 32  # of an intersection id; the tile lies above them, the image above the tile


@torch.no_grad()
def isect_tiles(
    means2d: Tensor,  # [..., N, 2] or [nnz, 2]
    radii: Tensor,  # [..., N, 2] or [nnz, 2] int32
    depths: Tensor,  # [..., N] or [nnz]
    tile_size: int,
    tile_width: int,
    tile_height: int,
    sort: bool = True,
    segmented: bool = False,  # of no effect here: another way to sort on a GPU
    packed: bool = False,
    n_images: int | None = None,
    image_ids: Tensor | None = None,  # [nnz]
    gaussian_ids: Tensor | None = None,  # [nnz], not looked at
) -> tuple[Tensor, Tensor, Tensor]:
    """Intersections of Gaussians and tiles of `tile_size` pixels; arguments and results of gsplat 1.5.3.

    Returns tiles_per_gauss int32 [..., N] or [nnz]; isect_ids int64 [n_isects], image | tile | bits of the float depth;
    and flatten_ids int32 [n_isects], rows of the flattened input. Sorted: by image, by tile, front to back.
    """
    if packed and (image_ids is None or n_images is None):
        raise BadInputError("isect_tiles: packed=True needs image_ids [nnz] and n_images; they were not given.")
    leading = depths.shape
    if means2d.shape != (*leading, 2) or radii.shape != (*leading, 2):
        raise BadInputError(
            f"isect_tiles: expected means2d and radii {(*leading, 2)} beside depths {tuple(leading)}, "
            f"found {tuple(means2d.shape)} and {tuple(radii.shape)}."
        )
    images = math.prod(leading[:-1]) if n_images is None or not packed else n_images
    if image_ids is None or not packed:
        image_ids = torch.arange(images, device=depths.device).repeat_interleave(leading[-1])
    center, radius = means2d.reshape(-1, 2) / tile_size, radii.reshape(-1, 2) / tile_size
    limits = torch.tensor([tile_width, tile_height], device=depths.device)
    first = (center - radius).floor().clamp_min(0).minimum(limits).long()
    last = (center + radius).ceil().clamp_min(0).minimum(limits).long()
    span = torch.where((radii.reshape(-1, 2) > 0).all(-1, keepdim=True), last - first, 0)
    counts = span.prod(-1)

    flatten_ids = torch.arange(len(counts), device=depths.device).repeat_interleave(counts)
    starts = counts.cumsum(0) - counts
    within = torch.arange(len(flatten_ids), device=depths.device) - starts[flatten_ids]
    across = span[flatten_ids, 0]
    tile_y = first[flatten_ids, 1] + within // across.clamp_min(1)
    tile_x = first[flatten_ids, 0] + within % across.clamp_min(1)
    tile_bits = (tile_width * tile_height).bit_length()
    depth_bits = depths.float().reshape(-1).contiguous().view(torch.int32).long() & 0xFFFFFFFF
    isect_ids = image_ids.long()[flatten_ids] << tile_bits | (tile_y * tile_width + tile_x)
    isect_ids = isect_ids << DEPTH_BITS | depth_bits[flatten_ids]
    if sort:
        isect_ids, order = torch.sort(isect_ids, stable=True)
        flatten_ids = flatten_ids[order]
    return counts.int().reshape(leading), isect_ids, flatten_ids.int()


@torch.no_grad()
def isect_offset_encode(isect_ids: Tensor, n_images: int, tile_width: int, tile_height: int) -> Tensor:
    """Start of each tile in the sorted list of intersections: int32 [n_images, tile_height, tile_width]."""
    tiles = tile_width * tile_height
    tile_bits = tiles.bit_length()
    image_and_tile = isect_ids >> DEPTH_BITS
    place = (image_and_tile >> tile_bits) * tiles + (image_and_tile & ((1 << tile_bits) - 1))
    counts = torch.bincount(place, minlength=n_images * tiles)
    return (counts.cumsum(0) - counts).int().reshape(n_images, tile_height, tile_width)
