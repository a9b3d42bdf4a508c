"""The cube of `small_run` as a splat that stands still, as one that drifts, and as a run that moves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from fewview.scene.capture import Capture
from fewview.scene.frame_motion import FrameMotion
from fewview.scene.readers import save_capture
from fewview.scene.run import Run
from fewview.scene.run_splat import save_run_splat
from fewview.scene.splat import MovingSplat, StaticSplat
from support.small_run import small_capture, small_gaussians

FIRST_S, LAST_S = 1.0, 3.0
DRIFT = (0.6, 0.0, 0.0)  # from the first moment to the last, in the world


def small_splat(seed: int = 0) -> StaticSplat:
    return StaticSplat(small_gaussians(seed=seed))


def moving_splat(count: int = 400, moments: int = 3) -> MovingSplat:
    """All Gaussians drift along x, evenly; the canonical ones are of no moment."""
    g = small_gaussians(count)
    share = torch.linspace(0, 1, moments)
    means = g.means + share[:, None, None] * torch.tensor(DRIFT)
    times = FIRST_S + share.double() * (LAST_S - FIRST_S)
    motion = FrameMotion(times, means, g.quats.expand(moments, -1, -1).clone())
    canonical = replace(g, means=g.means + 100)
    return MovingSplat(canonical, background=(0.0, 0.0, 0.0), motion=motion)


def timed_capture() -> Capture:
    """The photographs of `small_run`, taken at 1, 1.5, ... 3 s."""
    capture = small_capture()
    step = (LAST_S - FIRST_S) / (len(capture) - 1)
    frames = tuple(replace(frame, time_s=FIRST_S + i * step) for i, frame in enumerate(capture.frames))
    return replace(capture, frames=frames)


def moving_run(folder: Path) -> Run:
    run = Run.create(folder, {"command": "reconstruct", "input": "video.mp4", "version": "0.1.0"})
    save_capture(run, timed_capture(), 96)
    save_run_splat(run, moving_splat())
    return run
