"""Dense depth for every view by PatchMatch stereo on the CPU: coarse to fine, checked between views, then filled."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from .... import _native
from ....scene.cameras import Cameras
from ....scene.point_cloud import PointCloud
from ....scene.progress import Progress, silent
from ..between_points import inverse_depth_between
from ..depth_maps import DepthMap
from .consistency import confidence, consistent_views, without_specks
from .fill import EdgeAwareFill
from .source_views import in_picture, project, seen_by, source_views

MIN_POINTS = 4  # that a view must see before its own points say how deep it looks

FILL_ITERATIONS = 100  # of conjugate gradients at the finest level, twice as many at each coarser one
SLOPE_WEIGHT = 0.01  # of a trusted pixel's slope against a tie of 1: slopes are noisy, and walls are flat
PATCH_STEP = 0.03  # relative change of depth between neighbours at which a patch of trusted pixels ends


@dataclass(frozen=True)
class PatchMatchConfig:
    """Settings of matching; the defaults suit 3 to 24 photographs of 480 pixels."""

    sources: int = 6  # views that each view is matched with, at most 16
    coarsest_px: int = 100  # the pyramid ends at the first level whose longer side is not above this, pixels
    coarsest_sweeps: int = 8  # red-black sweeps at the coarsest level, which searches the whole range of depth
    sweeps: int = 1  # red-black sweeps at each other level, before depths of other views count
    geometric_rounds: int = 2  # sweeps in which depths of other views count, at the finest level only one
    sigma_grey: float = 40.0  # grey levels over which a patch's pixels lose weight by e
    noise_variance: float = 4.0  # of the photographs, squared grey levels; keeps blank patches from correlating
    geometric_weight: float = 0.1  # cost of a pixel's distance after the way to a source and back by its depth
    geometric_max_px: float = 3.0  # that distance is cut off here, pixels
    prior_weight: float = 0.05  # cost of a depth that has nothing to do with the coarser level's
    prior_max: float = 0.05  # relative difference of depth from which on it has nothing to do with it
    max_cost: float = 0.5  # 1 - correlation above which a pixel is not trusted
    max_error_px: float = 1.5  # after the way to a source and back by its depth
    max_depth_difference: float = 0.02  # between two views' depths of a point, relative
    min_patch: int = 60  # pixels of a connected patch below which it is not trusted, at the finest level
    confidence_gain: float = 4.0  # confidence above 1 for each consistent view at cost 0
    confidence_cost: float = 0.25  # cost over which the confidence above 1 falls by e

    def __post_init__(self) -> None:
        if not 1 <= self.sources <= 16:
            raise ValueError(f"sources: expected 1 to 16, found {self.sources}")


def estimate_depths(
    images: Sequence[Tensor],  # V of uint8 [H, W, 3] sRGB
    cameras: Cameras,  # [V] at the sizes of the images
    points: PointCloud,  # sparse, with observations
    config: PatchMatchConfig = PatchMatchConfig(),
    *,
    seed: int = 0,
    masks: Sequence[Tensor | None] | None = None,  # bool [H, W], True where the pixel counts
    progress: Progress = silent,
) -> tuple[DepthMap, ...]:
    """One dense map for each view: matched where the views agree (confidence above 1), interpolated elsewhere.

    The sparse points bound the range of depth and say which views to match; there may be few or none of them. A view
    without another that shows the same gets the depth interpolated between its points. The same inputs give the same
    bits for any number of threads.
    """
    return tuple(_Matcher(images, cameras, points, config, seed, masks, progress).run())


class _View:
    """One photograph at all levels, and its hypotheses at the level being worked on."""

    def __init__(self, image: Tensor, camera: Cameras, mask: Tensor | None, levels: int) -> None:
        rgb = np.ascontiguousarray(image.cpu().numpy()[..., :3])
        height, width = rgb.shape[:2]
        self.sizes = [(max(1, round(width / 2**k)), max(1, round(height / 2**k))) for k in range(levels)]
        self.rgb = [
            rgb if k == 0 else cv2.resize(rgb, s, interpolation=cv2.INTER_AREA) for k, s in enumerate(self.sizes)
        ]
        # cv2 drops no axis of a colour picture, but the grey one of a single row needs its shape back.
        grey = [cv2.cvtColor(level, cv2.COLOR_RGB2GRAY).reshape(level.shape[:2]) for level in self.rgb]
        self.native = _native.StereoImage(grey)
        self.K = [camera.resized(*s).K.double().numpy() for s in self.sizes]
        self.cam_from_world = camera.cam_from_world.double().numpy()
        self.masks: list[np.ndarray | None] = [None] * levels
        if mask is not None:
            full = mask.cpu().numpy().astype(np.uint8)
            self.masks = [cv2.resize(full, s, interpolation=cv2.INTER_NEAREST) for s in self.sizes]
        self.sources: list[int] = []
        self.range = (0.0, 0.0)  # of inverse depth
        self.anchors = np.empty((0, 3))  # pixels at level 0 and inverse depth of the sparse points it sees
        self.planes = np.empty((0, 0, 3), np.float32)
        self.prior = np.empty((0, 0), np.float32)  # [H, W] expected inverse depth
        self.slopes = (self.prior, self.prior)  # its expected change per pixel to the right and down

    def anchored(self, level: int) -> tuple[np.ndarray, np.ndarray]:
        """Inverse depths [H, W] of the sparse points at their pixels, and weights [H, W] that are 1 there."""
        (width, height), (full_width, full_height) = self.sizes[level], self.sizes[0]
        column = np.clip(self.anchors[:, 0] * width / full_width, 0, width - 1).astype(int)
        row = np.clip(self.anchors[:, 1] * height / full_height, 0, height - 1).astype(int)
        value, weight = np.zeros((height, width), np.float32), np.zeros((height, width), np.float32)
        value[row, column], weight[row, column] = self.anchors[:, 2], 1
        return value, weight


class _Matcher:
    """All views, from the coarsest level to the finest."""

    def __init__(
        self,
        images: Sequence[Tensor],
        cameras: Cameras,
        points: PointCloud,
        config: PatchMatchConfig,
        seed: int,
        masks: Sequence[Tensor | None] | None,
        progress: Progress,
    ) -> None:
        self.config, self.seed, self.progress = config, seed, progress
        cameras, points = cameras.to("cpu"), points.to("cpu")
        longest = max(max(i.shape[:2]) for i in images)
        self.levels = 1
        while longest / 2 ** (self.levels - 1) > config.coarsest_px:
            self.levels += 1
        masks = [None] * len(images) if masks is None else masks
        self.views = [_View(i, cameras[v], m, self.levels) for v, (i, m) in enumerate(zip(images, masks, strict=True))]
        chosen = source_views(cameras, points, config.sources)
        seen = seen_by(cameras, points)
        for index, view in enumerate(self.views):
            view.sources = chosen[index]
            self._start(view, cameras[index], points, seen[index])

    def _start(self, view: _View, camera: Cameras, points: PointCloud, seen: Tensor) -> None:
        """Range of depth, anchors and the first hypotheses of a view, from the sparse points."""
        pixel, depth = project(camera, points.xyz)
        here = seen & in_picture(camera, points.xyz)
        view.anchors = torch.cat([pixel, 1 / depth.clamp_min(1e-9)[:, None]], dim=1)[here].double().numpy()
        known = here if int(here.sum()) >= MIN_POINTS else in_picture(camera, points.xyz)
        spread = 1 / depth[known].numpy() if int(known.sum()) else np.ones(1)
        view.range = (float(np.quantile(spread, 0.02)) / 1.6, float(np.quantile(spread, 0.98)) * 1.6)
        level = self.levels - 1
        value, weight = view.anchored(level)
        start = np.full_like(value, np.median(spread))
        inverse = EdgeAwareFill(view.rgb[level]).solve(value, weight, start, 300)
        view.prior = np.clip(inverse, *view.range).astype(np.float32)
        view.slopes = (np.zeros_like(view.prior), np.zeros_like(view.prior))
        view.planes = _as_planes(view.prior)

    def run(self) -> list[DepthMap]:
        maps = []
        for level in reversed(range(self.levels)):
            coarsest = level == self.levels - 1
            if not coarsest:
                for view in self.views:
                    self._refine(view, level)
            for index in range(len(self.views)):
                self.progress(
                    "stereo", (self.levels - 1 - level) * len(self.views) + index, self.levels * len(self.views)
                )
                count = self.config.coarsest_sweeps if coarsest else self.config.sweeps
                self._match(index, level, self._sweeps(index, level, 0, count), None)
            rounds = self.config.geometric_rounds
            for turn in range(rounds if level else min(1, rounds)):
                before = [view.planes.copy() for view in self.views]
                for index in range(len(self.views)):
                    self._match(index, level, self._sweeps(index, level, 100 + turn, 1), before)
            maps = self._judge_all(level)
        return maps

    def _sweeps(self, index: int, level: int, turn: int, count: int) -> list[tuple[int, float, float, bool]]:
        coarsest = level == self.levels - 1
        start = 0.1 if coarsest else 0.02
        sweeps = []
        for k in range(count):
            seed = np.random.SeedSequence([self.seed, index, level, turn, k]).generate_state(1)[0]
            shrink = 0.5 ** (k if turn == 0 else count)
            sweeps.append((int(seed), start * shrink, max(0.1, 1.0 * shrink), coarsest and turn == 0))
        return sweeps

    def _match(
        self,
        index: int,
        level: int,
        sweeps: list[tuple[int, float, float, bool]],
        geometry: list[np.ndarray] | None,
        prior: bool = True,
    ) -> np.ndarray:
        """Sweeps over a view; the cost [H, W] of what it then holds."""
        view, config = self.views[index], self.config
        costs = np.empty(view.planes.shape[:2], np.float32)
        if not view.sources:
            costs.fill(1.0)
            return costs
        there, back = self._transforms(index, level, to_finest=True)
        K = view.K[level]
        _native.patch_match(
            view.native,
            level,
            [self.views[s].native for s in view.sources],
            there,
            back,
            None if geometry is None else [geometry[s] for s in view.sources],
            view.prior if prior else None,
            view.masks[level],
            lens=(K[0, 0], K[1, 1], K[0, 2], K[1, 2]),
            range=view.range,
            best=best_of(len(view.sources)),
            sigma_grey=config.sigma_grey,
            noise_variance=config.noise_variance,
            geometric_weight=config.geometric_weight,
            geometric_max_px=config.geometric_max_px,
            prior_weight=config.prior_weight,
            prior_max=config.prior_max,
            planes=view.planes,
            costs=costs,
            sweeps=sweeps,
        )
        return costs

    def _transforms(self, index: int, level: int, to_finest: bool) -> tuple[np.ndarray, np.ndarray]:
        """(A | b) [S, 3, 4] from the view's pixels to its sources' and back: A (x, y, 1) + b / depth."""
        view = self.views[index]
        there, back = [], []
        for s in view.sources:
            other = self.views[s]
            relative = other.cam_from_world @ np.linalg.inv(view.cam_from_world)
            there.append(_pixel_transform(other.K[0 if to_finest else level], relative, view.K[level]))
            back.append(_pixel_transform(view.K[level], np.linalg.inv(relative), other.K[level]))
        return np.array(there, np.float32), np.array(back, np.float32)

    def _refine(self, view: _View, level: int) -> None:
        """Hypotheses and prior of the next finer level from those of the coarser."""
        width, height = view.sizes[level]
        coarse_h, coarse_w = view.prior.shape
        y, x = (np.arange(height) + 0.5) * coarse_h / height, (np.arange(width) + 0.5) * coarse_w / width
        row, column = y.astype(int), x.astype(int)
        planes = view.planes[row][:, column]
        dx, dy = (x - column - 0.5)[None, :].astype(np.float32), (y - row - 0.5)[:, None].astype(np.float32)
        planes[..., 0] = np.clip(planes[..., 0] + planes[..., 1] * dx + planes[..., 2] * dy, *view.range)
        planes[..., 1] *= coarse_w / width
        planes[..., 2] *= coarse_h / height
        view.planes = np.ascontiguousarray(planes)

        def finer(of: np.ndarray) -> np.ndarray:
            return np.asarray(cv2.resize(of, (width, height)), np.float32).reshape(height, width)

        view.prior = finer(view.prior)
        right, down = view.slopes
        view.slopes = (finer(right) * np.float32(coarse_w / width), finer(down) * np.float32(coarse_h / height))

    def _judge_all(self, level: int) -> list[DepthMap]:
        matched = [view.planes for view in self.views]
        costs = [self._match(index, level, [], None, prior=False) for index in range(len(self.views))]
        with ThreadPoolExecutor(_native.num_threads()) as pool:
            return list(pool.map(lambda i: self._judge(i, level, costs[i], matched), range(len(self.views))))

    def _judge(self, index: int, level: int, cost: np.ndarray, matched: list[np.ndarray]) -> DepthMap:
        """Trust, then fill; the filled map is what the next level expects and where it starts.

        Such a fill continues the slopes and edges of what was matched, which leads the search well. As a last word it
        is worse than the plain guess between sparse points: far from them it invents relief, which shows from other
        places.
        """
        view, config = self.views[index], self.config
        there, back = self._transforms(index, level, to_finest=False)
        own, others = matched[index], [matched[s] for s in view.sources]
        views = consistent_views(own, others, there, back, config.max_error_px, config.max_depth_difference)
        trusted = (views >= 1) & (cost < config.max_cost)
        mask = view.masks[level]
        if mask is not None:
            trusted &= mask > 0
        inverse = own[..., 0]
        trusted = without_specks(trusted, inverse, max(4, config.min_patch >> (2 * level)), PATCH_STEP)
        certainty = confidence(cost, views, trusted, config.confidence_gain, config.confidence_cost)
        if level == 0 and len(view.anchors) >= MIN_POINTS:
            return _between_points(inverse, certainty, view.anchors)
        known, weight = view.anchored(level)
        known[trusted], weight[trusted] = inverse[trusted], (certainty - 1)[trusted]
        solver = EdgeAwareFill(view.rgb[level])
        held = np.where(trusted, SLOPE_WEIGHT, 0).astype(np.float32)
        iterations = FILL_ITERATIONS << level
        right, down = (solver.solve(own[..., k + 1], held, view.slopes[k], iterations) for k in (0, 1))
        view.slopes = (right, down)
        filled = solver.solve(known, weight, view.prior, iterations, view.slopes)
        filled = np.clip(filled, *view.range).astype(np.float32)
        view.prior = np.where(trusted, inverse, filled)
        planes = _as_planes(view.prior)
        planes[trusted] = own[trusted]
        view.planes = planes
        return DepthMap(torch.from_numpy(1 / view.prior), torch.from_numpy(certainty))


def _between_points(inverse: np.ndarray, certainty: np.ndarray, anchors: np.ndarray) -> DepthMap:
    """The map of matched inverse depths, and with depth from the sparse points alone where they are not trusted."""
    depth = 1 / inverse
    row, column = (certainty <= 1).nonzero()
    if len(row):
        wanted = np.stack([column, row], axis=1) + 0.5
        depth[row, column] = 1 / inverse_depth_between(anchors[:, :2], anchors[:, 2], wanted)
    return DepthMap(torch.from_numpy(depth), torch.from_numpy(certainty))


def best_of(sources: int) -> int:
    """Number of a pixel's sources that count: those that are not hidden, and one alone where there are few."""
    return 1 if sources <= 3 else 2 if sources <= 6 else 3


def _as_planes(inverse: np.ndarray) -> np.ndarray:
    """Hypotheses [H, W, 3] that follow a map [H, W] of inverse depth, its steps left out."""
    planes = np.zeros((*inverse.shape, 3), np.float32)
    planes[..., 0] = inverse
    for axis, part in ((1, 1), (0, 2)):
        if inverse.shape[axis] < 3:
            continue
        ahead = np.diff(inverse, axis=axis)
        one, two = (ahead[:, :-1], ahead[:, 1:]) if axis == 1 else (ahead[:-1], ahead[1:])
        smaller = np.where(np.abs(one) < np.abs(two), one, two)
        inner = planes[:, 1:-1, part] if axis == 1 else planes[1:-1, :, part]
        inner[...] = smaller
    return planes


def _pixel_transform(K_to: np.ndarray, to_from_here: np.ndarray, K_here: np.ndarray) -> np.ndarray:
    """[3, 4]"""
    A = K_to @ to_from_here[:3, :3] @ np.linalg.inv(K_here)
    return np.concatenate([A, K_to @ to_from_here[:3, 3:]], axis=1)
