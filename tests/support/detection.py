"""Small SparseFusion networks, and samples that follow from formulas: six level or tilted cameras, boxes, points."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from fewview.detect.sparsefusion.augment import Augmentation
from fewview.detect.sparsefusion.config import SparseFusionConfig, preset
from fewview.detect.sparsefusion.driving_batch import Batch
from fewview.detect.sparsefusion.prepare import collate, fit_images, prepare
from fewview.detect.tasks.camera_objects import camera_objects
from fewview.detect.tasks.driving_sample import DrivingSample
from fewview.detect.tasks.driving_task import CLASS_NAMES
from fewview.scene.boxes import Boxes
from fewview.scene.cameras import Cameras
from scipy.spatial.transform import Rotation
from torch import Tensor

# Stages of eight image channels at least: with fewer, oneDNN 3.12 (PyTorch 2.14) writes beyond its memory in the
# backward pass of the strided shortcut on processors with AVX2 and without AVX-512.
SMALLEST = replace(
    preset("tiny"),
    voxel_m=(0.9, 0.9, 0.4),
    image_width_px=128,
    image_height_px=96,
    encoder_channels=(4, 6, 8),
    # oneDNN writes past its memory where a strided 1 x 1 convolution has 4 or 6 input channels, on AVX2 alone.
    light_channels=(8, 8, 8, 8),
    neck_channels=8,
    bev_channels=(8, 8),
    bev_layers=1,
    bev_neck_channels=8,
    hidden_channels=16,
    attention_heads=2,
    ffn_channels=16,
    head_channels=8,
    lidar_queries=12,
    image_queries=14,
    epochs=2,
    batch_size=2,
    balance_classes=False,
)
YAWS_DEG = (55.0, 0.0, -55.0, -110.0, 180.0, 110.0)  # in the order of CAMERA_ORDER, to the left of straight ahead
WIDTH, HEIGHT, FOCAL_PX = 160, 90, 126.0


def six_cameras(tilt_deg: float = 0.0) -> Cameras:
    """Around the LiDAR, whose y is forward; `tilt_deg` lowers each view, so that no camera is level."""
    poses = []
    for i, yaw in enumerate(YAWS_DEG):
        # Camera x right, y down, z forward along the LiDAR's +y.
        level = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
        turned = level @ Rotation.from_euler("z", -yaw, degrees=True).as_matrix()
        turned = Rotation.from_euler("x", -tilt_deg, degrees=True).as_matrix() @ turned
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = turned, -turned @ np.array([0.1 * i, 0.3, -0.3])
        poses.append(torch.from_numpy(pose).float())
    return Cameras.pinhole(torch.stack(poses), FOCAL_PX, WIDTH, HEIGHT)


def random_boxes(random: np.random.Generator, count: int = 12) -> Boxes:
    """In the LiDAR's frame, none too near, all inside of the point range."""
    angle, away = random.uniform(-math.pi, math.pi, count), random.uniform(6, 45, count)
    centers = np.stack([away * np.cos(angle), away * np.sin(angle), random.uniform(-1.5, 0.5, count)], axis=1)
    velocities = np.concatenate([random.normal(0, 3, (count, 2)), np.zeros((count, 1))], axis=1)
    return Boxes.upright(
        torch.from_numpy(centers).float(),
        torch.from_numpy(random.uniform(0.5, 5, (count, 3))).float(),
        torch.from_numpy(random.uniform(-math.pi, math.pi, count)).float(),
        torch.from_numpy(random.integers(0, len(CLASS_NAMES), count)),
        CLASS_NAMES,
        velocities=torch.from_numpy(velocities).float(),
        point_counts=torch.ones(count, 2, dtype=torch.int64),
    )


def make_sample(seed: int = 0, points: int = 1500, tilt_deg: float = 0.0, boxes: int = 12) -> DrivingSample:
    random = np.random.default_rng(seed)
    cameras, truth = six_cameras(tilt_deg), random_boxes(random, boxes)
    xyz = np.concatenate([random.uniform(-50, 50, (points, 2)), random.uniform(-3, 1, (points, 1))], axis=1)
    lag = np.where(np.arange(points) < points // 2, 0.0, 0.05)
    columns = np.concatenate([xyz, random.uniform(0, 255, (points, 1)), lag[:, None]], axis=1)
    images = random.integers(0, 255, (6, HEIGHT, WIDTH, 3), dtype=np.uint8)
    return DrivingSample(
        token=f"sample-{seed}",
        points=torch.from_numpy(columns).float(),
        cameras=cameras,
        load_images=lambda: images,
        boxes=truth,
        timestamp_us=seed,
        ego_from_lidar=torch.eye(4, dtype=torch.float64),
        global_from_ego=torch.eye(4, dtype=torch.float64),
        camera_objects=camera_objects(truth, cameras),
    )


def make_batch(
    config: SparseFusionConfig, seeds: tuple[int, ...] = (0, 1), change: Augmentation | None = None
) -> Batch:
    samples = [make_sample(seed) for seed in seeds]
    return collate([prepare(s, fit_images(s.load_images(), config), config, change) for s in samples], config)


@dataclass(frozen=True)
class MadeSamples:
    """Samples for the trainer."""

    count: int

    @property
    def tokens(self) -> tuple[str, ...]:
        return tuple(f"sample-{i}" for i in range(self.count))

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> DrivingSample:
        return make_sample(index)


def project(cam_from_lidar: Tensor, K: Tensor, point: Tensor) -> tuple[Tensor, Tensor]:
    """(pixel [2], depth []) of one point, by the definition."""
    local = cam_from_lidar[:3, :3] @ point + cam_from_lidar[:3, 3]
    pixel = K @ local
    return pixel[:2] / pixel[2], local[2]
