"""Depth of a data set's training views by dense stereo."""

from __future__ import annotations

from ....scene.point_cloud import PointCloud
from ....scene.progress import Progress, silent
from ...optimise.dataset import Dataset
from ..depth_maps import Stereo
from .patch_match import estimate_depths


def stereo_depth(dataset: Dataset, seed: int, progress: Progress = silent) -> Stereo:
    """Depth and confidence of the training views from the photographs, their cameras and the sparse points."""
    train = list(dataset.train)
    cameras = dataset.cameras[train].to("cpu")
    maps = estimate_depths(
        [dataset.view(i).pixels[..., :3].cpu() for i in train],
        cameras,
        observed_points(dataset, train),
        seed=seed,
        masks=[dataset.view(i).counts() for i in train],
        progress=progress,
    )
    return Stereo(cameras, maps)


def observed_points(dataset: Dataset, views: list[int]) -> PointCloud:
    """The sparse points that at least two of these views see, with views renumbered; none without observations."""
    points = dataset.points
    if points is None or points.seen_view is None:
        return PointCloud.empty()
    return points.to("cpu").in_views(views)
