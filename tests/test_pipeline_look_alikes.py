"""Generated photographs of things of which parts look alike, through `scripts/make_look_alikes.py`, to cameras."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from fewview.recon.poses import PosesConfig, estimate_poses, pose_errors
from fewview.recon.poses.matchers import is_available
from fewview.scene.readers import read_capture
from fewview.scene.run import SURE

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "make_look_alikes.py"
PLACED = 7  # of 9: how many come out is not the same to the last photograph with every processor's rounding


@pytest.mark.parametrize(("kind", "seed"), [("ordinary", 61009), ("curls", 61006)])
def test_distinct_things_full_of_look_alikes_are_placed_right(kind: str, seed: int, tmp_path: Path) -> None:
    # A matcher that sees only those keypoints which look most like something in the other photograph loses what tells
    # look-alikes apart: it gave 3 and 2 right cameras of these nine.
    if not is_available("xfeat"):
        pytest.skip("the package with the weights of xfeat is not installed")
    options = ["--scenes", "1", "--views", "9", "--kinds", kind, "--seed", str(seed)]
    subprocess.run([sys.executable, SCRIPT, tmp_path, *options], check=True, timeout=600)
    capture = read_capture(tmp_path / f"000_{kind}")
    poses = estimate_poses(replace(capture, cameras=None, points=None), PosesConfig(features="xfeat"))
    assert len(poses.placed) >= PLACED
    errors = pose_errors(poses.capture.cameras.cam_from_world, capture.cameras[poses.placed].cam_from_world)
    assert float(errors.pairs.rotation_deg.max()) < 10
    assert sum(confidence is not None and confidence >= SURE for confidence in poses.confidence) >= PLACED
