"""Overlap of photographs, quickly and roughly: enough to choose among them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from ...render.aim import focus_point
from ...scene.cameras import Cameras
from ...scene.capture import Capture
from ...scene.point_cloud import PointCloud
from ...scene.progress import Progress
from .correspondences import find_correspondences
from .features import Features, Matcher, mutual_nearest
from .learned_matchers import MIN_COSINE
from .matchers import is_available, load_matcher
from .pair_selection import choose_pairs
from .poses_config import PosesConfig
from .verification import Pair
from .workers import each

SIDE_PX = 512  # of the small copies
KEYPOINTS = 768
ALL_PAIRS_UP_TO = 60  # photographs; beyond it each is compared with likely partners
MIN_SHARED = 20  # points that both photographs of a link show
MAX_ERROR_PX = 1.5  # in the small copies
MIN_ANGLE_DEG = 5.0  # between the rays of two photographs to what they share; below it they are as good as one
GUESSED_FOCAL = 0.85  # of the longer side, where EXIF says nothing
ENOUGH_POINTS = 20_000  # of a data set; every k-th is taken of more
CELLS = 8  # along each side of a picture
GRID = 6  # rays along each side of a photograph that stand for what it sees
TURNED_AWAY_DEG = 60.0  # a surface that faces one camera is lost on another that looks from so much further round


@dataclass(frozen=True)
class Overlap:
    """Things that V photographs see, T of them, and relations between the photographs."""

    seen: np.ndarray  # [V, T] bool
    linked: np.ndarray  # [V, V] bool: both see enough of the same
    apart: np.ndarray  # [V, V] bool: from places different enough for depth

    @classmethod
    def of_points(cls, seen: np.ndarray, angle_deg: np.ndarray) -> Overlap:
        """From what is seen [V, T] and the median angle [V, V] under which two views see what they share."""
        shared = seen.astype(np.float32) @ seen.astype(np.float32).T
        return cls(seen, shared >= MIN_SHARED, angle_deg >= MIN_ANGLE_DEG)


def overlap_of(capture: Capture, among: Sequence[int], config: PosesConfig, progress: Progress) -> Overlap:
    """The overlap of the photographs `among` a capture: from its cameras and points, else from features."""
    chosen = capture.subset(list(among))
    if chosen.cameras is None:
        return _from_features(chosen, config, progress)
    if chosen.points is not None and chosen.points.seen_view is not None and len(chosen.points) >= MIN_SHARED:
        return _from_points(chosen.cameras, chosen.points)
    return _from_cameras(chosen.cameras)


def _from_features(capture: Capture, config: PosesConfig, progress: Progress) -> Overlap:
    """Mutual nearest neighbours that agree with an essential matrix at a rough focal length."""
    matcher = load_matcher("xfeat" if is_available("xfeat") else "sift", KEYPOINTS, config.device)
    correspondences = find_correspondences(
        capture,
        _Nearest(matcher),
        lambda features: choose_pairs(features, ALL_PAIRS_UP_TO, config.neighbours, progress),
        SIDE_PX,
        {},
        progress,
    )
    features = [image.features for image in correspondences.images]
    rays = [_rays(f, frame.focal_px, frame.width) for f, frame in zip(features, capture.frames, strict=True)]
    angle_deg = np.zeros((len(capture), len(capture)))
    linked = np.zeros((len(capture), len(capture)), bool)
    good: dict[Pair, np.ndarray] = {}
    pairs = sorted(correspondences.matches)
    two_views = each(
        "Comparing photographs",
        lambda p: _two_view(rays[p[0]], rays[p[1]], correspondences.matches[p]),
        pairs,
        progress,
    )
    for (a, b), (inliers, angle) in zip(pairs, two_views, strict=True):
        if len(inliers) >= MIN_SHARED:
            good[a, b] = inliers
            angle_deg[a, b] = angle_deg[b, a] = angle
            linked[a, b] = linked[b, a] = True
    return Overlap(_cells(features, good), linked, angle_deg >= MIN_ANGLE_DEG)


class _Nearest:
    """The features of a matcher, matched by mutual nearest neighbours: a hundredth of a learned match's time."""

    def __init__(self, matcher: Matcher) -> None:
        self.name, self.max_keypoints, self.costly = matcher.name, matcher.max_keypoints, False
        self.upright_only = False  # a rough count, for which turning is not worth its time
        self.extract = matcher.extract

    def match(self, a: Features, b: Features) -> np.ndarray:
        if self.name == "sift":
            return mutual_nearest(a.descriptors, b.descriptors, min_cosine=0.0, max_ratio=0.8)
        return mutual_nearest(a.descriptors, b.descriptors, min_cosine=MIN_COSINE)


def _rays(features: Features, focal_px: float | None, frame_width: int) -> tuple[np.ndarray, float]:
    """Image coordinates [N, 2] over the focal length, from the centre; and that length in pixels."""
    side = max(features.width, features.height)
    focal = GUESSED_FOCAL * side if not focal_px else focal_px * features.width / frame_width
    center = np.array([features.width / 2, features.height / 2])
    return (features.xy_px.numpy().astype(np.float64) - center) / focal, focal


def _two_view(
    a: tuple[np.ndarray, float], b: tuple[np.ndarray, float], matches: np.ndarray
) -> tuple[np.ndarray, float]:
    """The matches that agree with one motion, and the median angle in degrees between their rays after the turn."""
    if len(matches) < MIN_SHARED:
        return matches[:0], 0.0
    xy_a, xy_b = a[0][matches[:, 0]], b[0][matches[:, 1]]
    threshold = MAX_ERROR_PX / math.sqrt(a[1] * b[1])
    try:
        essential, mask = cv2.findEssentialMat(xy_a, xy_b, np.eye(3), cv2.USAC_DEFAULT, 0.999, threshold)
    except cv2.error:
        return matches[:0], 0.0
    if essential is None or essential.shape != (3, 3):
        return matches[:0], 0.0
    inside = mask.ravel() > 0
    if inside.sum() < MIN_SHARED:
        return matches[:0], 0.0
    _, rotation, _, _ = cv2.recoverPose(essential, xy_a[inside], xy_b[inside], np.eye(3))
    turned = _unit(xy_a[inside]) @ rotation.T
    cosine = (turned * _unit(xy_b[inside])).sum(1).clip(-1, 1)
    return matches[inside], float(np.degrees(np.median(np.arccos(cosine))))


def _unit(xy: np.ndarray) -> np.ndarray:
    rays = np.pad(xy, ((0, 0), (0, 1)), constant_values=1.0)
    return rays / np.linalg.norm(rays, axis=1, keepdims=True)


def _cells(features: list[Features], matches: dict[Pair, np.ndarray]) -> np.ndarray:
    """Cells of every view's picture that a view sees [V, V * CELLS^2]: its own, and those where matches lie.

    Cells instead of points, because a detector finds the same point again in only a few of the views that see it.
    """
    n = len(features)
    seen = np.zeros((n, n, CELLS, CELLS), bool)
    cell = []
    for view, f in enumerate(features):
        column, row = (f.xy_px.numpy() / [f.width, f.height] * CELLS).astype(np.int64).clip(0, CELLS - 1).T
        seen[view, view, row, column] = True
        cell.append((row, column))
    for (a, b), pairs in matches.items():
        for of, by, indices in ((a, b, pairs[:, 0]), (b, a, pairs[:, 1])):
            seen[by, of, cell[of][0][indices], cell[of][1][indices]] = True
    return seen.reshape(n, -1)


def _from_points(cameras: Cameras, points: PointCloud) -> Overlap:
    """Overlap by the points that the data set says each photograph sees."""
    points = points[:: math.ceil(len(points) / ENOUGH_POINTS)]
    assert points.seen_view is not None
    assert points.seen_point is not None
    seen = np.zeros((len(cameras), len(points)), bool)
    seen[points.seen_view.numpy(), points.seen_point.numpy()] = True
    return Overlap.of_points(seen, _angles_deg(cameras.centers.double().numpy(), points.xyz.double().numpy(), seen))


def _from_cameras(cameras: Cameras) -> Overlap:
    """Points on a grid of rays of every photograph, about where the cameras look, stand for the scene."""
    centers = cameras.centers.double()
    distance = (focus_point(cameras).double() - centers).norm(dim=1).median()
    steps = (torch.arange(GRID, dtype=torch.float64) + 0.5) / GRID
    v, u = torch.meshgrid(steps, steps, indexing="ij")
    size = torch.stack([cameras.width, cameras.height], dim=-1).double().reshape(-1, 1, 2)
    pixel = torch.stack([u.flatten(), v.flatten()], dim=1) * size  # [V, G, 2]
    rays = torch.linalg.solve(cameras.K.double(), torch.nn.functional.pad(pixel, (0, 1), value=1.0).mT).mT
    world_from_cam = torch.linalg.inv(cameras.cam_from_world.double())
    along = rays @ world_from_cam[:, :3, :3].mT  # [V, G, 3], depth 1
    xyz = torch.cat([(centers[:, None] + s * distance * along).flatten(0, 1) for s in (0.7, 1.0, 1.4)])
    facing = torch.nn.functional.normalize(along.flatten(0, 1), dim=1).repeat(3, 1)
    seen = np.stack([_sees(cameras[i], xyz, facing).numpy() for i in range(len(cameras))])
    return Overlap.of_points(seen, _angles_deg(centers.numpy(), xyz.numpy(), seen))


def _sees(camera: Cameras, xyz: torch.Tensor, facing: torch.Tensor) -> torch.Tensor:
    """Mask [T] of the points in the picture of one camera, from within TURNED_AWAY_DEG of the ray they were made on."""
    pose = camera.cam_from_world.double()
    in_cam = xyz @ pose[:3, :3].T + pose[:3, 3]
    xy = in_cam @ camera.K.double().T
    xy = xy[:, :2] / xy[:, 2:].clamp_min(1e-9)
    inside = (in_cam[:, 2] > 0) & (xy >= 0).all(1) & (xy[:, 0] < camera.width) & (xy[:, 1] < camera.height)
    ray = torch.nn.functional.normalize(xyz - camera.centers.double(), dim=1)
    return inside & ((ray * facing).sum(1) > math.cos(math.radians(TURNED_AWAY_DEG)))


def _angles_deg(centers: np.ndarray, xyz: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Median angle [V, V] between two views' rays to the points [T, 3] that both see; 0 where there are none."""
    n = len(centers)
    out = np.zeros((n, n))
    for a in range(n):
        for b in range(a + 1, n):
            both = np.flatnonzero(seen[a] & seen[b])[:200]
            if len(both):
                ray_a, ray_b = xyz[both] - centers[a], xyz[both] - centers[b]
                length = np.linalg.norm(ray_a, axis=1) * np.linalg.norm(ray_b, axis=1)
                cosine = (ray_a * ray_b).sum(1) / np.maximum(length, 1e-300)
                out[a, b] = out[b, a] = np.degrees(np.median(np.arccos(cosine.clip(-1, 1))))
    return out
