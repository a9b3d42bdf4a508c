"""Tiny data sets that tests write themselves, with known answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pycolmap
import torch
from fewview.scene.cameras import Cameras
from fewview.scene.gaussians import Gaussians
from fewview.scene.geometry import se3_from, se3_inverse, so3_exp
from fewview.scene.point_cloud import PointCloud
from PIL import Image


def write_photo(path: Path, width: int = 40, height: int = 30, seed: int = 0, mode: str = "RGB", **save: Any) -> Path:
    """A smooth picture that differs from seed to seed (smooth, so that JPEG and resampling hardly change it)."""
    y, x = np.mgrid[0:height, 0:width] / max(width, height)
    phases = np.random.default_rng(seed).uniform(0, 6, 4)
    channels = [np.sin(3 * x + p) * np.cos(2 * y + p) for p in phases]
    pixels = (127.5 + 120 * np.stack(channels, -1)).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels if mode == "RGBA" else pixels[..., :3]).convert(mode).save(path, **save)
    return path


def ring_cameras(n: int, width: int = 40, height: int = 30, seed: int = 0) -> Cameras:
    """Cameras at generic poses with non-square pixels and a principal point off the centre."""
    generator = torch.Generator().manual_seed(seed)
    rotation = so3_exp(torch.randn(n, 3, generator=generator))
    cam_from_world = se3_from(rotation, torch.randn(n, 3, generator=generator))
    cameras = Cameras.pinhole(cam_from_world, torch.tensor([50.0, 52.0]).expand(n, 2), width, height)
    cameras.K[..., 0, 2] += 1.5
    return cameras


def transforms_table(cameras: Cameras, names: list[str], **top: Any) -> dict[str, Any]:
    """The nerfstudio layout of some cameras, written from its definition: camera-to-world, OpenGL axes."""
    frames = []
    for i, name in enumerate(names):
        world_from_cam = se3_inverse(cameras.cam_from_world[i].double())
        world_from_gl = world_from_cam @ torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64))
        K = cameras.K[i].double()
        frame: dict[str, Any] = {"file_path": name, "transform_matrix": world_from_gl.tolist()}
        frame |= {"fl_x": float(K[0, 0]), "fl_y": float(K[1, 1]), "cx": float(K[0, 2]), "cy": float(K[1, 2])}
        frame |= {"w": int(cameras.width[i]), "h": int(cameras.height[i])}
        frames.append(frame)
    return {**top, "frames": frames}


def write_transforms(folder: Path, n: int = 4, **top: Any) -> tuple[Cameras, dict[str, Any]]:
    """A data set of n photographs with transforms.json; its cameras and the table, to be changed and rewritten."""
    cameras = ring_cameras(n)
    names = [f"images/{i:02d}.png" for i in range(n)]
    for i, name in enumerate(names):
        write_photo(folder / name, seed=i)
    table = transforms_table(cameras, names, **top)
    rewrite(folder / "transforms.json", table)
    return cameras, table


def rewrite(path: Path, table: Any) -> None:
    path.write_text(json.dumps(table))


def write_colmap(
    folder: Path, model: str = "SIMPLE_RADIAL", params: tuple[float, ...] = (60, 20, 15, 0.01), text: bool = False
) -> pycolmap.Reconstruction:
    """A COLMAP data set that pycolmap itself made and wrote: sparse/0 and images/."""
    pycolmap.set_random_seed(0)
    options = pycolmap.SyntheticDatasetOptions(
        num_rigs=1, num_cameras_per_rig=1, num_frames_per_rig=4, num_points3D=30, num_points2D_without_point3D=3
    )
    options.camera_width, options.camera_height = 40, 30
    options.camera_model_id = pycolmap.CameraModelId.__members__[model]
    options.camera_params = list(params)
    reconstruction = pycolmap.synthesize_dataset(options)
    sparse = folder / "sparse" / "0"
    sparse.mkdir(parents=True)
    (reconstruction.write_text if text else reconstruction.write_binary)(str(sparse))
    for i, image in enumerate(sorted(reconstruction.images.values(), key=lambda image: image.name)):
        write_photo(folder / "images" / image.name, seed=i, format="PNG")
    return reconstruction


def random_gaussians(n: int, degree: int, seed: int = 0) -> Gaussians:
    generator = torch.Generator().manual_seed(seed)
    shapes = ((n, 3), (n, 4), (n, 3), (n,), (n, (degree + 1) ** 2, 3))
    return Gaussians(*(torch.randn(shape, generator=generator) for shape in shapes))


def random_points(n: int, n_views: int, seed: int = 0) -> PointCloud:
    generator = torch.Generator().manual_seed(seed)
    seen = (torch.rand(n, n_views, generator=generator) < 0.5).nonzero()
    rgb = torch.randint(0, 256, (n, 3), generator=generator, dtype=torch.uint8)
    return PointCloud(torch.randn(n, 3, generator=generator), rgb, seen[:, 0], seen[:, 1], metric=True)
