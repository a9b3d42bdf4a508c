"""Depth Anything V2 (Yang et al., NeurIPS 2024, arXiv 2406.09414) with weights that the person has, by `transformers`.

The folder is that of a model in Hugging Face's layout: `config.json` and `model.safetensors`. Nothing is downloaded,
and code that a folder may hold is not run.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from ...learn.efficientnet_lite import IMAGENET_MEAN, IMAGENET_STD
from ...learn.foreign_weights import check_weights, fill_network, read_weights
from ...scene.errors import BadInputError, FewviewError

SHORT_SIDE_PX = 518  # at which the authors run it
PATCH_PX = 14
KIND = "a Depth Anything V2 network"
_MAX_CONFIG = 1 << 20  # bytes


class DepthAnythingV2:
    """The network with its weights."""

    def __init__(self, network: nn.Module, short_side_px: int = SHORT_SIDE_PX) -> None:
        self.network, self.short_side_px = network, short_side_px

    @staticmethod
    def load(folder: Path, device: torch.device | str = "cpu") -> DepthAnythingV2:
        """Read a model's folder.

        Raises BadInputError where it is another model's, damaged or unsafe, and FewviewError without `transformers`.
        """
        network = _build(_config(folder / "config.json"), folder)
        weights = folder / "model.safetensors"
        state, _ = read_weights(weights)
        fill_network(network, check_weights(state, network, weights, KIND), device)
        return DepthAnythingV2(network)

    @torch.no_grad()
    def disparity(
        self,
        image: Tensor,  # [H, W, 3] uint8
    ) -> Tensor:
        """Relative inverse depth [H, W] float32 >= 0. Raises FewviewError for a result that is not finite."""
        height, width = image.shape[:2]
        factor = self.short_side_px / min(height, width)
        rows, columns = (max(1, round(n * factor / PATCH_PX)) * PATCH_PX for n in (height, width))
        small = cv2.resize(image.numpy().astype(np.float32) / 255, (columns, rows), interpolation=cv2.INTER_CUBIC)
        values = (torch.from_numpy(small) - torch.tensor(IMAGENET_MEAN)) / torch.tensor(IMAGENET_STD)
        device = next(self.network.parameters()).device
        found = self.network(pixel_values=values.permute(2, 0, 1)[None].to(device)).predicted_depth[0].float().cpu()
        if not bool(torch.isfinite(found).all()):
            raise FewviewError("Depth Anything V2 gave numbers that are not finite; get its released files again.")
        sized = cv2.resize(found.clamp_min(0).numpy(), (width, height), interpolation=cv2.INTER_LINEAR)
        return torch.from_numpy(sized)


def _config(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = json.loads(file.read(_MAX_CONFIG))
        kind = content["model_type"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadInputError(f"{path} cannot be read, or does not name its model ({error}).") from error
    if kind != "depth_anything":
        raise BadInputError(f"{path} is of a model of type {str(kind)[:40]!r}; 'depth_anything' is expected.")
    return dict(content)


def _build(config: dict[str, Any], folder: Path) -> nn.Module:
    """The package's network with random weights."""
    try:
        from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation
    except ImportError as error:
        raise FewviewError(
            f"A Depth Anything V2 model needs a package that is not installed ({error}): pip install transformers."
        ) from error
    try:
        settings = DepthAnythingConfig.from_dict(config)
        if settings.backbone_config is None:
            raise ValueError("it has no backbone_config")
        with torch.device("meta"):  # sizes are only claimed until the weights are there
            network: nn.Module = DepthAnythingForDepthEstimation(settings)
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError) as error:
        raise BadInputError(f"{folder / 'config.json'} describes no network that can be built: {error}.") from error
    return network
