"""Repetition: photographs that show one thing again and again, in a pattern."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from .features import Features

APART = 0.05  # of the diagonal: nearer keypoints see the same spot
LEAST_ALIKE = 0.82  # cosine from which on two places are paired
PATTERN_ERROR_PX = 4.0
# Pairs of look-alikes in one photograph that one homography explains, and their share: walls of tiles have 77 and more,
# 0.29 and more (0.45 usually), all else at most 72 and 0.3, house fronts 0.18.
PATTERN_PAIRS, PATTERN_SHARE = 60, 0.33


def shows_pattern(features: Features) -> bool:
    """True for a photograph in which one thing comes again and again at equal steps: tiles, bricks, windows.

    Each keypoint is paired with its best look-alike elsewhere; in a pattern one homography takes many to theirs.
    """
    descriptors, xy = features.descriptors, features.xy_px
    if not descriptors.shape[1] or len(features) < PATTERN_PAIRS:
        return False
    alike = descriptors @ descriptors.T
    alike[torch.cdist(xy, xy) <= APART * float(np.hypot(features.width, features.height))] = -1
    best, other = alike.max(1)
    order = torch.arange(len(features))
    mutual = torch.nonzero((other[other] == order) & (best > LEAST_ALIKE) & (order < other))[:, 0]
    if len(mutual) < PATTERN_PAIRS:
        return False
    a, b = (xy[i].numpy().astype(np.float64) for i in (mutual, other[mutual]))
    swapped = a[:, 0] > b[:, 0]
    a[swapped], b[swapped] = b[swapped].copy(), a[swapped].copy()
    _, mask = cv2.findHomography(a, b, cv2.USAC_DEFAULT, PATTERN_ERROR_PX)
    inliers = 0 if mask is None else int(mask.sum())
    return inliers >= PATTERN_PAIRS and inliers > PATTERN_SHARE * len(mutual)
