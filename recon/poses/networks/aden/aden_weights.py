"""One file for a whole ADen: its backbone, its network, and the settings that say what they are made of."""

from __future__ import annotations

import json
from pathlib import Path

import safetensors
import safetensors.torch
import torch

from .....learn.foreign_weights import check_weights, fill_network, read_weights
from .....scene.errors import BadInputError
from .....scene.files import write_bytes
from .config import AdenConfig
from .image_encoder import ImageEncoder
from .model import Aden

KIND = "an ADen network of this version"
# Trained by scripts/train_priors/aden.py on rendered objects; its backbone is EfficientNet-Lite0's (Apache-2.0).
BUNDLED = Path(__file__).with_name("aden.safetensors")
_SETTINGS = "aden_settings"


def save_aden(path: Path, encoder: ImageEncoder, network: Aden) -> None:
    """Write both; matrices in float16, which is finer than what training leaves uncertain, all else in float32."""
    state = {f"encoder.{k}": v for k, v in encoder.state_dict().items() if not k.endswith("num_batches_tracked")}
    state |= {f"network.{k}": v for k, v in network.state_dict().items()}
    tensors = {k: (v.half() if v.ndim > 1 else v.float()).cpu().contiguous() for k, v in state.items()}
    write_bytes(path, safetensors.torch.save(tensors, {_SETTINGS: json.dumps(network.config.as_dict())}))


def load_aden(path: Path, device: torch.device | str = "cpu") -> tuple[ImageEncoder, Aden]:
    """The backbone and the network of a file, ready to predict.

    Raises BadInputError when the file is not there, not whole, or not one of `save_aden`.
    """
    state, _ = read_weights(path)
    config = _settings(path)
    with torch.device("meta"):
        encoder = ImageEncoder(config.backbone)
        network = Aden(config, encoder.channels)
    for name, module in (("encoder", encoder), ("network", network)):
        own = {k[len(name) + 1 :]: v for k, v in state.items() if k.startswith(f"{name}.")}
        counters = {k: torch.zeros((), dtype=v.dtype) for k, v in module.state_dict().items() if "num_batches" in k}
        fill_network(module, check_weights(own | counters, module, path, KIND), device)
    return encoder, network


def _settings(path: Path) -> AdenConfig:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return AdenConfig.from_dict(json.loads((file.metadata() or {})[_SETTINGS]))
    except (safetensors.SafetensorError, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadInputError(
            f"{path} is not {KIND}: its settings cannot be read ({error}); give a file of scripts/train_priors/aden.py."
        ) from error
