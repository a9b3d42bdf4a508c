"""Pairwise pointmaps without a trained stereo network: two-view structure from motion, then dense matching."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...scene.cameras import Cameras
from ...scene.errors import BadInputError
from ...scene.geometry import se3_inverse, transform_points
from ...scene.point_cloud import PointCloud
from ...scene.progress import Progress, silent
from ..poses.config import PosesConfig
from ..poses.features import Features
from ..poses.focal import Lenses
from ..poses.mapping import Model, quiet_pycolmap
from ..poses.matchers import Kind, load_matcher, matcher_kinds
from ..poses.placed import observed_points
from ..poses.solve import solve
from ..poses.verification import verify
from .contract import DepthMap, unproject
from .pairs import Edge, PairPrediction, predict_each
from .patch_match import PatchMatchConfig, estimate_depths

GUESSED_FOCAL_RATIO = 1.2  # of the longer side, where two pictures share too little to tell


@dataclass(frozen=True)
class TwoViewConfig:
    """How a pair of pictures becomes a pair of pointmaps."""

    features: Kind = "auto"  # xfeat where its weights are installed, else what is there
    keypoints: int = 2048  # features kept in each picture
    focal_px: float | None = None  # known focal length of all pictures; unknown ones are estimated pair by pair
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
        features = [self._features_of(n, x) for n, x in zip(names, (image_i, image_j), strict=True)]
        model = self._model(features)
        cameras = _guessed_cameras(features) if model is None else _cameras(model, features)
        if model is None:
            maps = tuple(DepthMap(torch.ones(f.height, f.width), torch.ones(f.height, f.width)) for f in features)
        else:
            points = _points(model, features)
            maps = estimate_depths([image_i, image_j], cameras, points, self._dense, seed=self._config.seed)
        self._waiting[names[1], names[0]] = _prediction(cameras, maps, 1, 0)
        return _prediction(cameras, maps, 0, 1)

    def predict_pairs(self, images: Sequence[Tensor], progress: Progress = silent) -> dict[Edge, PairPrediction]:
        """See `PairPredictor`."""
        return predict_each(self.predict, images, progress)

    def _features_of(self, name: str, image: Tensor) -> Features:
        if name not in self._features:
            self._features[name] = self._matcher.extract(np.ascontiguousarray(image.numpy()[..., :3]))
        return self._features[name]

    def _model(self, features: list[Features]) -> Model | None:
        """The two views placed, or None."""
        sizes = [(f.width, f.height) for f in features]
        one_lens = sizes[0] == sizes[1]
        lenses = Lenses([1, 1] if one_lens else [1, 2], sizes[: 1 if one_lens else 2],
                        [self._config.focal_px] * (1 if one_lens else 2))  # fmt: skip
        matches = {(0, 1): self._matcher.match(features[0], features[1])}
        graph = verify(features, matches, lenses.of_views(lenses.cameras("SIMPLE_PINHOLE", 1.0)), self._config.seed)
        with quiet_pycolmap():
            model = solve(graph, lenses, PosesConfig(seed=self._config.seed))
        return model if model is not None and len(model.views) == 2 else None


def _digest(image: Tensor) -> str:
    return hashlib.blake2b(image.contiguous().numpy().data, digest_size=16).hexdigest() + str(tuple(image.shape))


def _guessed_cameras(features: list[Features]) -> Cameras:
    return Cameras.stack(
        [
            Cameras.pinhole(torch.eye(4), GUESSED_FOCAL_RATIO * max(f.width, f.height), f.width, f.height)
            for f in features
        ]
    )


def _cameras(model: Model, features: list[Features]) -> Cameras:
    poses, lenses = [], []
    for view in (0, 1):
        image = model.reconstruction.image(view + 1)
        pose = torch.eye(4, dtype=torch.float64)
        pose[:3] = torch.from_numpy(image.cam_from_world().matrix())
        poses.append(pose)
        lenses.append(torch.from_numpy(model.reconstruction.camera(image.camera_id).calibration_matrix()))
    width, height = torch.tensor([[f.width, f.height] for f in features]).unbind(1)
    return Cameras(torch.stack(poses).float(), torch.stack(lenses).float(), width, height)


def _points(model: Model, features: list[Features]) -> PointCloud:
    grey = [np.full((len(f), 3), 128, np.uint8) for f in features]  # nobody looks at their colours
    xyz, rgb, seen_point, seen_view = observed_points(model.reconstruction, [0, 1], grey)
    return PointCloud(xyz.float(), rgb, seen_point, seen_view)


def _prediction(cameras: Cameras, maps: tuple[DepthMap, ...], i: int, j: int) -> PairPrediction:
    in_i, in_j = (unproject(maps[v].depth, cameras.K[v]) for v in (i, j))
    i_from_j = cameras.cam_from_world[i] @ se3_inverse(cameras.cam_from_world[j])
    moved = transform_points(i_from_j, in_j.reshape(-1, 3)).reshape(in_j.shape)
    return PairPrediction(in_i, moved, maps[i].confidence, maps[j].confidence)
