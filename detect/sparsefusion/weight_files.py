"""Files of weights: our own, which carry their config, and the released checkpoints."""

from __future__ import annotations

from pathlib import Path

import torch

from ...learn import network_files
from ...learn.foreign_weights import check_weights, read_weights
from ...learn.network_files import WEIGHTS_FILE, save_network
from .config import SparseFusionConfig, preset
from .model import SparseFusionModel
from .released_weights import convert_released

_CONFIG = "sparsefusion_config"  # in the metadata of our own files


def save_weights(path: Path, model: SparseFusionModel) -> None:
    """Weights and config in one safetensors file."""
    save_network(path, model, model.config, _CONFIG)


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
    return network_files.read_config(path, _CONFIG, SparseFusionConfig, "SparseFusion")
