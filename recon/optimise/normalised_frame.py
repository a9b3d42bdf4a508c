"""The normalised frame: the one that a reconstruction is computed in, whatever unit and origin the person's has."""

from __future__ import annotations

import torch

from ...scene.cameras import Cameras
from ...scene.geometry import Similarity
from .dataset import scene_scale


def world_from_normalised(cameras: Cameras) -> Similarity:
    """From the frame in which these training cameras [N] lie around the origin with scene scale 1 to their world.

    In double precision; axes stay as they are. Near planes, noise and tolerances are lengths in this frame, so that a
    data set in millimetres or in kilometres, here or at a map's coordinates, gives the same picture.
    """
    centers = cameras.centers.detach().double().cpu()
    scale = torch.tensor(scene_scale(cameras), dtype=torch.float64)
    return Similarity(scale, torch.eye(3, dtype=torch.float64), centers.mean(0))
