"""The file of a depth prior's weights."""

from __future__ import annotations

from pathlib import Path

import safetensors.torch
import torch

from ....learn.foreign_weights import check_weights, fill_network, read_weights
from ....scene.files import write_bytes
from .network import DepthPrior

KIND = "a depth prior of this version"
# Trained by scripts/train_priors/depth.py on generated pictures; its trunk is EfficientNet-Lite0's (Apache-2.0).
BUNDLED = Path(__file__).with_name("depth_prior.safetensors")


def save_prior(path: Path, network: DepthPrior) -> None:
    """Write trunk and decoder; matrices in float16, which is finer than what training leaves uncertain."""
    state = {k: v for k, v in network.state_dict().items() if not k.endswith("num_batches_tracked")}
    tensors = {k: (v.half() if v.ndim > 1 else v.float()).cpu().contiguous() for k, v in state.items()}
    write_bytes(path, safetensors.torch.save(tensors))


def load_prior(path: Path, device: torch.device | str = "cpu") -> DepthPrior:
    """The network in a file, ready to predict.

    Raises BadInputError when the file is not there, not whole, not safe, or not one of `save_prior`.
    """
    state, _ = read_weights(path)
    with torch.device("meta"):
        network = DepthPrior()
    counters = {k: torch.zeros((), dtype=v.dtype) for k, v in network.state_dict().items() if "num_batches" in k}
    fill_network(network, check_weights(state | counters, network, path, KIND), device)
    return network
