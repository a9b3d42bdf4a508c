"""SIFT with mutual nearest neighbours: the matcher that needs no weights."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from .features import Features, mutual_nearest

MAX_RATIO = 0.8  # Lowe 2004, section 7.1


class SiftMatcher:
    """RootSIFT (Lowe 2004; Arandjelovic and Zisserman 2012) with the ratio test."""

    name = "sift"
    upright_only = False
    costly = False

    def __init__(self, max_keypoints: int) -> None:
        self.max_keypoints = max_keypoints
        # Without precise upscaling OpenCV's keypoints are a quarter of a pixel too far right and down.
        self._sift = cv2.SIFT_create(nfeatures=max_keypoints, contrastThreshold=0.02, enable_precise_upscale=True)  # type: ignore[attr-defined]

    def extract(self, image: np.ndarray) -> Features:
        height, width = image.shape[:2]
        keypoints, found = self._sift.detectAndCompute(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), None)
        order = sorted(range(len(keypoints)), key=lambda i: -keypoints[i].response)
        # OpenCV puts the upper-left pixel's centre at (0, 0).
        xy = np.array([keypoints[i].pt for i in order], np.float32).reshape(-1, 2) + np.float32(0.5)
        sift = np.zeros((0, 128), np.float32) if found is None else found[order].astype(np.float32)
        root = np.sqrt(sift / np.maximum(sift.sum(1, keepdims=True), 1e-12))
        return Features(torch.from_numpy(xy), torch.from_numpy(root), width, height)

    def match(self, a: Features, b: Features) -> np.ndarray:
        return mutual_nearest(a.descriptors, b.descriptors, min_cosine=0.0, max_ratio=MAX_RATIO)
