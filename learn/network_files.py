"""Files of networks of our own: weights and the config that they belong to, in one safetensors file."""

from __future__ import annotations

import dataclasses
import json
import typing
from pathlib import Path
from typing import Any, Literal, TypeVar

import safetensors
import safetensors.torch
from torch import nn

from ..scene.errors import BadInputError
from ..scene.files import parse_json, write_bytes

WEIGHTS_FILE = "weights.safetensors"  # in the folder of a run
C = TypeVar("C")


def save_network(
    path: Path,
    network: nn.Module,
    config: Any,  # a dataclass of plain values
    key: str,  # of the config in the file's metadata, a different one for each kind of network
) -> None:
    """Weights and config in one safetensors file."""
    tensors = {k: v.detach().cpu().clone().contiguous() for k, v in network.state_dict().items()}
    metadata = {key: json.dumps(dataclasses.asdict(config))}
    write_bytes(path, safetensors.torch.save(tensors, metadata))


def read_config(
    path: Path,
    key: str,
    kind: type[C],  # of the config
    name: str,  # of the network, for people
) -> C | None:
    """The config in a file of `save_network`; None for any other file. Raises BadInputError where it does not fit."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(key)
    except (safetensors.SafetensorError, OSError):
        return None  # told by `read_weights`, which also reads PyTorch's own files
    if text is None:
        return None
    return config_from(parse_json(text.encode(), f"{path}: its config"), str(path), kind, name)


def config_from(table: Any, where: str, kind: type[C], name: str) -> C:
    """A config from JSON. Raises BadInputError for unknown fields and wrong types."""
    defaults: Any = kind()
    if not isinstance(table, dict):
        raise BadInputError(f"{where}: its config should be an object, found {type(table).__name__}.")
    hints = typing.get_type_hints(kind)
    values: dict[str, Any] = {}
    for field, value in table.items():
        default = getattr(defaults, field, None)
        value = tuple(value) if isinstance(default, tuple) and isinstance(value, list) else value
        fits = default is not None and type(value) in (type(default), *((int,) if isinstance(default, float) else ()))
        if fits and typing.get_origin(hints.get(field)) is Literal:
            fits = value in typing.get_args(hints[field])
        if not fits:
            raise BadInputError(f"{where}: its config has {field!r} = {str(value)[:60]}, which no {name} has.")
        values[field] = value
    try:
        changed: C = dataclasses.replace(defaults, **values)
    except (BadInputError, TypeError, ValueError, ZeroDivisionError) as error:
        raise BadInputError(f"{where}: its config cannot be used ({str(error).rstrip('.')}).") from error
    return changed
