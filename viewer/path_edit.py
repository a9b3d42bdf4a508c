"""Camera paths as the film tab uses them, without any controls: edits, views, and their pictures to a file."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..render.camera_path import CameraPath, KeyFrame
from ..render.camera_path_file import camera_path_from_json, camera_path_json
from ..render.film import film_pictures
from ..render.video_writer import write_mp4
from ..scene.cameras import Cameras
from ..scene.errors import BadInputError
from ..scene.files import parse_json
from ..scene.geometry import se3_inverse
from ..scene.splat import Splat
from .guard import MAX_UPLOAD_BYTES
from .stage import FOCUS_DISTANCE, Stage, vertical_fov
from .viewpoint import Viewpoint

MIN_TRANSITION_S = 0.05
MAX_EDITED = 1000  # key frames; more are a recording, which `fewview render` takes
CURVE_POINTS = 400


class Cancelled(Exception):
    """Somebody pressed Cancel."""


def key_frame_of(camera: Cameras, transition_s: float | None = None) -> KeyFrame:
    """A key frame where a camera [] stands, through its lens."""
    time = None if camera.times_s is None else float(camera.times_s)
    return KeyFrame(se3_inverse(camera.cam_from_world.double()), vertical_fov(camera), transition_s, time)


def inserted(path: CameraPath, frame: KeyFrame, index: int) -> CameraPath:
    """The path with another key frame before the one at `index`; at the end where index is the number of them."""
    frames = path.key_frames
    if len(frames) >= MAX_EDITED:
        raise BadInputError(f"The path has {len(frames):,} key frames already; delete some before adding more.")
    timed = all(f.time_s is not None for f in frames)
    frame = replace(frame, time_s=(frame.time_s or 0.0) if timed else None)
    return replace(path, key_frames=(*frames[:index], frame, *frames[index:]))


def removed(path: CameraPath, index: int) -> CameraPath | None:
    """The path without a key frame, None without the last one; those after it keep their times."""
    frames = list(path.key_frames)
    gone = frames.pop(index)
    if not frames:
        return None
    if 0 < index < len(frames):
        both = _seconds(path, gone) + _seconds(path, frames[index])
        frames[index] = replace(frames[index], transition_s=both)
    return replace(path, key_frames=tuple(frames))


def replaced(path: CameraPath, index: int, frame: KeyFrame) -> CameraPath:
    """The path with another pose and lens at a key frame, which keeps its times."""
    old = path.key_frames[index]
    frame = replace(frame, transition_s=old.transition_s, time_s=old.time_s)
    return replace(path, key_frames=(*path.key_frames[:index], frame, *path.key_frames[index + 1 :]))


def retimed(path: CameraPath, times_s: Sequence[float]) -> CameraPath:
    """The path that passes its N key frames at other times [N] in rising order, of which only differences count."""
    if len(times_s) != len(path.key_frames):
        raise ValueError(f"expected {len(path.key_frames)} times, found {len(times_s)}")
    gaps = np.maximum(np.diff(np.asarray(times_s, float)), MIN_TRANSITION_S).round(6).tolist()
    later = [replace(f, transition_s=gap) for f, gap in zip(path.key_frames[1:], gaps, strict=True)]
    return replace(path, key_frames=(path.key_frames[0], *later))


def with_transition(path: CameraPath, index: int, seconds: float) -> CameraPath:
    """The path with other seconds to a key frame from the one before."""
    frame = replace(path.key_frames[index], transition_s=max(seconds, MIN_TRANSITION_S))
    return replace(path, key_frames=(*path.key_frames[:index], frame, *path.key_frames[index + 1 :]))


def is_timed(path: CameraPath | None) -> bool:
    """True for a path whose key frames hold moments of the scene."""
    return path is not None and path.key_frames[0].time_s is not None


def with_times(path: CameraPath, time_range_s: tuple[float, float]) -> CameraPath:
    """The path with a moment of the scene in each key frame: those that it passes as it is."""
    times = moments(path, time_range_s, path.key_times_s[: len(path.key_frames)])
    assert times is not None
    frames = tuple(replace(f, time_s=time) for f, time in zip(path.key_frames, times, strict=True))
    return replace(path, key_frames=frames)


def without_times(path: CameraPath) -> CameraPath:
    """The path whose film plays the whole motion once."""
    return replace(path, key_frames=tuple(replace(f, time_s=None) for f in path.key_frames))


def with_time(path: CameraPath, index: int, time_s: float) -> CameraPath:
    """The path with another moment of the scene in one key frame, of a path that holds some."""
    frame = replace(path.key_frames[index], time_s=time_s)
    return replace(path, key_frames=(*path.key_frames[:index], frame, *path.key_frames[index + 1 :]))


def views(path: CameraPath, stage: Stage, times_s: np.ndarray) -> list[Viewpoint]:
    """Viewpoints of a browser's camera along the path, at times [n]."""
    world_from_cam, fov, _ = path.at(times_s)
    positions = stage.place(world_from_cam[:, :3, 3]).astype(float)
    down, forward = world_from_cam[:, :3, 1].numpy(), world_from_cam[:, :3, 2].numpy()
    return [
        Viewpoint(position, position + FOCUS_DISTANCE * ahead, float(angle), -below)
        for position, ahead, below, angle in zip(positions, forward, down, fov, strict=True)
    ]


def ride_times(path: CameraPath, begin_s: float, per_second: float) -> np.ndarray:
    """Times [n] of a preview from `begin_s`: to the end, which is shown too, or once around a loop."""
    if path.loop:
        n = max(math.ceil(path.duration_s * per_second), 1)
        return np.mod(begin_s + np.arange(n) * (path.duration_s / n), path.duration_s)
    begin_s = 0.0 if begin_s >= path.duration_s - 1e-3 else begin_s  # once more from the beginning
    return np.linspace(begin_s, path.duration_s, math.ceil((path.duration_s - begin_s) * per_second) + 1)


def curve(path: CameraPath, stage: Stage) -> np.ndarray:
    """Line segments float32 [n, 2, 3] on the page along the path."""
    world_from_cam, _, _ = path.at(np.linspace(0, path.duration_s, CURVE_POINTS))
    points = stage.place(world_from_cam[:, :3, 3])
    return np.stack([points[:-1], points[1:]], axis=1)


def summary(path: CameraPath | None) -> str:
    if path is None:
        return "No key frames yet: move to where the film begins and add one."
    count = len(path.key_frames)
    frames = f"{count:,} key frame{'s' if count > 1 else ''}"
    return f"{frames} · {path.duration_s:.4g} s · {path.count:,} pictures of {path.width}x{path.height}"


def path_bytes(path: CameraPath) -> bytes:
    """The path as a JSON file's content."""
    return (json.dumps(camera_path_json(path), indent=2, allow_nan=False) + "\n").encode()


def path_from_bytes(content: bytes, name: str) -> CameraPath:
    """The path in the content of a JSON file that somebody gave the page; BadInputError names it and what is wrong."""
    if len(content) > MAX_UPLOAD_BYTES:
        raise BadInputError(f"{name} has {len(content):,} bytes; at most {MAX_UPLOAD_BYTES:,} are read here.")
    path = camera_path_from_json(parse_json(content, name), name)
    if len(path.key_frames) > MAX_EDITED:
        raise BadInputError(
            f"{name} has {len(path.key_frames):,} key frames; up to {MAX_EDITED:,} can be edited here. "
            "`fewview render --path` takes it as it is."
        )
    return path


def export_film(
    file: Path,
    splat: Splat,
    path: CameraPath,
    progress: Callable[[int, int], None],
    cancelled: Callable[[], bool],
) -> int:
    """Write the film of a path; the number of its pictures. Raises Cancelled, and leaves no file then."""
    cameras = path.cameras()

    def pictures() -> Iterator[np.ndarray]:
        for i, picture in enumerate(film_pictures(splat, cameras)):
            if cancelled():
                raise Cancelled
            progress(i, len(cameras))
            yield picture

    return write_mp4(file, pictures(), path.fps)


def moments(path: CameraPath, time_range_s: tuple[float, float] | None, times_s: np.ndarray) -> list[float] | None:
    """Moments of the scene at times [n] of a path; without any in its key frames the motion takes its whole length.

    None where nothing moves.
    """
    if time_range_s is None:
        return None
    scene_times = path.at(times_s)[2]
    if scene_times is not None:
        return scene_times.tolist()
    share = np.asarray(times_s, float) / max(path.duration_s, 1e-9)
    return (time_range_s[0] + share.clip(0, 1) * (time_range_s[1] - time_range_s[0])).tolist()


def film_file(folder: Path) -> Path:
    """A name for the next film in a folder, which is made: film-001.mp4, film-002.mp4, ..."""
    folder.mkdir(parents=True, exist_ok=True)
    number = 1
    while (file := folder / f"film-{number:03d}.mp4").exists():
        number += 1
    return file


def _seconds(path: CameraPath, frame: KeyFrame) -> float:
    return path.default_transition_s if frame.transition_s is None else frame.transition_s


def default_size(cameras: Cameras | None) -> tuple[int, int]:
    """Even width and height of a film: as many pixels as 1280x720, in the shape of the first photograph."""
    if cameras is None or len(cameras) == 0:
        return 1280, 720
    shape = float(cameras.height[0]) / float(cameras.width[0])
    width = 2 * max(1, round(math.sqrt(1280 * 720 / shape) / 2))
    return width, 2 * max(1, round(width * shape / 2))
