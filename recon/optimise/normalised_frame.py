"""The normalised frame: the one that a reconstruction is computed in, whatever unit and origin the person's has."""

from __future__ import annotations

from dataclasses import replace

import torch

from ...scene.cameras import Cameras
from ...scene.geometry import Similarity
from .dataset import scene_scale


def world_from_normalised(cameras: Cameras) -> Similarity:
    """From the frame in which these training cameras [N] lie around the origin with scene scale 1 to their world.

    In double precision, from what the source gave before it was rounded, so that rounding comes after the unit and the
    origin are gone: training amplifies a last bit to tenths of a decibel. Axes stay as they are. Near planes, noise and
    tolerances are lengths in this frame, so that a data set in millimetres or in kilometres, here or at a map's
    coordinates, gives the same picture.
    """
    exact = replace(cameras, cam_from_world=cameras.unrounded_poses.detach().cpu())
    scale = torch.tensor(scene_scale(exact), dtype=torch.float64)
    return Similarity(scale, torch.eye(3, dtype=torch.float64), exact.centers.mean(0))
