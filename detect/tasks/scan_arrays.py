"""From arrays to boxes: a LiDAR scan and photographs as NumPy or PyTorch have them, without a data set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...scene.boxes import Boxes
from ...scene.cameras import Cameras
from ...scene.errors import BadInputError
from ..detector import Detector
from ..measure import Predictor
from .driving_sample import DrivingSample
from .sample_of_frame import NO_CAMERAS


def boxes_in_scan(
    detector: Detector,
    points: Any,  # [P, 4 or 5] x, y, z in metres, z up; intensity 0..255; seconds before now (0 where absent)
    images: Sequence[np.ndarray] = (),  # V times uint8 [H, W, 3] RGB, all of one size
    cam_from_lidar: Any = None,  # [V, 4, 4] OpenCV axes: x right, y down, z ahead
    K: Any = None,  # [V, 3, 3] pixels, of these images
    *,
    device: str | torch.device = "cpu",
) -> Boxes:
    """Boxes with scores in the LiDAR's frame, after NMS, the score's threshold left to the caller.

    A network without images needs points alone. Any number of cameras will do, though networks know best what they
    were trained with: that is for nuScenes six cameras, x to the right of the car, y ahead.
    Raises BadInputError for arrays of other shapes or with numbers that are not finite.
    """
    sample = sample_of_arrays(points, images, cam_from_lidar, K)
    detector.network.to(device)
    return Predictor(detector, torch.device(device))(sample)


def sample_of_arrays(
    points: Any, images: Sequence[np.ndarray] = (), cam_from_lidar: Any = None, K: Any = None
) -> DrivingSample:
    """A sample without annotations whose place in the world is unknown; arguments as in `boxes_in_scan`."""
    rows = _finite(points, "points", 2)
    if rows.shape[1] not in (4, 5):
        raise BadInputError(
            f"The points have the shape {tuple(rows.shape)}; [P, 4] (x, y, z, intensity) or [P, 5] with seconds before "
            "the scan is expected."
        )
    if rows.shape[1] == 4:
        rows = torch.cat([rows, torch.zeros(len(rows), 1)], dim=1)
    pictures = np.stack([_picture(image, images[0].shape) for image in images]) if len(images) else None
    cameras = NO_CAMERAS if pictures is None else _cameras(pictures, cam_from_lidar, K)
    return DrivingSample(
        token="arrays",
        points=rows,
        cameras=cameras,
        load_images=lambda: np.zeros((0, 1, 1, 3), np.uint8) if pictures is None else pictures,
        timestamp_us=0,
        ego_from_lidar=torch.eye(4, dtype=torch.float64),
        global_from_ego=torch.eye(4, dtype=torch.float64),
    )


def _cameras(pictures: np.ndarray, cam_from_lidar: Any, K: Any) -> Cameras:
    views = len(pictures)
    if cam_from_lidar is None or K is None:
        raise BadInputError(f"{views} images need cam_from_lidar [{views}, 4, 4] and K [{views}, 3, 3]; give both.")
    poses, matrices = _finite(cam_from_lidar, "cam_from_lidar", 3), _finite(K, "K", 3)
    for name, found, expected in (("cam_from_lidar", poses, (views, 4, 4)), ("K", matrices, (views, 3, 3))):
        if tuple(found.shape) != expected:
            raise BadInputError(
                f"{name} has the shape {tuple(found.shape)}; {list(expected)} is expected, for {views} images."
            )
    height, width = (torch.full((views,), side) for side in pictures.shape[1:3])
    return Cameras(poses, matrices, width, height)


def _picture(image: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    array = np.asarray(image)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or array.shape != shape:
        raise BadInputError(
            f"An image is {array.dtype} of the shape {array.shape}; uint8 [H, W, 3] RGB is expected, all of one size."
        )
    return array


def _finite(values: Any, name: str, dims: int) -> Tensor:
    tensor = torch.as_tensor(values).detach().cpu().float()
    if tensor.ndim != dims:
        raise BadInputError(f"{name} has the shape {tuple(tensor.shape)}; {dims} dimensions are expected.")
    if not bool(tensor.isfinite().all()):
        raise BadInputError(f"{name} holds numbers that are not finite; leave such rows out.")
    return tensor
