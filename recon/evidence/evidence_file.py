"""Files of evidence: tensors of a run by name, with the key that says what they were made from."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from ...scene.errors import BadInputError
from ...scene.files import write_bytes

PLACED = "placed"  # key of what came with the cameras or from the person: it stays, whatever else is asked
_KEY = "fewview_key"  # in the metadata of the file


def write_evidence(
    path: Path,
    tensors: Mapping[str, Tensor],
    key: str,
    described: Mapping[str, str] | None = None,  # what else is said of them
) -> None:
    """Write tensors with their key as safetensors; the folder is made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_bytes(path, safetensors.torch.save(kept, {_KEY: key, **(described or {})}))


@contextlib.contextmanager
def opened_evidence(path: Path, again: str = "computes it again") -> Iterator[Any]:
    """The file, open, as `safetensors.safe_open` gives it; tensors have to be cloned to outlive it.

    Raises BadInputError for a damaged file, and for every ValueError about what is in it; `again` says what --resume
    does without the file.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            yield file
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise BadInputError(f"{path} cannot be used: {error}. Delete it, and --resume {again}.") from error


def stored_key(path: Path) -> str:
    """The key that a file was written with. Raises BadInputError when the file is damaged."""
    with opened_evidence(path) as file:
        return str((file.metadata() or {}).get(_KEY, ""))
