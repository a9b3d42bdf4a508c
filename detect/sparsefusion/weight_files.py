"""Files of weights: our own, which carry their config, and the released checkpoints."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from ...learn.foreign_weights import check_weights, read_weights
from ...scene.errors import BadInputError
from ...scene.files import parse_json, write_bytes
from .config import SparseFusionConfig, preset
from .model import SparseFusionModel
from .released_weights import convert_released

_CONFIG = "sparsefusion_config"  # in the metadata of our own files
WEIGHTS_FILE = "weights.safetensors"


def save_weights(path: Path, model: SparseFusionModel) -> None:
    """Weights and config in one safetensors file."""
    tensors = {k: v.detach().cpu().clone().contiguous() for k, v in model.state_dict().items()}
    metadata = {_CONFIG: json.dumps(dataclasses.asdict(model.config))}
    write_bytes(path, safetensors.torch.save(tensors, metadata))


def load_model(path: Path) -> SparseFusionModel:
    """The network with its weights, from a run folder, from our own weights, or from a released checkpoint.

    Raises BadInputError for all other files; none is ever unpickled beyond plain tensors.
    """
    path = path / WEIGHTS_FILE if path.is_dir() else path
    config = read_config(path)
    state, _ = read_weights(path)
    if config is not None:
        model = empty_model(config)
        state = check_weights(state, model, path, "a SparseFusion network of the config that it names")
    else:
        swin = "img_backbone.patch_embed.projection.weight" in state
        model = empty_model(preset("paper-swin" if swin else "paper"))
        state = convert_released(state, model, path)
    model.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()}, assign=True)
    return model


def empty_model(config: SparseFusionConfig) -> SparseFusionModel:
    """The network without memory for its weights, which a file brings."""
    with torch.device("meta"):
        return SparseFusionModel(config)


def read_config(path: Path) -> SparseFusionConfig | None:
    """The config in one of our own weight files; None for any other file."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(_CONFIG)
    except (safetensors.SafetensorError, OSError):
        return None  # told by `read_weights`, which also reads PyTorch's own files
    return None if text is None else config_from(parse_json(text.encode(), f"{path}: its config"), str(path))


def config_from(table: Any, where: str) -> SparseFusionConfig:
    """A config from JSON. Raises BadInputError for unknown fields and wrong types."""
    defaults = SparseFusionConfig()
    if not isinstance(table, dict):
        raise BadInputError(f"{where}: its config should be an object, found {type(table).__name__}.")
    values: dict[str, Any] = {}
    for name, value in table.items():
        default = getattr(defaults, name, None)
        value = tuple(value) if isinstance(default, tuple) and isinstance(value, list) else value
        if default is None or type(value) not in (type(default), *((int,) if isinstance(default, float) else ())):
            raise BadInputError(f"{where}: its config has {name!r} = {str(value)[:60]}, which no SparseFusion has.")
        values[name] = value
    try:
        return replace(defaults, **values)
    except (BadInputError, TypeError, ValueError, ZeroDivisionError) as error:
        raise BadInputError(f"{where}: its config cannot be used ({str(error).rstrip('.')}).") from error
