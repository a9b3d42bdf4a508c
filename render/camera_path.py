"""`CameraPath`: key frames of a film, and the cameras between them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from ..scene.cameras import Cameras
from ..scene.errors import BadInputError
from ..scene.geometry import se3_from, se3_inverse
from .key_frame_spline import index_at, monotone_values, spline_rotations, spline_values
from .paths import check_path, median_lens

MAX_PICTURES = 100_000  # nearly an hour at 30 a second
MAX_SIDE_PX = 8192
MAX_FPS = 240.0
MAX_COORDINATE = 1e12  # far inside what float32 holds, squared too
RIGID_TOLERANCE = 1e-3  # of a rotation's products; files with four digits pass, a scaled or sheared matrix does not
EXACT_TOLERANCE = 1e-6  # float32 rounding; within it a matrix is kept bit for bit


@dataclass(frozen=True)
class KeyFrame:
    """Pose that the camera passes, in OpenCV axes (x right, y down, z forward)."""

    world_from_cam: Tensor  # [4, 4] float64, rigid
    fov_rad: float  # of the picture's height
    transition_s: float | None = None  # from the key frame before; None is the path's own. The first counts in a loop
    time_s: float | None = None  # the moment of a moving scene, in its own times


@dataclass(frozen=True)
class CameraPath:
    """Key frames and how the camera goes from one to the next, smoothly in place, direction and pace.

    Raises BadInputError that names the key frame when a number is not finite, a matrix is not a rigid motion, or a
    limit is passed. Matrices that are rigid to four digits only are made exactly so.
    """

    key_frames: tuple[KeyFrame, ...]  # at least 1
    width: int = 1920  # of the pictures, pixels
    height: int = 1080
    fps: float = 30.0  # pictures in a second
    default_transition_s: float = 2.0
    loop: bool = False  # whether the camera returns from the last key frame to the first
    tension: float = 0.0  # 0 is the smoothest, 1 stops at each key frame and goes straight between them

    def __post_init__(self) -> None:
        _check_numbers(self)
        frames = tuple(_checked(frame, i) for i, frame in enumerate(self.key_frames))
        object.__setattr__(self, "key_frames", frames)
        if len({frame.time_s is None for frame in frames}) > 1:
            raise BadInputError(
                "Some key frames of the camera path have a time of the scene and others have none; give all or none."
            )
        if self.duration_s * self.fps > MAX_PICTURES - 1:
            raise BadInputError(
                f"The camera path has {self.duration_s * self.fps:,.0f} pictures ({self.duration_s:,.0f} s at "
                f"{self.fps:g} a second); at most {MAX_PICTURES:,} are possible."
            )

    @classmethod
    def through(cls, cameras: Cameras, *, seconds: float = 4.0, fps: float = 30.0, loop: bool = False) -> CameraPath:
        """The cameras [N] of photographs as key frames in their order, evenly timed over `seconds`.

        The picture's size is that of the camera with the median field of view; principal points move to the centre.

        >>> import torch
        >>> from fewview.scene import Cameras
        >>> poses = torch.eye(4).repeat(3, 1, 1)
        >>> poses[:, 0, 3] = torch.tensor([0.0, 1.0, 2.0])  # cam_from_world: the camera steps along -x
        >>> path = CameraPath.through(Cameras.pinhole(poses, 500.0, 640, 480), seconds=2, fps=10)
        >>> path.count, path.key_times_s.tolist()
        (21, [0.0, 1.0, 2.0])
        >>> world_from_cam, fov_rad, _ = path.at([1.0])
        >>> round(float(world_from_cam[0, 0, 3]), 6)
        -1.0
        """
        check_path(cameras, 1)
        lens = median_lens(cameras)
        fovs = (2 * torch.atan(cameras.height / (2 * cameras.K[:, 1, 1].double()))).tolist()
        times: list[float | None]
        times = [None] * len(cameras) if cameras.times_s is None else cameras.times_s.tolist()
        poses = se3_inverse(cameras.cam_from_world.double())
        transitions = max(len(cameras) - (not loop), 1)
        return cls(
            tuple(KeyFrame(pose, fov, None, time) for pose, fov, time in zip(poses, fovs, times, strict=True)),
            int(lens.width),
            int(lens.height),
            fps,
            seconds / transitions,
            loop,
        )

    @property
    def transitions_s(self) -> np.ndarray:
        """Seconds [N - 1] from each key frame to the next, [N] in a loop with the way back to the first as the last."""
        chosen = [self.default_transition_s if f.transition_s is None else f.transition_s for f in self.key_frames]
        return np.array(chosen[1:] + chosen[:1] if self.loop else chosen[1:])

    @property
    def key_times_s(self) -> np.ndarray:
        """Times of the key frames, seconds [N]; in a loop [N + 1], the last being the return to the first."""
        return np.concatenate([[0.0], np.cumsum(self.transitions_s)])

    @property
    def duration_s(self) -> float:
        return float(self.transitions_s.sum())

    @property
    def count(self) -> int:
        """Number of pictures of the film: both ends of an open path, no repetition in a loop."""
        return max(round(self.duration_s * self.fps) + (not self.loop), 1)

    def picture_times_s(self, count: int | None = None) -> np.ndarray:
        """Times of the pictures, seconds [n], evenly over the whole path; `count` of them instead of the film's."""
        n = self.count if count is None else count
        return np.linspace(0, self.duration_s, n, endpoint=not self.loop)

    def lasting(self, seconds: float) -> CameraPath:
        """The same path in another time, all transitions stretched alike."""
        if self.duration_s == 0:
            return self
        factor = seconds / self.duration_s
        frames = [
            frame if frame.transition_s is None else replace(frame, transition_s=frame.transition_s * factor)
            for frame in self.key_frames
        ]
        return replace(self, key_frames=tuple(frames), default_transition_s=self.default_transition_s * factor)

    def at(self, times_s: np.ndarray | Sequence[float]) -> tuple[Tensor, Tensor, Tensor | None]:
        """(world_from_cam [n, 4, 4], fov of the height in radians [n], scene times [n] or None), float64, at [n]."""
        frames, closed = self.key_frames, self.loop
        index = index_at(np.clip(np.asarray(times_s, float), 0, self.duration_s), self.key_times_s, closed)
        poses = torch.stack([frame.world_from_cam for frame in frames]).numpy()
        positions = spline_values(poses[:, :3, 3], index, self.tension, closed)
        rotations = spline_rotations(Rotation.from_matrix(poses[:, :3, :3]), index, self.tension, closed)
        world_from_cam = se3_from(torch.from_numpy(rotations.as_matrix()), torch.from_numpy(positions))
        fovs = np.array([frame.fov_rad for frame in frames])
        fov = spline_values(fovs[:, None], index, self.tension, closed)[:, 0]
        # The curve swings out a little beyond its key frames; a lens of 0 or 180 degrees must not come of it.
        fov = np.clip(fov, fovs.min() / 2, (fovs.max() + math.pi) / 2)
        times = [frame.time_s for frame in frames if frame.time_s is not None]
        if not times:
            return world_from_cam, torch.from_numpy(fov), None
        moments = np.array(times + times[:1] if closed else times)
        return world_from_cam, torch.from_numpy(fov), torch.from_numpy(monotone_values(moments, index, closed))

    def cameras(self, width: int | None = None, height: int | None = None, count: int | None = None) -> Cameras:
        """The film's cameras [n], pinholes of width x height pixels; the field of view of the height is kept."""
        width, height = self.width if width is None else width, self.height if height is None else height
        world_from_cam, fov, times = self.at(self.picture_times_s(count))
        focal_px = (height / 2 / torch.tan(fov / 2)).float()
        return Cameras.pinhole(
            se3_inverse(world_from_cam).float(), focal_px, width, height, None if times is None else times.float()
        )


def _check_numbers(path: CameraPath) -> None:
    if not 1 <= len(path.key_frames) <= MAX_PICTURES:
        raise BadInputError(
            f"A camera path has 1 to {MAX_PICTURES:,} key frames; this one has {len(path.key_frames):,}."
        )
    if not (1 <= path.width <= MAX_SIDE_PX and 1 <= path.height <= MAX_SIDE_PX):
        raise BadInputError(
            f"The camera path's pictures have {path.width}x{path.height} pixels; 1 to {MAX_SIDE_PX} each way are "
            "possible."
        )
    if not 0 < path.fps <= MAX_FPS:
        raise BadInputError(f"The camera path asks for {path.fps:g} pictures a second; up to {MAX_FPS:g} are possible.")
    if not 0 < path.default_transition_s < math.inf:
        raise BadInputError(
            f"The camera path's transition of {path.default_transition_s:g} s cannot be used; it has to be above 0."
        )
    if not 0 <= path.tension <= 1:
        raise BadInputError(f"The camera path's tension is {path.tension:g}; a number from 0 to 1 is expected.")


def _checked(frame: KeyFrame, index: int) -> KeyFrame:
    """The key frame with a float64 pose that is exactly rigid; BadInputError names it by its number from 1."""
    where = f"Key frame {index + 1} of the camera path"
    if not 0 < frame.fov_rad < math.pi:
        raise BadInputError(
            f"{where} has a field of view of {math.degrees(frame.fov_rad):g} degrees; above 0 and below 180 are "
            "possible."
        )
    if frame.transition_s is not None and not 0 < frame.transition_s < math.inf:
        raise BadInputError(f"{where} has a transition of {frame.transition_s:g} s; it has to be above 0.")
    if frame.time_s is not None and not abs(frame.time_s) < MAX_COORDINATE:
        raise BadInputError(f"{where} has the scene's time {frame.time_s:g}; a finite number is expected.")
    pose = frame.world_from_cam.detach().double().cpu()
    if pose.shape != (4, 4) or not bool(torch.isfinite(pose).all()) or float(pose.abs().max()) > MAX_COORDINATE:
        raise BadInputError(
            f"{where} has no usable pose: a 4x4 matrix of numbers up to {MAX_COORDINATE:g} is expected."
        )
    rotation = pose[:3, :3]
    away = float((rotation.T @ rotation - torch.eye(3, dtype=torch.float64)).abs().max())
    last_row = float((pose[3] - torch.tensor([0.0, 0, 0, 1], dtype=torch.float64)).abs().max())
    if away > RIGID_TOLERANCE or last_row > EXACT_TOLERANCE or float(torch.det(rotation)) < 0:
        raise BadInputError(
            f"{where} has a matrix that is not a rigid motion (off by {max(away, last_row):.2g}, determinant "
            f"{float(torch.det(rotation)):.3g}); a rotation and a position are expected."
        )
    if away > EXACT_TOLERANCE:
        nearest = torch.from_numpy(Rotation.from_matrix(rotation.numpy()).as_matrix())
        pose = se3_from(nearest, pose[:3, 3])
    return replace(frame, world_from_cam=pose)
