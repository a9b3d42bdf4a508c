"""Pairwise pointmaps without a trained stereo network: relative pose from matched features, then dense matching."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from fewview.recon.evidence.depth_maps import DepthMap, unproject
from fewview.recon.evidence.stereo.patch_match import PatchMatchConfig, estimate_depths
from fewview.recon.poses.best_model import USUAL_FOCAL_RATIO
from fewview.recon.poses.features import Features
from fewview.recon.poses.matchers import Kind, load_matcher, matcher_kinds
from fewview.recon.poses.pointmaps.pair_prediction import Edge, PairPrediction, predict_each
from fewview.scene.cameras import Cameras
from fewview.scene.errors import BadInputError
from fewview.scene.geometry import se3_inverse, transform_points
from fewview.scene.point_cloud import PointCloud
from fewview.scene.progress import Progress, silent
from relative_pose import RelativePose, relative_pose
from torch import Tensor

FEATURE_SIDE_PX = 960  # pictures of half that or less are enlarged first: keypoints lie too densely in small ones


@dataclass(frozen=True)
class TwoViewConfig:
    """Settings by which a pair of pictures becomes a pair of pointmaps."""

    features: Kind = "auto"  # xfeat where its weights are installed, else what is there
    keypoints: int = 2048  # features kept in each picture
    focal_px: float | None = (
        None  # known focal length, at the larger picture's size; an unknown one is estimated pair by pair
    )
    seed: int = 0  # of the robust estimators and of dense matching

    def __post_init__(self) -> None:
        if self.keypoints < 8 or (self.focal_px is not None and not self.focal_px > 0):
            raise BadInputError(
                "The two-view predictor needs keypoints >= 8 and a positive focal_px, found "
                f"{self.keypoints} and {self.focal_px}."
            )


class TwoViewPredictor:
    """A `PairPredictor` that measures instead of having learned.

    Each pair gets a focal length and a unit of length of its own, the baseline, as a network's pairs do. Features are
    found once for each picture, and both orders of a pair share what was computed. Pairs that do not fit together get
    a flat wall with confidence 1.
    """

    def __init__(
        self,
        config: TwoViewConfig = TwoViewConfig(),
        dense: PatchMatchConfig = PatchMatchConfig(),  # noqa: B008
    ) -> None:
        self._config, self._dense = config, dense
        self._matcher = load_matcher(matcher_kinds(config.features, 2)[0], config.keypoints)
        self._features: dict[str, Features] = {}
        self._waiting: dict[tuple[str, str], PairPrediction] = {}  # of the other order, until that is asked for

    def predict(self, image_i: Tensor, image_j: Tensor) -> PairPrediction:
        """See `PairPredictor`; sizes are arbitrary."""
        names = _digest(image_i), _digest(image_j)
        if names in self._waiting:
            return self._waiting.pop(names)
        images = [image_i, image_j]
        pose = self._pose([self._features_of(n, x) for n, x in zip(names, images, strict=True)], images)
        cameras = _cameras(images, pose)
        if pose is None:
            maps = tuple(DepthMap(torch.ones(x.shape[:2]), torch.ones(x.shape[:2])) for x in images)
        else:
            maps = estimate_depths(images, cameras, _seen_by_both(pose), self._dense, seed=self._config.seed)
        self._waiting[names[1], names[0]] = _prediction(cameras, maps, 1, 0)
        return _prediction(cameras, maps, 0, 1)

    def predict_pairs(self, images: Sequence[Tensor], progress: Progress = silent) -> dict[Edge, PairPrediction]:
        """See `PairPredictor`."""
        return predict_each(self.predict, images, progress)

    def _features_of(self, name: str, image: Tensor) -> Features:
        if name not in self._features:
            pixels = np.ascontiguousarray(image.numpy()[..., :3])
            grow = max(1, round(FEATURE_SIDE_PX / max(pixels.shape[:2])))
            enlarged = cv2.resize(pixels, None, fx=grow, fy=grow, interpolation=cv2.INTER_CUBIC)
            self._features[name] = self._matcher.extract(enlarged)
        return self._features[name]

    def _pose(self, features: list[Features], images: list[Tensor]) -> RelativePose | None:
        matches = self._matcher.match(*features)
        xy = [
            (f.xy_px.double().numpy()[matches[:, k]] - [f.width / 2, f.height / 2]) / max(f.width, f.height)
            for k, f in enumerate(features)
        ]
        side_px = max(max(x.shape[:2]) for x in images)
        known_px = self._config.focal_px
        return relative_pose(xy[0], xy[1], side_px, None if known_px is None else known_px / side_px)


def _digest(image: Tensor) -> str:
    return hashlib.blake2b(image.contiguous().numpy().data, digest_size=16).hexdigest() + str(tuple(image.shape))


def _cameras(images: list[Tensor], pose: RelativePose | None) -> Cameras:
    """Both cameras in the frame of the first; at one place where there is no pose."""
    cam_from_world = torch.eye(4).repeat(2, 1, 1)
    ratio = USUAL_FOCAL_RATIO
    if pose is not None:
        cam_from_world[1] = torch.from_numpy(pose.b_from_a).float()
        ratio = pose.focal_ratio
    sizes = [(x.shape[1], x.shape[0]) for x in images]
    return Cameras.stack([Cameras.pinhole(cam_from_world[k], ratio * max(s), *s) for k, s in enumerate(sizes)])


def _seen_by_both(pose: RelativePose) -> PointCloud:
    n = len(pose.points_a)
    grey = torch.full((n, 3), 128, dtype=torch.uint8)  # nobody looks at their colours
    seen_point, seen_view = torch.arange(n).repeat(2), torch.arange(2).repeat_interleave(n)
    return PointCloud(torch.from_numpy(pose.points_a).float(), grey, seen_point, seen_view)


def _prediction(cameras: Cameras, maps: tuple[DepthMap, ...], i: int, j: int) -> PairPrediction:
    in_i, in_j = (unproject(maps[v].depth, cameras.K[v]) for v in (i, j))
    i_from_j = cameras.cam_from_world[i] @ se3_inverse(cameras.cam_from_world[j])
    moved = transform_points(i_from_j, in_j.reshape(-1, 3)).reshape(in_j.shape)
    return PairPrediction(in_i, moved, maps[i].confidence, maps[j].confidence)
