"""Small captures on disk, for the commands."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from fewview.scene.geometry import se3_inverse
from PIL import Image
from support.training import tiny_dataset


def write_capture(folder: Path, views: int = 9) -> Path:
    """A folder with transforms.json and tiny photographs of a known splat, `photo_0.png` and so on."""
    dataset = tiny_dataset(views)
    (folder / "images").mkdir(parents=True)
    frames = []
    for i, view in enumerate(dataset.views):
        name = f"images/photo_{i}.png"
        Image.fromarray(view.pixels.numpy()).save(folder / name)
        world_from_cam = se3_inverse(dataset.cameras.cam_from_world[i].double())
        world_from_cam[:3, 1:3] *= -1  # OpenCV to OpenGL axes
        frames.append({"file_path": name, "transform_matrix": world_from_cam.tolist()})
    K = dataset.cameras.K[0]
    lens = {"fl_x": float(K[0, 0]), "fl_y": float(K[1, 1]), "cx": float(K[0, 2]), "cy": float(K[1, 2])}
    size = {"w": dataset.views[0].width, "h": dataset.views[0].height}
    (folder / "transforms.json").write_text(json.dumps({**lens, **size, "frames": frames}))
    return folder


def write_photographs(folder: Path, count: int) -> Path:
    """A folder of `count` noise photographs without cameras."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for i in range(count):
        Image.fromarray(generator.integers(0, 256, (48, 64, 3), dtype=np.uint8)).save(folder / f"{i}.jpg")
    return folder
