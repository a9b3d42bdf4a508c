"""A camera that stands while something moves before it: one camera for all frames, and the sentences about it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from ...scene.cameras import Cameras
from ...scene.capture import Capture
from ...scene.errors import BadInputError
from ...scene.progress import Progress, silent
from .focal_prior import UNKNOWN_FOCAL_RATIOS
from .moving_pixels import FilmMotion, is_film
from .pose_estimator import Poses
from .world_frame import MEDIAN_DEPTH

# Something that turns before a camera that stands gives cameras around it. So many frames of the film must have one,
# with so much belief on average, and the cameras must turn so far: things that merely move give cameras all in one
# place, or none that can be believed.
AROUND_PLACED, AROUND_BELIEVED, AROUND_DEG = 0.8, 0.5, 15.0
CUT_OUT = 0.2  # of the picture is transparent, at least, where an object was cut out of its background


@dataclass(frozen=True)
class StandingCamera:
    """`PoseEstimator` for a film of which a person knows that its camera stood."""

    name: str = "a camera that stands"

    @classmethod
    def of(cls, capture: Capture) -> StandingCamera:
        """Raises BadInputError for photographs that are no film of one camera."""
        if not is_film(capture):
            raise BadInputError(
                f"{capture.source} is no film of one camera, which --standing-camera is for: a video, or frames of one "
                "size with --fps, are expected."
            )
        return cls()

    def place(self, capture: Capture, progress: Progress = silent) -> Poses:
        return standing_camera(capture)


def standing_camera(capture: Capture) -> Poses:
    """All frames from one camera, at the world's usual distance before it; see `Poses` for the world frame.

    Nothing tells how far away what moves is: no parallax. The focal length is EXIF's, or else a usual one.
    """
    frames = tuple(capture.frames)
    cam_from_world = torch.tensor(
        [[1.0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, MEDIAN_DEPTH], [0, 0, 0, 1]]  # x right, z up, looking along +y
    )
    focal_px = [f.focal_px or UNKNOWN_FOCAL_RATIOS[0] * max(f.width, f.height) for f in frames]
    cameras = Cameras.stack(
        [Cameras.pinhole(cam_from_world, focal, f.width, f.height) for focal, f in zip(focal_px, frames, strict=True)]
    )
    known = all(frame.focal_px is not None for frame in frames)
    note = (
        "The camera stands still, so the depth of what moves is a guess"
        f"{'' if known else ', and so is the focal length'}: all frames have one camera. A film from a hand that "
        "walks, or several cameras, would show depth."
    )
    placed = Capture(
        frames,
        capture.source,
        cameras,
        test=capture.test,
        notes=capture.notes,
    )
    stats = {"features": "none", "photographs": len(frames), "placed": len(frames), "camera": "standing"}
    stats["focal_px"] = [round(focal, 2) for focal in sorted(set(focal_px))]
    return Poses(placed, list(range(len(frames))), {}, {}, stats, notes=(note,))


def goes_round(poses: Poses, frames: int) -> bool:
    """True where cameras of a film of so many frames, found from what moves, are those around a thing that turns."""
    assert poses.capture.cameras is not None
    rotation = poses.capture.cameras.cam_from_world[:, :3, :3].double()
    cosine = (torch.einsum("aij,bij->ab", rotation, rotation) - 1) / 2
    turn_deg = math.degrees(float(cosine.clamp(-1, 1).arccos().max()))
    believed = sum(belief for belief in poses.confidence if belief is not None)
    return (
        len(poses.placed) >= AROUND_PLACED * frames
        and believed >= AROUND_BELIEVED * len(poses.placed)
        and turn_deg >= AROUND_DEG
    )


def is_cut_out(capture: Capture) -> bool:
    """True where the first frame shows an object without its background, which could tell of the camera's motion."""
    pixels = capture.frames[0].load()
    return pixels.shape[-1] == 4 and float(np.mean(pixels[..., 3] < 128)) >= CUT_OUT


def moving_note(motion: FilmMotion) -> str:
    """A sentence on what moves in a film whose camera moves, too."""
    frames = sum(bool(moving.any()) for moving in motion.moving)
    return (
        f"Something moves in {frames} of {len(motion.moving)} frames, {motion.share:.0%} of the picture on average: "
        "the cameras were found from what stands still."
    )
