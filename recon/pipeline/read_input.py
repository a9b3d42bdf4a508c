"""Reading the input of a reconstruction."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from ...scene.capture import Capture
from ...scene.errors import BadInputError
from ...scene.progress import Progress, silent
from ...scene.readers import read_capture
from ..methods.moving_capture import require_times
from ..methods.registry import method
from .reconstruct_config import ReconstructConfig
from .select_views import HOLD_OUT_EVERY

VIDEO_FRAMES = 24  # taken from a video when nothing is said; moments of several synchronised ones
VIDEO_CHOICE = 3  # frames of a video to choose a useful one from


def read_input(source: Path | str, config: ReconstructConfig, progress: Progress = silent) -> Capture:
    """Everything at `source`, before views are selected. Raises BadInputError where it cannot be reconstructed."""
    wanted = math.ceil((config.views or 0) * (HOLD_OUT_EVERY / (HOLD_OUT_EVERY - 1) if config.measures else 1))
    capture = read_capture(
        source,
        max_megapixels=config.max_megapixels,
        allow_outside=config.allow_outside,
        images=config.images,
        fps=config.fps,
        asked_side_px=config.max_side_px,
        progress=progress,
        video_frames=max(wanted * (VIDEO_CHOICE if config.choose == "useful" else 1), VIDEO_FRAMES),
    )
    if len(capture) == 1 and capture.cameras is None:
        needed = "at least two that show the same things from different places are needed."
        raise BadInputError(" ".join([f"{source} holds one photograph; {needed}", *capture.notes]))
    if config.method != "auto" and method(config.method).uses_time:
        require_times(capture, config.method)  # here, and not after minutes in which cameras are looked for
    if config.focal_px is None:
        return capture
    if capture.cameras is not None:
        raise BadInputError(f"{source} has cameras, which say how long its lenses are; leave --focal-px out.")
    return replace(capture, frames=tuple(replace(frame, focal_px=config.focal_px) for frame in capture.frames))
