"""Photographs of a large capture, decoded when they are drawn and kept as long as there is room."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable

from torch import Tensor

Decoded = tuple[Tensor, "Tensor | None"]  # pixels uint8 [H, W, 3 or 4], and mask bool [H, W]


class PhotographStream:
    """Decodes photographs by number and keeps those that were asked for last, up to so many bytes."""

    def __init__(self, load: Callable[[int], Decoded], max_bytes: int) -> None:
        self._load, self._max_bytes = load, max_bytes
        self._kept: OrderedDict[Hashable, Decoded] = OrderedDict()
        self.kept_bytes = 0

    def photograph(self, index: int) -> Decoded:
        """Pixels and mask of a photograph."""
        return self.kept((index, 0), lambda: self._load(index))

    def kept(self, key: Hashable, make: Callable[[], Decoded]) -> Decoded:
        """The result of `make`, made now or lately. One that alone is too large is not kept."""
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        made = make()
        if size_of(made) <= self._max_bytes:
            self._kept[key] = made
            self.kept_bytes += size_of(made)
        while self.kept_bytes > self._max_bytes:
            _, oldest = self._kept.popitem(last=False)
            self.kept_bytes -= size_of(oldest)
        return made


def size_of(decoded: Decoded) -> int:
    """Bytes of a photograph in memory."""
    return sum(t.nbytes for t in decoded if t is not None)
