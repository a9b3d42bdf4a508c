"""Checkpoints: one file that holds everything a run needs to go on as if it had never stopped.

A safetensors file whose string metadata carries the manifest as JSON, so tensors and manifest are one atomic unit.
"""

from __future__ import annotations

import contextlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from ..scene.errors import BadInputError, FewviewError
from ..scene.files import write_bytes

SCHEMA = 1
KEPT = 2  # so that one damaged file never costs the run
_MANIFEST, _MANIFEST_CRC = "fewview_checkpoint", "fewview_checkpoint_crc32"


@dataclass(frozen=True)
class Checkpoint:
    step: int  # steps that are done
    seconds: float  # of training so far, over all parts of the run
    settings: dict[str, Any]  # the config's fields that decide the result
    data: str  # fingerprint of what is trained on
    tensors: dict[str, Tensor]

    def check(self, settings: Mapping[str, Any], data: str, kind: str = "photographs, cameras or points") -> None:
        """Raises BadInputError when the run that wants to go on is another one; `kind` says what `data` is of."""
        if self.settings != settings:
            names = [k for k in {**self.settings, **settings} if self.settings.get(k) != settings.get(k)]
            found = ", ".join(f"{k}={self.settings.get(k)} (now {settings.get(k)})" for k in names)
            raise BadInputError(
                f"The checkpoint at step {self.step} was made with other settings: {found}. "
                "Continue with the same ones, or start a new run."
            )
        if self.data != data:
            raise BadInputError(
                f"The checkpoint at step {self.step} was made with other {kind} than are given now. "
                "Continue with the same ones, or start a new run."
            )

    def misfit(self, folder: Path, error: Exception) -> FewviewError:
        """The error to raise where the tensors are not those of the model that wants to go on."""
        return FewviewError(
            f"The checkpoint at step {self.step} in {folder} does not fit this version's model: {error}. Start the run "
            "again."
        )

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose names begin with `prefix`/, without it."""
        return {k[len(prefix) + 1 :]: v for k, v in self.tensors.items() if k.startswith(prefix + "/")}


def save(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write `checkpoint` into `folder`, then remove all but the newest two.

    Raises FewviewError when the folder cannot be written; what was there before is untouched then.
    """
    tensors = {k: v.detach().cpu().contiguous() for k, v in checkpoint.tensors.items()}
    manifest = {
        "schema": SCHEMA,
        "step": checkpoint.step,
        "seconds": checkpoint.seconds,
        "settings": checkpoint.settings,
        "data": checkpoint.data,
        "tensors": {k: _description(v) for k, v in tensors.items()},
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step_{checkpoint.step:08d}.safetensors"
    text = json.dumps(manifest, allow_nan=False)
    metadata = {_MANIFEST: text, _MANIFEST_CRC: str(zlib.crc32(text.encode()))}
    write_bytes(path, safetensors.torch.save(tensors, metadata))
    for old in [*_newest_first(folder)[KEPT:], *folder.glob(".step_*.tmp")]:
        with contextlib.suppress(OSError):
            old.unlink()
    return path


def load_newest(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint that is whole (None when there is none at all), and a note for each damaged one.

    Raises FewviewError when there are checkpoints and none can be read.
    """
    notes: list[str] = []
    paths = _newest_first(folder)
    for path in paths:
        try:
            return load(path), notes
        except BadInputError as error:
            notes.append(str(error))
    if paths:
        raise FewviewError(f"{' '.join(notes)} No checkpoint in {folder} can be read; start the run again.")
    return None, notes


def load(path: Path) -> Checkpoint:
    """Read one checkpoint. Raises BadInputError when the file is not whole or not one of ours."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            manifest = json.loads(metadata[_MANIFEST])
            if metadata[_MANIFEST_CRC] != str(zlib.crc32(metadata[_MANIFEST].encode())):
                raise ValueError("its manifest does not have the checksum that is noted for it")
            if manifest["schema"] != SCHEMA:
                raise ValueError(f"it has schema {manifest['schema']}, expected {SCHEMA}")
            described = dict(manifest["tensors"])
            if set(described) != set(file.keys()):
                raise ValueError("its tensors are not those that its manifest lists")
            tensors = {name: _read_tensor(file, name, described[name]) for name in described}
        return Checkpoint(
            int(manifest["step"]),
            float(manifest["seconds"]),
            dict(manifest["settings"]),
            str(manifest["data"]),
            tensors,
        )
    except (safetensors.SafetensorError, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadInputError(f"The checkpoint {path} is damaged and was not used: {error}.") from error


def _read_tensor(file: Any, name: str, described: Any) -> Tensor:
    """A copy of one tensor, after its shape, type and checksum agree with the manifest."""
    found = file.get_slice(name)
    if list(found.get_shape()) != described["shape"]:
        raise ValueError(f"'{name}' has shape {found.get_shape()}, its manifest says {described['shape']}")
    tensor = file.get_tensor(name).clone()  # the file's own memory is a map that must not be trained on
    if _description(tensor) != described:
        raise ValueError(f"the values of '{name}' do not have the checksum that its manifest gives")
    return tensor


def _description(tensor: Tensor) -> dict[str, Any]:
    return {
        "shape": list(tensor.shape),
        "dtype": str(tensor.dtype).removeprefix("torch."),
        "crc32": zlib.crc32(tensor.flatten().view(torch.uint8).numpy().data) if tensor.numel() else 0,
    }


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("step_*.safetensors"), reverse=True)
