"""Repetition: how much of what a photograph shows it shows more than once."""

from __future__ import annotations

import numpy as np
import torch

from .features import Features

APART = 0.05  # of the diagonal: nearer keypoints see the same spot
ALIKE = 0.85  # cosine of the descriptors of two places that could be taken for each other
CHUNK = 1024


def repeated(features: Features) -> np.ndarray:
    """Mask [N] of the keypoints that have a look-alike elsewhere in their own photograph.

    False for all where there are no descriptors.
    """
    descriptors, xy = features.descriptors, features.xy_px
    out = np.zeros(len(features), bool)
    if not descriptors.shape[1]:
        return out
    apart_px = APART * float(np.hypot(features.width, features.height))
    for start in range(0, len(features), CHUNK):
        part = slice(start, start + CHUNK)
        far = torch.cdist(xy[part], xy) > apart_px
        out[part] = ((descriptors[part] @ descriptors.T > ALIKE) & far).any(1).numpy()
    return out
