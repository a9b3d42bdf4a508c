"""Which method a reconstruction uses, and its model ready for the trainer: the one place that knows them by name."""

from __future__ import annotations

import time
from typing import Any

from ...scene.files import read_json
from ...scene.point_cloud import PointCloud
from ...scene.progress import Progress, silent
from ...scene.run import Run
from ..evidence import Stereo
from ..evidence.depth_file import load_stereo, save_stereo
from ..evidence.stereo.patch_match import estimate_depths
from ..methods.gaussian_splatting import model as gaussian_splatting
from ..methods.gaussian_splatting.model import GaussianSplattingConfig, few_view_values
from ..methods.instantsplat import model as instantsplat
from ..optimise.contract import Model, TrainConfig
from ..optimise.dataset import Dataset
from .reconstruct_config import ReconstructConfig

STEPS_CPU, STEPS_CUDA = 1500, 7000
MAX_GAUSSIANS_CPU, MAX_GAUSSIANS_CUDA = 100_000, 1_000_000
FEW_VIEWS = 24  # up to so many photographs without cameras are InstantSplat's


def model_for(
    run: Run, dataset: Dataset, config: ReconstructConfig, progress: Progress = silent
) -> tuple[TrainConfig, Model, dict[str, float]]:
    """The method's own config, its model as training finds it, and the seconds that the making took, by stage.

    What the person asked for is in it, and for the rest what suits the device and the photographs.
    """
    if method_name(run, dataset, config) == "3dgs":
        chosen = _gaussian_splatting_config(dataset, config)
        return chosen, gaussian_splatting.initialise(dataset, chosen, config.device), {}
    started = time.perf_counter()
    stereo = _stereo(run, dataset, config, progress)
    seconds = {"stereo": time.perf_counter() - started}
    settings = _instantsplat_config(run, dataset, config)
    return settings, instantsplat.initialise(dataset, stereo, settings, config.device), seconds


def method_name(run: Run, dataset: Dataset, config: ReconstructConfig) -> str:
    """`auto` is InstantSplat with a network's depth or few photographs whose cameras were estimated, else 3DGS."""
    if config.method != "auto":
        return config.method
    if config.stereo is not None:
        return "instantsplat"
    few = 2 <= len(dataset.train) <= FEW_VIEWS and config.densify == "auto"
    return "instantsplat" if few and cameras_are_estimated(run) else "3dgs"


def cameras_are_estimated(run: Run) -> bool:
    """Whether the run's cameras were found from its photographs, and not given."""
    return run.poses_path.is_file() and read_json(run.poses_path).get("cameras") == "estimated"


def _gaussian_splatting_config(dataset: Dataset, config: ReconstructConfig) -> GaussianSplattingConfig:
    on_cpu = config.device == "cpu"
    values = few_view_values(dataset, MAX_GAUSSIANS_CPU if on_cpu else MAX_GAUSSIANS_CUDA)
    values |= _common_values(dataset, config)
    values["steps"] = config.steps or (STEPS_CPU if on_cpu else STEPS_CUDA)
    values["refine_poses"] = config.refine_poses == "on"
    if config.densify == "mcmc":
        return GaussianSplattingConfig.mcmc(**values)
    if config.densify != "auto":
        values["densification"] = config.densify
    return GaussianSplattingConfig(**values)


def _instantsplat_config(run: Run, dataset: Dataset, config: ReconstructConfig) -> instantsplat.InstantSplatConfig:
    values = instantsplat.few_view_values(dataset, on_cpu=config.device == "cpu") | _common_values(dataset, config)
    if config.sh_degree is not None:
        values["sh_every"] = 1 / (config.sh_degree + 1)  # each degree has its share of the run
    refine = cameras_are_estimated(run) if config.refine_poses == "auto" else config.refine_poses == "on"
    values["refine_poses"] = refine
    if config.steps is not None:
        values["steps"] = config.steps
    return instantsplat.instantsplat_config(**values)


def _common_values(dataset: Dataset, config: ReconstructConfig) -> dict[str, Any]:
    transparent = any(view.pixels.shape[-1] == 4 for view in dataset.views)
    # As published figures of the synthetic data sets are: transparent photographs on white.
    values: dict[str, Any] = {"seed": config.seed, "background": (1.0, 1.0, 1.0) if transparent else (0.0, 0.0, 0.0)}
    if config.sh_degree is not None:
        values["sh_degree"] = config.sh_degree
    if config.max_gaussians is not None:
        values["max_gaussians"] = config.max_gaussians
    return values


def _stereo(run: Run, dataset: Dataset, config: ReconstructConfig, progress: Progress) -> Stereo:
    """Dense depth of the training views; computed once for a run."""
    train = list(dataset.train)
    names = [dataset.names[i] for i in train]
    if run.stereo_path.is_file():
        return load_stereo(run.stereo_path, dataset.cameras[train].to("cpu"), names)
    cameras = dataset.cameras[train].to("cpu")
    maps = estimate_depths(
        [dataset.view(i).pixels[..., :3].cpu() for i in train],
        cameras,
        _observed_points(dataset, train),
        seed=config.seed,
        masks=[dataset.view(i).counts() for i in train],
        progress=progress,
    )
    stereo = Stereo(cameras, maps)
    save_stereo(run.stereo_path, stereo, names)
    return stereo


def _observed_points(dataset: Dataset, views: list[int]) -> PointCloud:
    """The sparse points that at least two of these views see, with views renumbered; none without observations."""
    points = dataset.points
    if points is None or points.seen_view is None:
        return PointCloud.empty()
    return points.to("cpu").in_views(views)
