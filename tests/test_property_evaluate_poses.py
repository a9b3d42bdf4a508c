"""A run's cameras against true ones: by name, blind to the world's frame, before and after training moved them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fewview.recon.poses.evaluate_poses import evaluate_poses
from fewview.scene import Capture, Frame
from fewview.scene.cameras import Cameras
from fewview.scene.errors import BadInputError
from fewview.scene.files import write_bytes
from fewview.scene.geometry import Similarity, se3_exp, so3_exp
from fewview.scene.readers import load_run_capture, save_cameras, save_capture
from fewview.scene.run import Run
from support.posed_photos import arc


def capture_of(n: int, endings: str = ".jpg") -> Capture:
    image = np.zeros((12, 16, 3), np.uint8)
    frames = tuple(Frame(f"photos/view_{i}{endings}", 16, 12, lambda: image) for i in range(n))
    return Capture(frames, "a test", Cameras.pinhole(arc(n, seed=1).float(), 14.0, 16, 12), test=(2,))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = Run.create(tmp_path / "run", {})
    save_capture(run, capture_of(6), 16)
    return run


def elsewhere(capture: Capture) -> Capture:
    assert capture.cameras is not None
    similarity = Similarity(torch.tensor(3.0), so3_exp(torch.tensor([0.3, -1.0, 0.5])), torch.tensor([5.0, 1.0, -2.0]))
    return replace(capture, cameras=capture.cameras.transformed(similarity))


def test_the_same_cameras_in_another_world_and_with_other_endings_have_no_error(run: Run) -> None:
    result = evaluate_poses(run, elsewhere(capture_of(6, ".png")))
    assert result["views"] == 5  # the held-out one is no training camera
    assert "estimated" not in result
    assert result["refined"]["ate"] < 1e-5  # cameras of a run are written with float32's digits
    assert result["refined"]["rotation_max_deg"] < 0.01


def test_cameras_before_training_are_measured_apart(run: Run) -> None:
    write_bytes(run.estimated_cameras_path, run.cameras_path.read_bytes())
    cameras = load_run_capture(run).cameras
    assert cameras is not None
    moved = cameras.cam_from_world.clone()
    moved[1] = se3_exp(torch.tensor([0.0, np.radians(2.0), 0, 0, 0, 0])).float() @ moved[1]
    save_cameras(run, replace(cameras, cam_from_world=moved))
    result = evaluate_poses(run, capture_of(6))
    assert result["estimated"]["rotation_max_deg"] < 0.01
    assert result["refined"]["rotation_max_deg"] == pytest.approx(2.0, abs=0.01)  # the turn that was made, float32


def test_what_cannot_be_compared_is_said(run: Run) -> None:
    with pytest.raises(BadInputError, match="has no cameras to compare with"):
        evaluate_poses(run, replace(capture_of(6), cameras=None))
    others = capture_of(6)
    strangers = replace(others, frames=tuple(replace(f, name=f"other_{f.name[-5:]}") for f in others.frames))
    with pytest.raises(BadInputError, match="cameras for 0 of the run's training photographs"):
        evaluate_poses(run, strangers)
