"""Random camera paths, and what nerfstudio makes of a camera path file."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from fewview.render.camera_path import CameraPath, KeyFrame
from fewview.scene.geometry import se3_from, so3_exp


def random_path(seed: int, count: int, **settings: Any) -> CameraPath:
    """`count` key frames with turns of up to 115 degrees between them; the same seed gives the same path."""
    rng = torch.Generator().manual_seed(seed)
    frames, rotation = [], torch.eye(3, dtype=torch.float64)
    for _ in range(count):
        axis = torch.nn.functional.normalize(torch.randn(3, generator=rng, dtype=torch.float64), dim=0)
        rotation = so3_exp(axis * torch.rand(1, generator=rng).double() * 2.0) @ rotation
        center = 3 * torch.randn(3, generator=rng, dtype=torch.float64)
        fov, seconds = torch.rand(2, generator=rng).double().tolist()
        transition = 0.3 + 2 * seconds if settings.get("uneven", True) else None
        frames.append(KeyFrame(se3_from(rotation, center), 0.5 + fov, transition))
    settings.pop("uneven", None)
    return CameraPath(tuple(frames), **{"width": 640, "height": 360, "fps": 10.0, **settings})


def nerfstudio_cameras(table: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, tuple[float, float], float]:
    """(camera_to_world [n, 3, 4] in OpenGL axes, focal length in pixels [n], principal point, pictures in a second).

    The arithmetic of `get_path_from_json` (nerfstudio 1.1.5, cameras/camera_paths.py) with the focal length of
    three.js' perspective camera, and of `ns-render`, which shows all pictures in `seconds`; written from these.
    """
    width, height = table["render_width"], table["render_height"]
    poses, focals = [], []
    for picture in table["camera_path"]:
        poses.append(np.array(picture["camera_to_world"]).reshape(4, 4)[:3])
        focals.append(height / 2 / np.tan(picture["fov"] * (np.pi / 180) / 2))
    return np.stack(poses), np.array(focals), (width / 2, height / 2), len(poses) / table["seconds"]


def nerfstudio_viewer_file(path: CameraPath, default_fov_deg: float = 75.0) -> dict[str, Any]:
    """File of nerfstudio's viewer (1.1.5, viewer/render_panel.py) for the key frames of `path`, written from there.

    Its pictures come from a spline of its own, which is not repeated here: `camera_path` is left empty.
    """
    turned = np.diag([1.0, -1.0, -1.0, 1.0])  # the viewer turns each camera by 180 degrees about its x axis
    key_frames = [
        {
            "matrix": (frame.world_from_cam.numpy() @ turned).flatten().tolist(),
            "fov": math.degrees(frame.fov_rad),
            "aspect": path.width / path.height,
            "override_transition_enabled": frame.transition_s is not None,
            "override_transition_sec": frame.transition_s,
        }
        for frame in path.key_frames
    ]
    return {
        "default_fov": default_fov_deg,
        "default_transition_sec": path.default_transition_s,
        "keyframes": key_frames,
        "camera_type": "perspective",
        "render_height": float(path.height),  # numbers of a vector field: not always whole ones in JSON
        "render_width": float(path.width),
        "fps": path.fps,
        "seconds": path.duration_s,
        "is_cycle": path.loop,
        "smoothness_value": path.tension,
        "camera_path": [],
    }
