"""Edits that are not saved yet, kept on disk: a viewer that ends, or a page that is closed, loses none of them.

They lie in the cache folder, under a name made of the splat file's place, size and time, so that they are never offered
for another splat. Only the present state is kept, not each step.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy
import torch
from torch import Tensor

from ..scene.edit import Editor
from ..scene.errors import FewviewError
from ..scene.files import cache_folder, write_bytes
from ..scene.geometry import Similarity


@dataclass(frozen=True)
class KeptEdits:
    """The rest of a splat of N Gaussians, and the frame that it had been moved to."""

    alive: Tensor  # bool [N]
    similarity: Similarity  # new_from_original, float64

    def facts(self) -> str:
        """Words for people."""
        deleted = int((~self.alive).sum())
        return f"{deleted:,} deleted" if deleted else "a new frame"

    def apply(self, editor: Editor) -> None:
        """Do to a splat that is not edited what had been done before: a deletion and a move, which undo takes back."""
        editor.delete(~self.alive, "Earlier deletions")
        editor.move(self.similarity, "Earlier frame")


def keep_edits(splat_path: Path, editor: Editor) -> None:
    """Write the present state; nothing is kept of a splat that is as it was, or where the folder cannot be written."""
    with contextlib.suppress(OSError, FewviewError):
        path = _place(splat_path)
        if not editor.changed:
            path.unlink(missing_ok=True)
            return
        s = editor.similarity
        arrays = {
            "alive": np.packbits(editor.alive.numpy()),
            "scale": s.scale.double().numpy().reshape(1),
            "rotation": np.ascontiguousarray(s.rotation.double().numpy()),
            "translation": s.translation.double().numpy(),
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, safetensors.numpy.save(arrays, {"count": str(len(editor.original))}))


def kept_edits(splat_path: Path, count: int) -> KeptEdits | None:
    """The edits kept of a splat of `count` Gaussians; None where there are none, or none that can be read."""
    try:
        data = _place(splat_path).read_bytes()
        arrays = safetensors.numpy.load(data)
        bits, scale = arrays["alive"], arrays["scale"]
        rotation, translation = arrays["rotation"], arrays["translation"]
    except (OSError, KeyError, safetensors.SafetensorError):
        return None
    numbers = np.concatenate([scale.reshape(-1), rotation.reshape(-1), translation.reshape(-1)])
    fits = bits.dtype == np.uint8 and bits.shape == ((count + 7) // 8,) and numbers.dtype == np.float64
    if not fits or numbers.shape != (13,) or not np.isfinite(numbers).all() or scale[0] <= 0:
        return None
    alive = torch.from_numpy(np.unpackbits(bits, count=count).astype(bool))
    similarity = Similarity(*(torch.from_numpy(a.copy()) for a in (scale.reshape(()), rotation, translation)))
    return KeptEdits(alive, similarity)


def forget_edits(splat_path: Path) -> None:
    """Remove what is kept of a splat, if anything."""
    with contextlib.suppress(OSError):
        _place(splat_path).unlink(missing_ok=True)


def _place(splat_path: Path) -> Path:
    """Raises OSError where the splat file is gone."""
    stat = splat_path.stat()
    key = json.dumps([str(splat_path.resolve()), stat.st_size, stat.st_mtime_ns])
    return cache_folder() / "edits" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.safetensors"
