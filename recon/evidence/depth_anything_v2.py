"""Depth Anything V2 (Yang et al., NeurIPS 2024, arXiv 2406.09414) with weights that the person has, by `transformers`.

The folder is that of a model in Hugging Face's layout: `config.json` and `model.safetensors`. Nothing is downloaded,
and code that a folder may hold is not run.
"""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from ...learn.efficientnet_lite0 import IMAGENET_MEAN, IMAGENET_STD
from ...learn.foreign_weights import read_weights
from ...scene.errors import BadInputError, FewviewError

SHORT_SIDE_PX = 518  # at which the authors run it
PATCH_PX = 14
KIND = "Depth Anything V2 network"
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
        _check_config(folder / "config.json")
        weights = folder / "model.safetensors"
        state, _ = read_weights(weights)  # refuses what is no such file, before anyone else reads it
        if not all(bool(torch.isfinite(tensor).all()) for tensor in state.values()):
            raise BadInputError(f"{weights} holds numbers that are not finite; get the file again.")
        network = _read(folder).eval().requires_grad_(False).to(device)
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


def _check_config(path: Path) -> None:
    try:
        with path.open("rb") as file:
            content = json.loads(file.read(_MAX_CONFIG))
        kind, backbone = content["model_type"], content.get("backbone_config")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadInputError(f"{path} cannot be read, or does not name its model ({error}).") from error
    if kind != "depth_anything" or not isinstance(backbone, dict):
        raise BadInputError(
            f"{path} is of a model of type {str(kind)[:40]!r}; 'depth_anything' with its backbone_config is expected."
        )


def _read(folder: Path) -> nn.Module:
    """The package's network with the folder's weights; the package knows the names that its versions gave them."""
    try:
        from transformers import DepthAnythingForDepthEstimation
    except ImportError as error:
        raise FewviewError(
            f"A Depth Anything V2 model needs a package that is not installed ({error}): pip install transformers."
        ) from error
    try:
        with torch.random.fork_rng(), contextlib.redirect_stderr(io.StringIO()):
            network, told = DepthAnythingForDepthEstimation.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, output_loading_info=True
            )
    except Exception as error:  # the package has no error of its own for a folder that is not as it should be
        raise BadInputError(f"{folder} holds no {KIND} that can be read: {str(error).splitlines()[0]}.") from error
    wrong = [*told["missing_keys"], *told["unexpected_keys"], *(str(m) for m in told["mismatched_keys"])]
    if wrong:
        raise BadInputError(
            f"{folder} holds no {KIND}: {len(wrong)} of its tensors are missing or others, first {wrong[0]}."
        )
    found: nn.Module = network
    return found
