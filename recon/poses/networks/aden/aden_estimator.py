"""ADen as a pose estimator: photographs of one object, taken from all sides, to cameras."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .....scene.cameras import Cameras
from .....scene.capture import Capture, Frame
from .....scene.errors import FewviewError
from .....scene.geometry import Similarity
from .....scene.progress import Progress, silent
from ...focal_prior import UNKNOWN_FOCAL_RATIOS
from ...pose_estimator import PoseHypotheses, Poses
from ...world_frame import upright_from_world
from .aden_weights import load_aden
from .hypothesis_losses import rotation_distance
from .image_encoder import ImageEncoder
from .joint_selection import PairProposals, joint_poses, pose_of_added, propose_pairs, ranked_poses_of_added
from .model import Aden
from .object_crops import Box, box_of, central_box, crop, normalised, on_neutral
from .pose_targets import axes_crossing, cameras_of, poses_about

MOST_VIEWS = 12  # the number of pairs grows with its square, and training knew 8
MIN_COVERAGE = 0.002  # of a photograph's area, below which there is no object to be seen
MIN_CONTRAST = 1.0  # standard deviation of grey values (of 255) in a crop, below which it shows nothing
DISTINCT_DEG = 20.0  # between hypotheses that are told apart
MOST_HYPOTHESES = 8
FOCAL_RATIO = UNKNOWN_FOCAL_RATIOS[1]


@dataclass(frozen=True)
class SeenObject:
    """An object's crop in one photograph."""

    crop: np.ndarray  # [S, S, 3] uint8
    descriptor: Tensor  # [3]
    is_marked: bool  # by alpha or a mask; otherwise the photograph's middle was taken


@dataclass(frozen=True)
class AdenEstimator:
    """Cameras of 2 to 12 photographs of one object; see `PoseEstimator`.

    The object is what the alpha channel or the mask marks, else what fills the middle of the photograph. Focal lengths
    are EXIF's, or 1.1 of the longer side, and are not estimated; there are no points.
    """

    encoder: ImageEncoder
    network: Aden
    name: str = "ADen"

    @classmethod
    def load(cls, path: Path, device: torch.device | str = "cpu") -> AdenEstimator:
        """The estimator with the weights in a file of `scripts/train_priors/aden.py`. Raises BadInputError."""
        return cls(*load_aden(path, device), name=f"ADen ({path.name})")

    def place(self, capture: Capture, progress: Progress = silent) -> Poses:
        """Cameras of the photographs that show an object; the first of them is the reference of all others.

        `hypotheses` are other poses, more than 20 degrees from the chosen one and from each other; their score is the
        discriminator's probability within 15 degrees. On objects that training never saw that is not how often a pose
        is right, so there is no `confidence`. Raises FewviewError where fewer than two photographs
        show an object, or more than twelve are given.
        """
        started = time.monotonic()
        side, seconds = self.network.config.side_px, {}
        found: dict[int, SeenObject] = {}
        unplaced: dict[int, str] = {}
        for view, frame in enumerate(capture.frames):
            progress("cropping", view, len(capture), {})
            seen = seen_object(frame, side)
            if isinstance(seen, str):
                unplaced[view] = seen
            else:
                found[view] = seen
        held_out = [view for view in found if view in (capture.test or ())]
        train = [view for view in found if view not in held_out]
        if not 2 <= len(train) <= MOST_VIEWS:
            raise FewviewError(
                f"{len(train)} of the {len(capture)} photographs in {capture.source} show an object and are not held "
                f"out; ADen places 2 to {MOST_VIEWS}. {' '.join(unplaced.values())}".strip()
            )
        order = [*train, *held_out]
        crops = normalised(np.stack([found[view].crop for view in order]))
        tokens = self.encoder(crops, self.network.config.grid)
        descriptors = torch.stack([found[view].descriptor for view in order])
        seconds["features"] = time.monotonic() - started
        progress("comparing", 0, len(order), {})
        pairs = propose_pairs(self.network, tokens[: len(train)], descriptors[: len(train)])
        poses = list(joint_poses(pairs))
        for number in range(len(train), len(order)):  # each by itself, so that none changes another
            chosen = [*range(len(train)), number]
            more = propose_pairs(self.network, tokens[chosen], descriptors[chosen], [len(train)])
            poses.append(pose_of_added(more, torch.stack(poses[: len(train)])))
        seconds["poses"] = time.monotonic() - started - seconds["features"]
        return self._result(capture, order, torch.stack(poses), pairs, found, unplaced, seconds)

    def proposals(self, capture: Capture, poses: Poses, lost: Sequence[int]) -> dict[int, PoseHypotheses]:
        """Cameras of photographs that another system left unplaced, in the world of those that it placed.

        Each is compared with up to eleven of the placed photographs alone. Their score is the sum over all pairs of
        the discriminator's log-probabilities. Photographs in which no object is seen have no part in it.
        """
        side = self.network.config.side_px
        held_out = set(capture.test or ())
        known = [view for view in poses.placed if view not in held_out]
        known = [
            known[i * len(known) // min(len(known), MOST_VIEWS - 1)] for i in range(min(len(known), MOST_VIEWS - 1))
        ]
        seen = {view: seen_object(capture.frames[view], side) for view in [*known, *lost]}
        found = {view: item for view, item in seen.items() if isinstance(item, SeenObject)}
        known = [view for view in known if view in found]
        lost = [view for view in lost if view in found]
        if len(known) < 2 or not lost:
            return {}
        assert poses.capture.cameras is not None
        given = poses.capture.cameras.cam_from_world[[poses.placed.index(view) for view in known]].double()
        middle = axes_crossing(given)
        placed = poses_about(given, middle).float()
        order = [*known, *lost]
        tokens = self.encoder(normalised(np.stack([found[v].crop for v in order])), self.network.config.grid)
        descriptors = torch.stack([found[v].descriptor for v in order])
        result = {}
        for number, view in enumerate(lost, len(known)):
            chosen = [*range(len(known)), number]
            pairs = propose_pairs(self.network, tokens[chosen], descriptors[chosen], [len(known)])
            candidates, support = ranked_poses_of_added(pairs, placed)
            kept = _distinct(candidates)[:MOST_HYPOTHESES]
            matrices = cameras_of(candidates[kept].double())
            matrices[:, :3, 3] -= matrices[:, :3, :3] @ middle  # back from the world with the object at the origin
            cameras = Cameras.stack([_camera(matrix.float(), capture.frames[view]) for matrix in matrices])
            result[view] = PoseHypotheses(cameras, support[kept])
        return result

    def _result(
        self,
        capture: Capture,
        order: list[int],  # views of `poses`, the held-out ones last
        poses: Tensor,  # [len(order), 7]
        pairs: PairProposals,  # of the first ones
        found: dict[int, SeenObject],
        unplaced: dict[int, str],
        seconds: dict[str, float],
    ) -> Poses:
        train = order[: pairs.count]
        placed = sorted(order)
        matrices = dict(zip(order, cameras_of(poses), strict=True))
        upright = _upright(torch.stack([matrices[view] for view in train]))
        frames = capture.frames
        cameras = Cameras.stack([_camera(matrices[view], frames[view]) for view in placed]).transformed(upright)
        others = {
            view: hypotheses
            for number, view in enumerate(train)
            if number and (hypotheses := _hypotheses(pairs, poses, number, frames[view], upright)) is not None
        }
        subset = replace(capture.subset(placed), cameras=cameras, points=None)
        subset = replace(subset, notes=(*subset.notes, *(f"Not placed: {reason}" for reason in unplaced.values())))
        unmarked = [capture.names[view] for view in placed if not found[view].is_marked]
        notes = [f"Cameras come from {self.name}; focal lengths are EXIF's or 1.1 of the longer side."]
        if unmarked:
            notes.append(
                f"{len(unmarked)} photographs have no mask, so the object was taken to fill their middle: "
                f"{', '.join(unmarked[:3])}."
            )
        stats = {"photographs": len(capture), "placed": len(placed), "hypotheses": self.network.config.hypotheses}
        return Poses(subset, placed, unplaced, seconds, stats, hypotheses=others, notes=tuple(notes))


def seen_object(frame: Frame, side_px: int) -> SeenObject | str:
    """The object in a photograph, or a sentence why there is none."""
    pixels = frame.load()
    coverage = _coverage(frame, pixels)
    height, width = pixels.shape[:2]
    image = np.ascontiguousarray(pixels[..., :3])
    box: Box | None = central_box(width, height)
    if coverage is not None:
        box = box_of(coverage) if float(coverage.mean()) >= MIN_COVERAGE else None
        image = on_neutral(image, coverage)
    if box is None:
        return f"{frame.name} shows nothing where its mask or alpha channel marks the object."
    square = crop(image, box, side_px)
    if float(square.mean(2).std()) < MIN_CONTRAST:
        return f"{frame.name} shows one even colour where the object should be."
    return SeenObject(square, box.descriptor(width, height), coverage is not None)


def _coverage(frame: Frame, pixels: np.ndarray) -> np.ndarray | None:
    """Coverage [H, W] from 0 to 1 of the object; None where neither alpha nor a mask says anything."""
    if pixels.shape[2] == 4 and int(pixels[..., 3].min()) < 255:
        return pixels[..., 3].astype(np.float32) / 255
    if frame.load_mask is not None:
        mask = frame.load_mask().astype(np.float32)
        return None if bool(mask.all()) else mask
    return None


def _camera(cam_from_world: Tensor, frame: Frame) -> Cameras:
    focal_px = frame.focal_px or FOCAL_RATIO * max(frame.width, frame.height)
    return Cameras.pinhole(cam_from_world, focal_px, frame.width, frame.height)


def _upright(cam_from_world: Tensor) -> Similarity:
    """The world of `Poses`, made by the training photographs; the object stays at the origin."""
    count = len(cam_from_world)
    origin = torch.zeros(1, 3, dtype=torch.float64)
    found = upright_from_world(cam_from_world.double(), origin, torch.zeros(count).long(), torch.arange(count))
    return Similarity(*(v.float() for v in vars(found).values()))


def _distinct(poses: Tensor) -> list[int]:
    """Indices of poses [c, 7] that differ by 20 degrees from all before them."""
    kept: list[int] = []
    for index in range(len(poses)):
        distance = rotation_distance(poses[kept, :4], poses[index, :4])
        if not bool((distance < math.radians(DISTINCT_DEG)).any()):
            kept.append(index)
    return kept


def _hypotheses(
    pairs: PairProposals, poses: Tensor, number: int, frame: Frame, upright: Similarity
) -> PoseHypotheses | None:
    """Other poses of a photograph relative to the first one, the best first; None where there are none."""
    kept: list[Tensor] = [poses[number]]
    scores: list[float] = []
    for pose in pairs.top(0, number, pairs.poses.shape[1]):
        distance = rotation_distance(torch.stack(kept)[:, :4], pose[:4])
        if float(distance.min()) < math.radians(DISTINCT_DEG):
            continue
        kept.append(pose)
        scores.append(pairs.belief(0, number, pose))
        if len(scores) == MOST_HYPOTHESES:
            break
    if not scores:
        return None
    order = torch.tensor(scores).argsort(descending=True, stable=True)
    cameras = Cameras.stack([_camera(matrix, frame) for matrix in cameras_of(torch.stack(kept[1:])[order])])
    return PoseHypotheses(cameras.transformed(upright), torch.tensor(scores)[order])
