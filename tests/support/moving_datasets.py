"""Small data sets of moving scenes on disk: Nerfies folders, calibrated videos, folders of frames."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from .film_scenes import write_film

CENTER, SCALE = (10.0, -4.0, 2.5), 0.05
SIZE = (64, 48)


def look_at(center: np.ndarray) -> np.ndarray:
    """cam_from_world rotation [3, 3] of a camera that looks at the origin, y down."""
    ahead = -center / np.linalg.norm(center)
    right = np.cross(ahead, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(ahead, right), ahead])


def write_nerfies(folder: Path, frames: int = 6, ratios: tuple[int, ...] = (1, 2), **camera: Any) -> Path:
    """Frames of two cameras: the even ones are trained on, the odd ones are val_ids. `camera` replaces fields."""
    (folder / "camera").mkdir(parents=True)
    ids = [f"{i:06d}" for i in range(frames)]
    metadata = {}
    rng = np.random.default_rng(0)
    for i, name in enumerate(ids):
        position = np.array([3 * np.cos(0.3 * i), 3 * np.sin(0.3 * i), 1.0])
        table = {
            "orientation": look_at(position).tolist(),
            "position": (position / SCALE + np.array(CENTER)).tolist(),
            "focal_length": 60.0,
            "principal_point": [SIZE[0] / 2 + 1, SIZE[1] / 2 - 2],
            "image_size": list(SIZE),
            "skew": 0.0,
            "pixel_aspect_ratio": 1.0,
            "radial_distortion": [0.0, 0.0, 0.0],
            "tangential_distortion": [0.0, 0.0],
        }
        (folder / "camera" / f"{name}.json").write_text(json.dumps(table | camera))
        metadata[name] = {"time_id": i // 2, "warp_id": i // 2, "appearance_id": i, "camera_id": i % 2}
        for ratio in ratios:
            place = folder / "rgb" / f"{ratio}x"
            place.mkdir(parents=True, exist_ok=True)
            size = (SIZE[1] // ratio, SIZE[0] // ratio, 3)
            Image.fromarray(rng.integers(0, 255, size, dtype=np.uint8)).save(place / f"{name}.png")
    (folder / "metadata.json").write_text(json.dumps(metadata))
    splits = {"count": frames, "num_exemplars": frames, "ids": ids, "train_ids": ids[::2], "val_ids": ids[1::2]}
    (folder / "dataset.json").write_text(json.dumps(splits))
    (folder / "scene.json").write_text(json.dumps({"scale": SCALE, "center": CENTER, "near": 0.1, "far": 2.0}))
    np.save(folder / "points.npy", np.array([[0.0, 0, 0], [1, 2, 3]]) / SCALE + np.array(CENTER))
    return folder


def qualisys(
    cameras: dict[str, np.ndarray], size: tuple[int, int] = SIZE, focal_px: float = 60.0, **fields: str
) -> str:
    """The text of a calibration of cameras [4, 4] cam_from_world in metres. `fields` are those of <intrinsic>."""
    width, height = size
    text = "<?xml version='1.0' encoding='ASCII'?>\n<calibration><cameras>\n"
    for name, pose in cameras.items():
        M = np.diag([1.0, -1.0, -1.0]) @ pose[:3, :3]
        center = -pose[:3, :3].T @ pose[:3, 3] * 1000
        rows = " ".join(f'r{i + 1}{j + 1}="{M[i, j]!r}"' for i in range(3) for j in range(3)).replace("np.float64", "")
        rows = rows.replace("(", "").replace(")", "")
        where = " ".join(f'{axis}="{float(value)}"' for axis, value in zip("xyz", center, strict=True))
        intrinsic = {
            "centerPointU": str(64 * (width / 2 - 0.5)),
            "centerPointV": str(64 * (height / 2 - 0.5)),
            "focalLengthU": str(64 * focal_px),
            "focalLengthV": str(64 * focal_px),
            "radialDistortion1": "0.0",
            "radialDistortion2": "0.0",
            "tangentalDistortion1": "0.0",
            "tangentalDistortion2": "0.0",
        } | fields
        attributes = " ".join(f'{key}="{value}"' for key, value in intrinsic.items())
        text += (
            f'<camera serial="{name}"><fov_video bottom="{height - 1}" left="0" right="{width - 1}" top="0"/>'
            f"<transform {rows} {where}/><intrinsic {attributes}/></camera>\n"
        )
    return text + "</cameras></calibration>\n"


def around(count: int, distance: float = 3.0) -> dict[str, np.ndarray]:
    """cam1, cam2, ... around the origin, cam_from_world [4, 4]."""
    poses = {}
    for i in range(count):
        center = np.array([distance * np.cos(1.2 * i), distance * np.sin(1.2 * i), 1.0 + 0.2 * i])
        pose = np.eye(4)
        pose[:3, :3] = look_at(center)
        pose[:3, 3] = -pose[:3, :3] @ center
        poses[f"cam{i + 1}"] = pose
    return poses


def numbered_frame(number: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A frame whose grey level tells its number, 6 levels apart."""
    return np.full((size[1], size[0], 3), 20 + 6 * number, np.uint8)


def number_of(pixels: np.ndarray) -> int:
    """The number that `numbered_frame` wrote into the middle of a frame, through the coder's rounding."""
    height, width = pixels.shape[:2]
    middle = pixels[height // 3 : 2 * height // 3, width // 3 : 2 * width // 3]
    return round((float(middle.mean()) - 20) / 6)


def write_rig(folder: Path, counts: tuple[int, ...] = (12, 12, 12), fps: int = 30) -> Path:
    """Calibrated videos of cam1, cam2, ... with so many numbered frames each."""
    (folder / "videos").mkdir(parents=True)
    poses = around(len(counts))
    (folder / "room.qca.txt").write_text(qualisys(poses))
    for name, count in zip(poses, counts, strict=True):
        write_film(folder / "videos" / f"{name}.mp4", [numbered_frame(n) for n in range(count)], fps)
    return folder


def with_disc(size: tuple[int, int], at: tuple[float, float], radius: float = 3.0) -> np.ndarray:
    """A bright disc on grey, uint8 [H, W, 3]; `at` counts from the corner of the first pixel."""
    frame = np.full((size[1], size[0], 3), 60, np.uint8)
    shift = 4
    point = tuple(round((value - 0.5) * 2**shift) for value in at)
    cv2.circle(frame, point, round(radius * 2**shift), (250, 250, 250), -1, cv2.LINE_AA, shift)
    return frame
