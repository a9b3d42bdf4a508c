"""`Truth`: the annotated boxes that count in the nuScenes detection metric, and the filter that all boxes pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ...scene.boxes import Boxes
from ...scene.datasets.nuscenes_classes import ATTRIBUTES, DETECTION_NAMES, as_detection_classes, detection_labels
from ...scene.datasets.nuscenes_log import NuScenes
from ...scene.datasets.nuscenes_results import Results
from ...scene.datasets.nuscenes_tables import LIDAR
from ...scene.errors import BadInputError
from ..tasks.driving_task import CLASS_RANGE_M

RANGE_M = tuple(CLASS_RANGE_M[name] for name in DETECTION_NAMES)
RACK = "static_object.bicycle_rack"
RACKED = tuple(DETECTION_NAMES.index(name) for name in ("bicycle", "motorcycle"))


@dataclass(frozen=True)
class FlatBoxes:
    """B boxes of all samples in one table: global frame, float64, in the order of the samples."""

    sample: np.ndarray  # [B] int64, row of the truth's samples
    label: np.ndarray  # [B] int64 into DETECTION_NAMES
    center: np.ndarray  # [B, 3]
    size_wlh: np.ndarray  # [B, 3]
    yaw: np.ndarray  # [B] radians
    velocity: np.ndarray  # [B, 2] m/s, NaN where unknown
    attribute: np.ndarray  # [B] int64: 0 for none, else one more than the row of ATTRIBUTES; -1 for another
    score: np.ndarray  # [B]

    def __len__(self) -> int:
        return len(self.sample)

    def __getitem__(self, index: np.ndarray) -> FlatBoxes:
        return FlatBoxes(*(value[index] for value in vars(self).values()))


@dataclass(frozen=True)
class Truth:
    """The boxes that predictions for S samples are measured against. Made once, it serves any number of evaluations."""

    tokens: tuple[str, ...]  # S
    boxes: FlatBoxes
    ego_xy: np.ndarray  # [S, 2] the car in the global frame at the key sweep's time
    rack_sample: np.ndarray  # [R] int64
    rack_corners: np.ndarray  # [R, 8, 3] of bicycle racks, in the order of `scene.boxes.CORNERS`

    @classmethod
    def of(cls, data: NuScenes, samples: Sequence[int] | None = None) -> Truth:
        """The truth of a data set's samples (by number, all of them unless given).

        Raises BadInputError when there are no annotations, or no LiDAR key frame in a sample.
        """
        t = data.tables
        if not t.annotated[0]:
            raise BadInputError(
                f"{data.folder} has no annotations, as the official test split has none, so nothing can be measured "
                "there; choose a split with annotations."
            )
        rows = np.arange(len(data)) if samples is None else np.asarray(samples, np.int64)
        if not len(rows):
            raise BadInputError(f"No sample of {data.folder} was chosen, so there is nothing to measure.")
        channel = np.flatnonzero(t.channel == LIDAR.encode())
        key = t.key_file[rows, channel[0]] if len(channel) else np.full(len(rows), -1)
        if (key < 0).any():
            token = data.tokens[int(rows[key < 0][0])]
            raise BadInputError(f"The sample {token} of {data.folder} has no key frame of {LIDAR}.")
        counts = t.box_start[rows + 1] - t.box_start[rows]
        if not counts.any():
            raise BadInputError(
                f"None of the {len(rows)} samples of {data.folder} that were chosen has an annotation, so nothing can "
                "be measured; choose a split with annotations."
            )
        sample = np.repeat(np.arange(len(rows)), counts)
        first = np.repeat(t.box_start[rows] - (np.cumsum(counts) - counts), counts)
        box = first + np.arange(len(sample))
        names = [name.decode() for name in t.category]
        racks = np.flatnonzero(np.isin(t.box_category[box], [i for i, n in enumerate(names) if n == RACK]))
        truth = cls(
            tuple(data.tokens[int(row)] for row in rows),
            _annotated(data, box, sample),
            np.asarray(t.file_pose[key, :2]),
            sample[racks],
            _corners(t.box_pose[box[racks]], t.box_size_wlh[box[racks]]),
        )
        return cls(**{**vars(truth), "boxes": truth.counting(truth.boxes)})

    def predictions(self, found: Mapping[str, Boxes]) -> FlatBoxes:
        """The boxes of these samples that count, in the order of `found`; classes other than the ten are left out."""
        row = {token: i for i, token in enumerate(self.tokens)}
        if isinstance(found, Results):
            boxes = found.boxes
            lengths = [found.rows[token].stop - found.rows[token].start for token in found]
        else:
            parts = [as_detection_classes(boxes).to("cpu").to(torch.float64) for boxes in found.values()]
            lengths = [len(part) for part in parts]
            boxes = Boxes.cat([part for part in parts if len(part)] or [Boxes.empty(DETECTION_NAMES, torch.float64)])
        sample = np.repeat(np.array([row[token] for token in found], np.int64), lengths)
        flat = _flat(boxes, sample)
        return self.counting(flat[flat.label >= 0])

    def counting(self, boxes: FlatBoxes) -> FlatBoxes:
        """Those in the range of their class; bicycles and motorcycles only outside of bicycle racks."""
        away = boxes.center[:, :2] - self.ego_xy[boxes.sample]
        keep = np.sqrt((away**2).sum(axis=1)) < np.array(RANGE_M)[boxes.label]
        two_wheels = np.flatnonzero(keep & np.isin(boxes.label, RACKED))
        order = np.argsort(self.rack_sample, kind="stable")
        low, high = (
            np.searchsorted(self.rack_sample[order], boxes.sample[two_wheels], side) for side in ("left", "right")
        )
        box, rack = all_pairs(low, high)
        inside = _inside(boxes.center[two_wheels[box]], self.rack_corners[order[rack]])
        keep[two_wheels[box[inside]]] = False
        return boxes[keep]


def all_pairs(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(i, k) for each i and each k from low[i] to high[i]: what belongs together after two np.searchsorted."""
    count = high - low
    i = np.repeat(np.arange(len(count)), count)
    return i, np.arange(len(i)) - np.repeat(np.cumsum(count) - count, count) + low[i]


def _annotated(data: NuScenes, box: np.ndarray, sample: np.ndarray) -> FlatBoxes:
    """Annotations of the ten classes, without those that no LiDAR or radar point has hit."""
    t = data.tables
    of_category = np.array(detection_labels([name.decode() for name in t.category]))
    attributes = [name.decode() for name in t.attribute]
    of_attribute = np.array([0, *(_attribute(name) for name in attributes)])
    points = t.box_points[box]
    label = of_category[t.box_category[box]]
    # A table that lacks both counts says -1 twice: its boxes count.
    keep = np.flatnonzero((label >= 0) & (np.where(points < 0, 0, points).any(axis=1) | (points < 0).all(axis=1)))
    box = box[keep]
    return FlatBoxes(
        sample[keep],
        label[keep],
        np.asarray(t.box_pose[box, :3]),
        np.asarray(t.box_size_wlh[box]),
        _yaw(t.box_pose[box, 3:]),
        np.asarray(t.box_velocity[box, :2]),
        of_attribute[t.box_attribute[box] + 1],
        np.full(len(box), -1.0),
    )


def _flat(boxes: Boxes, sample: np.ndarray) -> FlatBoxes:
    if len(boxes) and boxes.scores is None:
        raise ValueError("expected boxes with scores")
    n = len(boxes)
    known = {name: _attribute(name) for name in set(boxes.attributes or ())}
    return FlatBoxes(
        sample,
        boxes.labels.numpy(),
        boxes.centers.double().numpy(),
        boxes.sizes.double().numpy()[:, [1, 0, 2]],
        _yaw(boxes.quats.double().numpy()),
        np.zeros((n, 2)) if boxes.velocities is None else boxes.velocities[:, :2].double().numpy(),
        np.array([known[name] for name in boxes.attributes or [""] * n], np.int64) if known else np.zeros(n, np.int64),
        np.zeros(0) if boxes.scores is None else boxes.scores.double().numpy(),
    )


def _attribute(name: str) -> int:
    return 0 if name == "" else ATTRIBUTES.index(name) + 1 if name in ATTRIBUTES else -1


def _yaw(wxyz: np.ndarray) -> np.ndarray:
    """[B] the heading's angle in the ground plane."""
    w, x, y, z = (np.asarray(wxyz) / np.linalg.norm(wxyz, axis=1, keepdims=True)).T
    return np.arctan2(2 * (x * y + w * z), w * w + x * x - y * y - z * z)


def _corners(pose: np.ndarray, size_wlh: np.ndarray) -> np.ndarray:
    numbers = torch.tensor(np.concatenate([pose, size_wlh], axis=1))
    none = torch.zeros(len(numbers), dtype=torch.int64)
    return Boxes(numbers[:, :3], numbers[:, [8, 7, 9]], numbers[:, 3:7], none, ("rack",)).corners.numpy()


def _inside(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """bool [P]: which points [P, 3] lie in or on their box [P, 8, 3], decided along three edges as the devkit does."""
    from_corner = (points - corners[:, 0])[:, None]
    inside = np.ones(len(points), bool)
    for neighbour in (4, 1, 3):
        edge = (corners[:, neighbour] - corners[:, 0])[..., None]
        along, length = (np.matmul(a, edge)[:, 0, 0] for a in (from_corner, edge.transpose(0, 2, 1)))
        inside &= (along >= 0) & (along <= length)
    return inside
