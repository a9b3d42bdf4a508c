"""Driving samples: those of a nuScenes-format folder, or single key frames of an info file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...scene.datasets.mmdet3d_info import read_info
from ...scene.datasets.nuscenes_classes import detection_labels
from ...scene.datasets.nuscenes_log import NuScenes
from ...scene.driving import DrivingLog
from ...scene.errors import BadInputError
from ...scene.progress import Progress, silent
from .driving_sample import DrivingSample
from .driving_task import CLASS_NAMES
from .nuscenes_splits import split_samples
from .sample_of_frame import NEW_LABELS, sample_of

MAX_SWEEPS = 1000  # more would be most of a drive
SWEEPS = 10  # before the key sweep: half a second at 20 Hz


class NuScenesSamples:
    """A split's samples, each read only when asked for; the tables are read once and then mapped from a cache.

    Indexing gives `DrivingSample`s. Workers of a torch DataLoader may share it.
    """

    def __init__(
        self,
        path: Path | str,
        split: str | Path | Sequence[str] = "all",
        *,
        sweeps: int = SWEEPS,
        photographs: bool = True,
        cache: Path | None = None,
        progress: Progress = silent,
    ) -> None:
        """`split` as in `split_samples`; `cache` is a folder, the user's own unless given.

        Without `photographs` no camera is looked at. Raises BadInputError.
        """
        self.source = NuScenes(path, cache, progress)
        self.samples = split_samples(self.source, split)
        self.sweeps, self.photographs = sweeps, photographs

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> DrivingSample:
        """Raises BadInputError for files of the sample that are absent or damaged."""
        return sample_of(self.source.frame(self.samples[index], self.sweeps + 1, self.photographs))

    @property
    def tokens(self) -> tuple[str, ...]:
        return tuple(self.source.tokens[i] for i in self.samples)

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about what is missing or in another form. Looks for every LiDAR file."""
        return self.source.input_notes(self.samples, self.sweeps + 1)

    @property
    def annotated(self) -> bool:
        return bool(self.source.tables.annotated[0])

    @property
    def learnable_boxes(self) -> int:
        """Annotations of the ten classes with a LiDAR point inside, over all samples."""
        t, labels_of = self.source.tables, self._labels_of_categories()
        rows = [slice(int(t.box_start[i]), int(t.box_start[i + 1])) for i in self.samples]
        return int(sum(((labels_of[t.box_category[r]] >= 0) & (t.box_points[r, 0] != 0)).sum() for r in rows))

    def _labels_of_categories(self) -> np.ndarray:
        """int64 [N] into CLASS_NAMES of the data set's own categories, -1 for others."""
        names = [name.decode() for name in self.source.tables.category]
        return np.array(NEW_LABELS)[np.asarray(detection_labels(names), np.int64)]

    def class_balanced(self, seed: int) -> list[int]:
        """Indices of one epoch in which every class that occurs has about the same number of samples (CBGS).

        For each class, samples that contain it are drawn with replacement until all classes have as many as the
        classes have on average. Source: B. Zhu et al., "Class-balanced Grouping and Sampling for Point Cloud 3D Object
        Detection", 2019, section 3.1, as MMDetection3D does it for SparseFusion. Grouped by class; shuffle it.
        """
        t = self.source.tables
        if not t.annotated[0]:
            raise BadInputError(f"{self.source.folder} has no annotations, so its classes cannot be balanced.")
        labels_of = self._labels_of_categories()
        holding: list[list[int]] = [[] for _ in CLASS_NAMES]
        for index, sample in enumerate(self.samples):
            rows = slice(int(t.box_start[sample]), int(t.box_start[sample + 1]))
            labels = labels_of[t.box_category[rows]][t.box_points[rows, 0] != 0]
            for label in np.unique(labels[labels >= 0]):
                holding[label].append(index)
        generator = np.random.default_rng(seed)
        share = sum(map(len, holding)) / len(CLASS_NAMES)
        drawn = [generator.choice(held, int(share)) for held in holding if held]
        return [int(i) for part in drawn for i in part]


@dataclass(frozen=True)
class LogSamples:
    """The key frames of a log as samples. What cannot be used is said when it is read."""

    log: DrivingLog
    annotated = False  # as far as is known before a frame is read

    @property
    def tokens(self) -> tuple[str, ...]:
        return self.log.tokens

    @property
    def notes(self) -> tuple[str, ...]:
        return self.log.notes

    def __len__(self) -> int:
        return len(self.log)

    def __getitem__(self, index: int) -> DrivingSample:
        return sample_of(self.log[index])


def open_driving_samples(
    path: Path, sweeps: int, split: str = "all", photographs: bool = True
) -> NuScenesSamples | LogSamples:
    """The samples at `path`, of up to so many LiDAR sweeps each. An info file has no splits. Raises BadInputError."""
    if path.is_dir():
        return NuScenesSamples(path, split, sweeps=sweeps - 1, photographs=photographs)
    if split != "all":
        raise BadInputError(f"{path} is no folder in the nuScenes format, so it has no split {split!r}; leave it out.")
    return LogSamples(read_info(path, sweeps, photographs))
