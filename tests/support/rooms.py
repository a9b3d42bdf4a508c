"""Empty rooms of six walls whose depths follow from a formula, with boxes in them that the photographs do not show."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from fewview.detect.imgeonet.config import ImGeoNetConfig, preset
from fewview.detect.tasks.room_sample import RoomSample
from fewview.scene.boxes import Boxes
from fewview.scene.cameras import Cameras
from fewview.scene.capture import Frame
from torch import Tensor

# As wide as `detection.SMALLEST` and for the same reason: oneDNN and narrow strided convolutions on AVX2 alone.
SMALLEST_ROOMS = replace(
    preset("tiny"),
    classes=("chair", "table", "bed"),
    voxels=(16, 16, 8),
    voxel_m=0.3,
    image_width_px=64,
    image_height_px=64,
    train_views=4,
    test_views=6,
    views_at_once=4,
    image_backbone="light",
    light_channels=(8, 8, 8, 8),
    image_frozen="none",
    feature_channels=8,
    occupancy_channels=8,
    head_channels=8,
    epochs=2,
    batch_size=2,
)
WIDTH, HEIGHT, FOCAL_PX = 64, 48, 40.0
LOW_M, HIGH_M = (-2.0, -1.8, 0.0), (2.1, 1.7, 2.3)  # of the walls, no multiples of a voxel's edge


def cameras_inside(count: int = 8, seed: int = 0) -> Cameras:
    """In the middle of the room, looking around and a little down."""
    random = np.random.default_rng(seed)
    poses = []
    for i in range(count):
        yaw = 2 * math.pi * i / count + random.uniform(-0.2, 0.2)
        eye = np.array([random.uniform(-0.7, 0.7), random.uniform(-0.7, 0.7), 1.4])
        forward = np.array([math.cos(yaw), math.sin(yaw), -0.35])
        forward /= np.linalg.norm(forward)
        right = np.cross(forward, [0, 0, 1])
        right /= np.linalg.norm(right)
        turn = np.stack([right, np.cross(forward, right), forward])
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = turn, -turn @ eye
        poses.append(torch.from_numpy(pose).float())
    return Cameras.pinhole(torch.stack(poses), FOCAL_PX, WIDTH, HEIGHT)


def wall_depth(camera: Cameras) -> np.ndarray:
    """float32 [H, W]: along the optical axis from a camera inside to the walls."""
    world_from_cam = camera.world_from_cam.double().numpy()
    v, u = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    rays = np.stack([(u - WIDTH / 2) / FOCAL_PX, (v - HEIGHT / 2) / FOCAL_PX, np.ones_like(u)], axis=-1)
    along = rays @ world_from_cam[:3, :3].T
    eye = world_from_cam[:3, 3]
    with np.errstate(divide="ignore"):
        to_walls = np.where(along > 0, (HIGH_M - eye) / along, (LOW_M - eye) / along)
    return to_walls.min(axis=-1).astype(np.float32)


def made_room(seed: int = 0, views: int = 8, classes: tuple[str, ...] = SMALLEST_ROOMS.classes) -> RoomSample:
    random = np.random.default_rng(seed)
    cameras = cameras_inside(views, seed)
    images = random.integers(0, 255, (views, HEIGHT, WIDTH, 3), dtype=np.uint8)
    depths = [wall_depth(cameras[i]) for i in range(views)]
    frames = tuple(
        Frame(f"{i}.png", WIDTH, HEIGHT, partial(_item, images, i), load_depth=partial(_item, depths, i))
        for i in range(views)
    )
    return RoomSample(
        token=f"room-{seed}",
        cameras=cameras,
        frames=frames,
        points=torch.zeros(1, 3),
        boxes=room_boxes(random, classes),
    )


def _item(values, i: int):
    return values[i]


def room_boxes(random: np.random.Generator, classes: tuple[str, ...], count: int = 4) -> Boxes:
    centers = random.uniform((-1.5, -1.5, 0.3), (1.5, 1.5, 1.2), (count, 3))
    return Boxes.upright(
        torch.from_numpy(centers).float(),
        torch.from_numpy(random.uniform(0.4, 1.6, (count, 3))).float(),
        torch.zeros(count),
        torch.from_numpy(random.integers(0, len(classes), count)),
        classes,
    )


@dataclass(frozen=True)
class MadeRooms:
    """Samples for the trainer."""

    count: int
    classes: tuple[str, ...] = SMALLEST_ROOMS.classes

    @property
    def tokens(self) -> tuple[str, ...]:
        return tuple(f"room-{i}" for i in range(self.count))

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> RoomSample:
        return made_room(index, classes=self.classes)


def random_rows(random: np.random.Generator, count: int, yaw: bool = True) -> Tensor:
    """[count, 7] float64 boxes that often overlap: centre, size, yaw."""
    rows = np.concatenate(
        [
            random.uniform(-1.5, 1.5, (count, 3)),
            random.uniform(0.2, 2.5, (count, 3)),
            random.uniform(-4, 4, (count, 1)) * yaw,
        ],
        axis=1,
    )
    return torch.from_numpy(rows)


def small_config(**changes) -> ImGeoNetConfig:
    return replace(SMALLEST_ROOMS, **changes)
