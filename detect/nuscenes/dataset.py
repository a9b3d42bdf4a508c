"""`DetectionData`: the samples of a nuScenes-format folder as a LiDAR-camera detector wants them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from ...scene.boxes import Boxes
from ...scene.capture import Capture
from ...scene.driving import DrivingFrame, LidarPoints
from ...scene.errors import BadInputError
from ...scene.nuscenes_classes import DETECTION_NAMES, detection_labels
from ...scene.readers.nuscenes import CAMERA_ORDER, NuScenes
from .camera_objects import camera_objects
from .sample import CLASS_NAMES, DetectionSample
from .splits import split_samples
from .truth import Truth

SWEEPS = 10  # before the key sweep: half a second at 20 Hz


class DetectionData:
    """A split's samples, each read only when asked for; the tables are read once and then mapped from a cache.

    Indexing gives `DetectionSample`s. Workers of a torch DataLoader may share it.
    """

    def __init__(
        self,
        path: Path | str,
        split: str | Path | Sequence[str] = "all",
        *,
        sweeps: int = SWEEPS,
        cache: Path | None = None,
    ) -> None:
        """`split` as in `split_samples`; `cache` is a folder, the user's own unless given. Raises BadInputError."""
        self.source = NuScenes(path, cache)
        self.samples = split_samples(self.source, split)
        self.sweeps = sweeps
        self._new_labels = _labels([name.decode() for name in self.source.tables.category])

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> DetectionSample:
        """Raises BadInputError for files of the sample that are absent or damaged, or when it lacks a camera."""
        frame = self.source.frame(self.samples[index], self.sweeps + 1)
        cameras = frame.capture.cameras
        if cameras is None or tuple(frame.capture.names) != CAMERA_ORDER:
            found = ", ".join(frame.capture.names) or "none"
            raise BadInputError(
                f"The sample {frame.token} of {self.source.folder} has these cameras: {found}; a detector needs "
                f"{', '.join(CAMERA_ORDER)}."
            )
        boxes = None if frame.truth is None else self._learnable(frame)
        return DetectionSample(
            frame.token,
            frame.timestamp_us,
            _five_columns(frame.points),
            partial(load_images, frame.capture),
            cameras,
            frame.ego_from_lidar,
            frame.global_from_ego,
            boxes,
            None if boxes is None else camera_objects(boxes, cameras),
        )

    @property
    def tokens(self) -> tuple[str, ...]:
        return tuple(self.source.tokens[i] for i in self.samples)

    def truth(self) -> Truth:
        """What predictions for these samples are measured against."""
        return Truth.of(self.source, self.samples)

    def class_balanced(self, seed: int) -> list[int]:
        """Indices of one epoch in which every class that occurs has about the same number of samples (CBGS).

        For each class, samples that contain it are drawn with replacement until all classes have as many as the
        classes have on average. Source: B. Zhu et al., "Class-balanced Grouping and Sampling for Point Cloud 3D Object
        Detection", 2019, section 3.1, as MMDetection3D does it for SparseFusion. Grouped by class; shuffle it.
        """
        t = self.source.tables
        if not t.annotated[0]:
            raise BadInputError(f"{self.source.folder} has no annotations, so its classes cannot be balanced.")
        holding: list[list[int]] = [[] for _ in CLASS_NAMES]
        for index, sample in enumerate(self.samples):
            rows = slice(int(t.box_start[sample]), int(t.box_start[sample + 1]))
            labels = self._new_labels[t.box_category[rows]][t.box_points[rows, 0] > 0]
            for label in np.unique(labels[labels >= 0]):
                holding[label].append(index)
        generator = np.random.default_rng(seed)
        share = sum(map(len, holding)) / len(CLASS_NAMES)
        drawn = [generator.choice(held, int(share)) for held in holding if held]
        return [int(i) for part in drawn for i in part]

    def _learnable(self, frame: DrivingFrame) -> Boxes:
        """Annotations of the ten classes that the LiDAR has hit, with all velocities known (0 where they are not)."""
        truth = frame.truth
        assert truth is not None
        assert truth.point_counts is not None
        assert truth.velocities is not None
        boxes = Boxes(
            truth.centers, truth.sizes, truth.quats, torch.from_numpy(self._new_labels)[truth.labels], CLASS_NAMES,
            None, truth.velocities.nan_to_num(), truth.point_counts, truth.attributes, truth.tokens,
        )  # fmt: skip
        return boxes[(boxes.labels >= 0) & (truth.point_counts[:, 0] > 0)]


def load_images(capture: Capture) -> np.ndarray:
    """uint8 [V, H, W, 3] RGB of all photographs. Raises BadInputError when they differ in size or are damaged."""
    images = [frame.load()[..., :3] for frame in capture.frames]
    sizes = {image.shape[:2] for image in images}
    if len(sizes) > 1:
        shown = ", ".join(f"{width} x {height}" for height, width in sorted(sizes))
        raise BadInputError(f"The photographs of one sample in {capture.source} differ in size: {shown} pixels.")
    return np.stack(images)


def _labels(categories: Sequence[str]) -> np.ndarray:
    """int64 [categories] into CLASS_NAMES, -1 for what is not detected."""
    order = np.array([*(CLASS_NAMES.index(name) for name in DETECTION_NAMES), -1])
    return order[detection_labels(categories)]


def _five_columns(points: LidarPoints) -> torch.Tensor:
    return torch.cat([points.xyz, points.intensity[:, None], points.lag_s[:, None]], dim=1)
