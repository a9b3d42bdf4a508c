"""`Meta`: gsplat's dictionary of intermediate results, with the lists of tiles made only when somebody asks."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, ValuesView
from typing import Any

from torch import Tensor

from .tile_intersection import isect_offset_encode, isect_tiles

TILE_LISTS = ("tiles_per_gauss", "isect_ids", "flatten_ids", "isect_offsets")


class Meta(dict[str, Any]):
    """Intermediate results by gsplat's names.

    `tiles_per_gauss`, `isect_ids`, `flatten_ids` and `isect_offsets` are gsplat's, by its rule of the box. They are
    written out at the first question for one of them, or for all entries, because training does not ask.
    """

    def __init__(self, values: dict[str, Any], image_ids: Tensor | None) -> None:
        super().__init__(values)
        self._image_ids = image_ids  # [nnz], None where the tensors are dense

    def __missing__(self, key: str) -> Any:
        if key not in TILE_LISTS:
            raise KeyError(key)
        self._write_tile_lists()
        return self[key]

    def __contains__(self, key: object) -> bool:
        return super().__contains__(key) or key in TILE_LISTS

    def get(self, key: str, default: Any = None) -> Any:
        try:
            return self[key]
        except KeyError:
            return default

    def __iter__(self) -> Iterator[str]:
        self._write_tile_lists()
        return super().__iter__()

    def __len__(self) -> int:
        self._write_tile_lists()
        return super().__len__()

    def keys(self) -> KeysView[str]:  # type: ignore[override]
        self._write_tile_lists()
        return super().keys()

    def values(self) -> ValuesView[Any]:  # type: ignore[override]
        self._write_tile_lists()
        return super().values()

    def items(self) -> ItemsView[str, Any]:  # type: ignore[override]
        self._write_tile_lists()
        return super().items()

    def _write_tile_lists(self) -> None:
        if super().__contains__(TILE_LISTS[0]):
            return
        tiles_x, tiles_y, images = self["tile_width"], self["tile_height"], self["n_batches"] * self["n_cameras"]
        per_gaussian, isect_ids, flatten_ids = isect_tiles(
            self["means2d"].detach(), self["radii"], self["depths"].detach(), self["tile_size"], tiles_x, tiles_y,
            packed=self._image_ids is not None, n_images=images, image_ids=self._image_ids,
        )  # fmt: skip
        offsets = isect_offset_encode(isect_ids, images, tiles_x, tiles_y)
        leading = offsets.shape[:1] if self._image_ids is not None else self["depths"].shape[:-1]
        self["tiles_per_gauss"] = per_gaussian
        self["isect_ids"] = isect_ids
        self["flatten_ids"] = flatten_ids
        self["isect_offsets"] = offsets.reshape(*leading, tiles_y, tiles_x)
