"""A run's training cameras measured against true ones, as they were estimated and as training left them."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

import torch

from ...scene.capture import Capture
from ...scene.errors import BadInputError
from ...scene.readers import load_run_capture, read_capture
from ...scene.run import Run
from .pose_errors import pose_errors

MIN_VIEWS = 2


def evaluate_poses(run: Run, truth: Capture) -> dict[str, Any]:
    """Errors of the training cameras (`PoseErrors.summary`) as `refined`, and as `estimated` where training moved them.

    Photographs are found in `truth` by name, without folder and ending; the two worlds may differ by a similarity.
    Raises BadInputError when `truth` has no cameras, or shares fewer than two photographs with the run.
    """
    if truth.cameras is None:
        raise BadInputError(f"{truth.source} has no cameras to compare with.")
    capture = load_run_capture(run)
    assert capture.cameras is not None
    by_name = {_stem(name): i for i, name in enumerate(truth.names)}
    pairs = [(i, by_name[_stem(capture.names[i])]) for i in capture.split()[0] if _stem(capture.names[i]) in by_name]
    if len(pairs) < MIN_VIEWS:
        raise BadInputError(
            f"{truth.source} has cameras for {len(pairs)} of the run's training photographs, by their names; at least "
            f"{MIN_VIEWS} are needed."
        )
    ours, theirs = (torch.tensor(side) for side in zip(*pairs, strict=True))
    true = truth.cameras.cam_from_world[theirs]
    result: dict[str, Any] = {"views": len(pairs)}
    if run.estimated_cameras_path.is_file():
        before = read_capture(run.estimated_cameras_path).cameras
        assert before is not None
        result["estimated"] = pose_errors(before.cam_from_world[ours], true).summary()
    result["refined"] = pose_errors(capture.cameras.cam_from_world[ours], true).summary()
    return result


def _stem(name: str) -> str:
    return PurePosixPath(name).stem
