"""Files of weights of TSP3D: our own, which carry their config, and the released checkpoints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from ...learn.foreign_weights import check_weights, read_weights
from ...learn.network_files import WEIGHTS_FILE, read_config, save_network
from .config import TSP3DConfig
from .model import TSP3DModel
from .tsp3d_released import convert_released, is_released

_CONFIG = "tsp3d_config"  # in the metadata of our own files


def save_weights(path: Path, model: TSP3DModel) -> None:
    """Weights and config in one safetensors file. A frozen text encoder is not in it."""
    save_network(path, model, model.config, _CONFIG)


def load_model(path: Path, text_folder: str = "") -> TSP3DModel:
    """The network with its weights, from a run folder, from our own weights, or from a released checkpoint.

    `text_folder` names the text encoder's files where the weights' own place for them is not of this machine.
    Raises BadInputError for all other files; none is ever unpickled beyond plain tensors.
    """
    path = path / WEIGHTS_FILE if path.is_dir() else path
    config = read_config(path, _CONFIG, TSP3DConfig, "TSP3D")
    state, _ = read_weights(path)
    if config is not None:
        config = replace(config, text_folder=text_folder or config.text_folder)
        model = empty_model(config)
        state = check_weights(state, model, path, "a TSP3D network of the config that it names")
    else:
        model = empty_model(TSP3DConfig(text_folder=text_folder))
        state = convert_released(state, model, path) if is_released(state) else state
        state = check_weights(state, model, path, "a TSP3D network that `fewview detect train` or its authors wrote")
    model.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()}, assign=True)
    return model


def empty_model(config: TSP3DConfig) -> TSP3DModel:
    """The network without memory for its weights, which a file brings."""
    with torch.device("meta"):
        return TSP3DModel(config)
