"""`Editor`: a splat being edited, with undo and redo."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..gaussians import Gaussians
from ..geometry import Similarity

HISTORY_BYTES = 256 * 2**20  # 2000 deletions of half a splat of a million Gaussians, or far more of a few each


@dataclass(frozen=True)
class _Step:
    """One edit: which Gaussians it switched between there and gone, and the frame before and after."""

    name: str
    switched: np.ndarray  # int32 indices, or the whole mask bit-packed as uint8, whichever is smaller
    before: Similarity
    after: Similarity

    @property
    def bytes(self) -> int:
        return self.switched.nbytes + 1024  # two similarities, the name and the objects around them


class Editor:
    """Gaussians under edits that never touch them: the original, which of it is left, and the frame it is in.

    Of a splat that moves the original is any one moment; `edited_splat` does to all of them what was done here. Masks
    are always of the original's N Gaussians, so a selection outlives deletions and undo. The oldest steps are forgotten
    when all together need more than `history_bytes`; then they cannot be undone any more.
    """

    def __init__(self, original: Gaussians, history_bytes: int = HISTORY_BYTES) -> None:
        self.original = original.detach().to("cpu")
        self._alive = np.ones(len(original), bool)
        self._similarity = Similarity.identity()
        self._done: deque[_Step] = deque()
        self._undone: list[_Step] = []
        self._history_bytes = history_bytes
        self._bytes = 0

    @property
    def alive(self) -> Tensor:
        """Mask [N] of the Gaussians that are left."""
        return torch.from_numpy(self._alive.copy())

    @property
    def count(self) -> int:
        """Number of Gaussians that are left."""
        return int(np.count_nonzero(self._alive))

    @property
    def similarity(self) -> Similarity:
        """new_from_original, float64."""
        return self._similarity

    @property
    def changed(self) -> bool:
        return self.has_moved or not self._alive.all()

    @property
    def has_moved(self) -> bool:
        """True when what is left is in another frame than the original."""
        return not _equal(self._similarity, Similarity.identity())

    @property
    def undo_name(self) -> str | None:
        """Name of the step that `undo` would take back, None when there is none."""
        return self._done[-1].name if self._done else None

    @property
    def redo_name(self) -> str | None:
        return self._undone[-1].name if self._undone else None

    def delete(self, selected: Tensor, name: str = "Delete") -> int:
        """Take the selected Gaussians [N] away; returns how many of them were still there."""
        return self._switch(self._alive & selected.numpy(), name)

    def keep(self, selected: Tensor, name: str = "Keep") -> int:
        """Take all but the selected Gaussians [N] away; returns how many went."""
        return self._switch(self._alive & ~selected.numpy(), name)

    def move(self, new_from_current: Similarity, name: str = "Move") -> None:
        """Bring what is left, and all that may come back, into another frame."""
        after = new_from_current.double() @ self._similarity
        if not _equal(after, self._similarity):
            self._do(_Step(name, np.zeros(0, np.int32), self._similarity, after))

    def undo(self) -> bool:
        """Take the last step back; False when there is none."""
        if not self._done:
            return False
        step = self._done.pop()
        self._bytes -= step.bytes
        self._undone.append(step)
        self._flip(step)
        self._similarity = step.before
        return True

    def redo(self) -> bool:
        """Do the last step that was taken back once more; False when there is none."""
        if not self._undone:
            return False
        self._take(self._undone.pop())
        return True

    def result(self) -> Gaussians:
        """Gaussians that are left, in their frame, in the order of the original; computed anew from it each time."""
        left = self.original if self._alive.all() else self.original[torch.from_numpy(self._alive)]
        return left.moved(self._similarity) if self.has_moved else left

    def _switch(self, going: np.ndarray, name: str) -> int:
        count = int(np.count_nonzero(going))
        if count:
            packed = 4 * count > len(going) // 8
            switched = np.packbits(going) if packed else np.flatnonzero(going).astype(np.int32)
            self._do(_Step(name, switched, self._similarity, self._similarity))
        return count

    def _do(self, step: _Step) -> None:
        self._undone.clear()
        self._take(step)

    def _take(self, step: _Step) -> None:
        self._flip(step)
        self._similarity = step.after
        self._done.append(step)
        self._bytes += step.bytes
        while self._bytes > self._history_bytes and len(self._done) > 1:
            self._bytes -= self._done.popleft().bytes

    def _flip(self, step: _Step) -> None:
        if step.switched.dtype == np.uint8:
            self._alive ^= np.unpackbits(step.switched, count=len(self._alive)).view(bool)
        else:
            self._alive[step.switched] ^= True


def _equal(a: Similarity, b: Similarity) -> bool:
    return all(torch.equal(x, y) for x, y in zip(vars(a).values(), vars(b).values(), strict=True))
