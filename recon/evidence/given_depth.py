"""Depth that came with the photographs, such as a phone's LiDAR or a renderer's depth maps."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from .depth_maps import MAX_CONFIDENCE, DepthMap, Stereo
from .evidence_request import EvidenceRequest

GUESS = 1.0  # confidence of pixels without depth
MEASURED = MAX_CONFIDENCE / 2  # between matched and certain: sensors blur at edges


def given_depth(request: EvidenceRequest) -> Stereo | None:
    """The input's depth of the training views at working size; None unless each has a map with something known in it.

    Pixels without depth take the view's median, as a guess. Depth is z in the camera frame, in the unit of the cameras,
    as nerfstudio and NeRF-synthetic data sets have it.
    """
    dataset, maps = request.dataset, []
    for done, index in enumerate(dataset.train):
        load = request.capture.frames[index].load_depth
        given = None if load is None else load().astype(np.float32)
        if given is None or not bool((given > 0).any()):
            return None
        request.progress("depth", done, len(dataset.train))
        view = dataset.view(index)
        depth = cv2.resize(given, (view.width, view.height), interpolation=cv2.INTER_NEAREST_EXACT)
        known = np.isfinite(depth) & (depth > 0)
        filled = np.where(known, depth, np.median(depth[known]) if known.any() else 1.0).astype(np.float32)
        confidence = np.where(known, np.float32(MEASURED), np.float32(GUESS))
        maps.append(DepthMap(torch.from_numpy(filled), torch.from_numpy(confidence)))
    return Stereo(dataset.cameras[list(dataset.train)].to("cpu"), tuple(maps))
