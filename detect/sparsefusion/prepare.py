"""A key frame to what the network sees of it: pictures of its size, cameras to match, and targets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from torch import Tensor

from ..tasks.driving_sample import DrivingSample
from .augment import Augmentation, ImageChange
from .coder import encode_camera_boxes
from .config import SparseFusionConfig
from .driving_batch import Batch, Sightings, Targets, Views

MEAN_RGB = (123.675, 116.28, 103.53)
STD_RGB = (58.395, 57.12, 57.375)
SMOOTH_SHRINK = 2.5  # from this factor on each new pixel is the mean of the old ones that it covers


@dataclass(frozen=True)
class Prepared:
    """One sample of a `Batch`."""

    token: str
    points: Tensor  # [P, 5]
    images: Tensor  # [V, 3, H, W]
    cam_from_lidar: Tensor  # [V, 4, 4]
    K: Tensor  # [V, 3, 3]
    valid_px: Tensor  # [V, 2]
    targets: Targets | None


def fitted_size(width: int, height: int, config: SparseFusionConfig) -> tuple[int, int]:
    """Width and height of a picture that fills the network's input without changing its shape; the rest is padding."""
    scale = min(config.image_width_px / width, config.image_height_px / height)
    return int(width * scale + 0.5), int(height * scale + 0.5)


def fit_images(images: np.ndarray, config: SparseFusionConfig) -> np.ndarray:
    """uint8 [V, h, w, 3] of the fitted size, for pictures [V, H, W, 3]."""
    if not len(images):
        return np.zeros((0, config.image_height_px, config.image_width_px, 3), np.uint8)
    size = fitted_size(images.shape[2], images.shape[1], config)
    way = cv2.INTER_AREA if images.shape[2] / size[0] > SMOOTH_SHRINK else cv2.INTER_LINEAR
    return np.stack([cv2.resize(image, size, interpolation=way) for image in images])


def prepare(
    sample: DrivingSample,
    fitted: np.ndarray | None,  # uint8 [V, h, w, 3] of `fit_images`; None where no images are used
    config: SparseFusionConfig,
    augmentation: Augmentation | None = None,
    order: Tensor | None = None,  # [P] a permutation of the points
) -> Prepared:
    n_views = len(sample.cameras)
    change = augmentation or Augmentation.none(n_views)
    cameras = sample.cameras
    width, height = config.image_width_px, config.image_height_px
    if n_views:
        width, height = fitted_size(int(cameras.width[0]), int(cameras.height[0]), config)
    resize = torch.stack([width / cameras.width, height / cameras.height, torch.ones(n_views)], dim=1).double()
    K = torch.zeros(n_views, 3, 3, dtype=torch.float64)
    for v in range(n_views):
        K[v] = change.images.matrix(v, width, height) @ (resize[v][:, None] * cameras.K[v].double())
    if change.images.mirrored:
        K[:, 0, 0] = -K[:, 0, 0]  # the mirrored axis is the camera's own, see Augmentation.cam_from_lidar
    pose = change.cam_from_lidar(cameras.cam_from_world)
    valid = torch.tensor([change.images.valid_px(v, width, height) for v in range(n_views)]).reshape(n_views, 2)
    points = change.points(sample.points)
    images = torch.zeros(n_views, 3, 0, 0)
    if fitted is not None:
        images = normalise(fitted, change.images, config)
    targets = None if sample.boxes is None else _targets(sample, change, pose, K, valid, resize, config)
    return Prepared(
        sample.token,
        points if order is None else points[order],
        images,
        pose.float(),
        K.float(),
        valid,
        targets,
    )


def normalise(fitted: np.ndarray, change: ImageChange, config: SparseFusionConfig) -> Tensor:
    """[V, 3, H, W] of the network's size. Padding is 0, which is the mean colour."""
    views, height, width, _ = fitted.shape
    out = torch.zeros(views, 3, config.image_height_px, config.image_width_px)
    mean, std = torch.tensor(MEAN_RGB), torch.tensor(STD_RGB)
    for v, image in enumerate(fitted):
        if change.mirrored or change.scales[v] != 1:
            matrix = change.matrix(v, width, height)
            # Our pixel centres are at + 0.5, those of cv2 at whole numbers.
            matrix[:2, 2] += matrix[:2, :2].sum(dim=1) / 2 - 0.5
            image = cv2.warpAffine(image, matrix[:2].numpy(), (width, height), borderValue=MEAN_RGB)
        w, h = (math.floor(side) for side in change.valid_px(v, width, height))
        pixels = torch.from_numpy(np.ascontiguousarray(image[:h, :w])).float()
        out[v, :, :h, :w] = ((pixels - mean) / std).permute(2, 0, 1)
    return out


def _targets(
    sample: DrivingSample,
    change: Augmentation,
    pose: Tensor,
    K: Tensor,
    valid: Tensor,
    resize: Tensor,  # [V, 3]
    config: SparseFusionConfig,
) -> Targets:
    """Boxes inside of the point range, and sightings of these whose centres are still in their images.

    Sightings are computed anew from the moved boxes and cameras, so both cannot disagree.
    """
    assert sample.boxes is not None
    assert sample.camera_objects is not None
    boxes = change.boxes(sample.boxes.to(torch.float64))
    seen = sample.camera_objects
    size = config.image_width_px, config.image_height_px
    codes = encode_camera_boxes(boxes[seen.boxes], pose[seen.views], K[seen.views], *size)
    pixels = codes[:, :2] * codes.new_tensor(size)
    low, high = boxes.centers.new_tensor(config.point_range_m[:2]), boxes.centers.new_tensor(config.point_range_m[3:5])
    near = ((boxes.centers[:, :2] > low) & (boxes.centers[:, :2] < high)).all(dim=1)
    # What lies beyond the bird's-eye view cannot be a target of any later stage, so the image stage leaves it out, too.
    inside = ((pixels > 0) & (pixels < valid[seen.views])).all(dim=1) & (codes[:, 2] > 0) & near[seen.boxes]
    visible = torch.zeros(len(boxes), dtype=torch.bool)
    visible[seen.boxes[inside]] = True
    sizes = _rect_sizes(seen.rects_px.double(), seen.views, change.images, resize, valid, sample)
    sightings = Sightings(seen.views[inside], seen.labels[inside], codes[inside].float(), sizes[inside].float())
    return Targets(boxes[near].to(torch.float32), sightings, visible[near])


def _rect_sizes(
    rects: Tensor, views: Tensor, change: ImageChange, resize: Tensor, valid: Tensor, sample: DrivingSample
) -> Tensor:
    """[M, 2] width and height of 2D boxes after the change, cut at the new image's border."""
    if not len(rects):
        return torch.zeros(0, 2)
    width, height = (
        (resize[0, :2] * torch.stack([sample.cameras.width[0], sample.cameras.height[0]])).round()
    ).tolist()
    matrices = torch.stack([change.matrix(v, int(width), int(height)) for v in range(len(resize))])[views]
    corners = torch.stack([rects[:, :2] - rects[:, 2:] / 2, rects[:, :2] + rects[:, 2:] / 2], dim=1)
    corners = corners * resize[views, None, :2]
    moved = torch.einsum("mij,mkj->mki", matrices[:, :2, :2], corners) + matrices[:, None, :2, 2]
    moved = torch.minimum(moved.clamp(min=0), valid[views, None].to(moved))
    return (moved[:, 1] - moved[:, 0]).abs()


def collate(samples: Sequence[Prepared], config: SparseFusionConfig) -> Batch:
    """A batch, in which samples of fewer cameras than others, or of none, get blank views that show nothing."""
    n_views = max(1, *(len(s.K) for s in samples))
    samples = [_with_blank_views(s, n_views - len(s.K)) for s in samples]
    views = Views(
        torch.stack([s.cam_from_lidar for s in samples]),
        torch.stack([s.K for s in samples]),
        torch.stack([s.valid_px for s in samples]),
        config.image_width_px,
        config.image_height_px,
    )
    targets = [s.targets for s in samples if s.targets is not None]
    return Batch(
        [s.points for s in samples],
        torch.stack([s.images for s in samples]),
        views,
        tuple(s.token for s in samples),
        tuple(targets) if len(targets) == len(samples) else None,
    )


def _with_blank_views(sample: Prepared, count: int) -> Prepared:
    images = torch.zeros(count, *sample.images.shape[1:])
    return replace(
        sample,
        images=torch.cat([sample.images, images]),
        cam_from_lidar=torch.cat([sample.cam_from_lidar, torch.eye(4).expand(count, 4, 4)]),
        K=torch.cat([sample.K, torch.eye(3).expand(count, 3, 3)]),
        valid_px=torch.cat([sample.valid_px, torch.zeros(count, 2)]),
    )


@dataclass(frozen=True)
class FittedSample:
    """A sample with its pictures in the network's size, before chance changes anything."""

    sample: DrivingSample
    images: np.ndarray | None  # uint8 [V, h, w, 3]; None where no images are used

    @property
    def nbytes(self) -> int:
        return self.sample.points.numel() * 4 + (0 if self.images is None else self.images.nbytes)


@dataclass(frozen=True)
class SparseFusionPreparation:
    """The `Preparation` of SparseFusion's batches."""

    config: SparseFusionConfig

    def read(self, sample: DrivingSample) -> FittedSample:
        return FittedSample(sample, fit_images(sample.load_images(), self.config) if self.config.use_images else None)

    def prepare(self, read: FittedSample, random: np.random.Generator | None = None) -> Prepared:
        if random is None:
            return prepare(read.sample, read.images, self.config)
        change = Augmentation.draw(random, self.config, len(read.sample.cameras))
        order = torch.from_numpy(random.permutation(len(read.sample.points)))
        return prepare(read.sample, read.images, self.config, change, order)

    def collate(self, prepared: Sequence[Prepared]) -> Batch:
        return collate(prepared, self.config)
