"""The first stage of a run: from an input to placed photographs in the run folder."""

from __future__ import annotations

import time
from pathlib import Path

from ...scene.capture import Capture
from ...scene.progress import Progress, silent
from ...scene.readers import load_run_capture
from ...scene.run import Run
from ..evidence.given_prior import check_prior
from ..evidence.plain_background import with_plain_backgrounds_cut_out
from ..evidence.stable_zero123 import checked_configs
from ..methods.registry import method
from .placement import place, pose_estimator
from .prepare_method import refuse_few_to_compare
from .read_input import read_input
from .reconstruct_config import ReconstructConfig
from .select_views import select_views


def placed_input(run: Run, source: Path | str, config: ReconstructConfig, progress: Progress = silent) -> Capture:
    """The chosen photographs with cameras, as the run keeps them: read, selected, placed and copied on first call."""
    if run.poses_path.is_file():
        return load_run_capture(run)
    started = time.perf_counter()
    found = read_input(source, config, progress)
    estimator = pose_estimator(run, found, config)  # loads a network's weights, before anything that takes long
    if config.depth_prior is not None:
        check_prior(config.depth_prior)
    if config.view_prior is not None:
        checked_configs(config.view_prior)  # the networks themselves are loaded when the mesh is there
    selected = select_views(found, config, progress)
    if config.compare_methods:
        refuse_few_to_compare(len(selected) - len(selected.test or ()))
    if config.method != "auto" and method(config.method).needs_mattes:
        selected = with_plain_backgrounds_cut_out(selected, progress)
    run.add_metrics(seconds={"read": time.perf_counter() - started})
    return place(run, selected, estimator, config, progress)
