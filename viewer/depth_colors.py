"""Depth maps and their confidence as coloured pictures, for the page and the report."""

from __future__ import annotations

import cv2
import numpy as np


def trust_picture(
    confidence: np.ndarray,  # [H, W], from 1 (a guess) upwards
) -> np.ndarray:
    """uint8 [H, W, 3]: dark where depth is a guess, bright where it is sure."""
    scaled = 1 - 1 / np.maximum(confidence, 1)  # 1 to infinity becomes 0 to 1
    return _colored(scaled, cv2.COLORMAP_VIRIDIS)


def depth_picture(
    depth: np.ndarray,  # [H, W]
) -> np.ndarray:
    """uint8 [H, W, 3]: near is bright; inverse depth between its 2nd and 98th percentile."""
    inverse = 1 / np.maximum(depth, 1e-9)
    low, high = np.percentile(inverse, (2, 98))
    return _colored((inverse - low) / max(high - low, 1e-9), cv2.COLORMAP_TURBO)


def _colored(values: np.ndarray, color_map: int) -> np.ndarray:
    scaled = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    return np.ascontiguousarray(cv2.applyColorMap(scaled, color_map)[..., ::-1])
