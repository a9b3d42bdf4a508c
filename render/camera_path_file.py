"""Camera paths as JSON, in the layout that nerfstudio's viewer writes and `ns-render camera-path` reads.

Convention of that layout (nerfstudio 1.1: `viewer/render_panel.py` and `cameras/camera_paths.py`):

* `keyframes[].matrix` and `camera_path[].camera_to_world` are world_from_cam, 16 numbers row by row, in OpenGL axes
  (x right, y up, z backward); Fewview's are OpenCV's, which turns y and z about. `fov` is of the height, in degrees.
* `camera_path` lists each picture; `ns-render` draws these and shows len(camera_path) / seconds in a second.
* The world is that of the model that is drawn. nerfstudio's loader moves and scales a scene's cameras, so a path fits
  what was trained there or a splat exported from there; a path of another model needs that model's frame.

Files of ours carry the object `fewview` besides: the key frames without conversion, which `read_camera_path` prefers,
so that a path comes back bit for bit. Files of nerfstudio's older viewer (matrices as text) and of its Blender plug-in
(no key frames) are read through `camera_path`, every picture being a key frame.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..scene.errors import BadInputError
from ..scene.files import read_json, write_json
from ..scene.json_field import JsonField
from .camera_path import MAX_PICTURES, CameraPath, KeyFrame

FORMAT_VERSION = 1
OPENCV_FROM_OPENGL = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64))  # its own inverse


def write_camera_path(path: Path | str, camera_path: CameraPath) -> None:
    """Write a JSON file that `read_camera_path` returns exactly and `ns-render camera-path` renders."""
    write_json(Path(path), camera_path_json(camera_path))


def read_camera_path(path: Path | str) -> CameraPath:
    """The camera path of a JSON file by Fewview or nerfstudio; a crop box in it is not applied.

    Raises BadInputError that names the file and the field.
    """
    return camera_path_from_json(read_json(Path(path)), str(path))


def camera_path_json(camera_path: CameraPath) -> dict[str, Any]:
    """The JSON object of a path."""
    world_from_cam, fov, times = camera_path.at(camera_path.picture_times_s())
    pictures = [
        {"camera_to_world": matrix, "fov": degrees, "aspect": camera_path.width / camera_path.height}
        for matrix, degrees in zip(_opengl(world_from_cam), fov.rad2deg().tolist(), strict=True)
    ]
    if times is not None:
        for picture, time in zip(pictures, times.tolist(), strict=True):
            picture["render_time"] = time
    return {
        "camera_type": "perspective",
        "render_height": camera_path.height,
        "render_width": camera_path.width,
        "fps": camera_path.fps,
        "seconds": len(pictures) / camera_path.fps,
        "is_cycle": camera_path.loop,
        "smoothness_value": camera_path.tension,
        # nerfstudio's viewer takes a key frame's lens for its own default where the two agree; none agrees with 0.
        "default_fov": 0.0,
        "default_transition_sec": camera_path.default_transition_s,
        "keyframes": [_json_of_key_frame(frame, camera_path) for frame in camera_path.key_frames],
        "camera_path": pictures,
        "fewview": {
            "version": FORMAT_VERSION,
            "key_frames": [
                {
                    "world_from_cam": frame.world_from_cam.flatten().tolist(),
                    "fov_rad": frame.fov_rad,
                    "transition_s": frame.transition_s,
                    "time": frame.time_s,
                }
                for frame in camera_path.key_frames
            ],
        },
    }


def camera_path_from_json(value: Any, source: str) -> CameraPath:
    """The path of a JSON value that comes from `source` (a file's name, for what errors say)."""
    root = JsonField(value, source, "a camera path")
    kind = root.get("camera_type", "perspective").text()
    if kind.lower() != "perspective":
        raise BadInputError(f"{source} is a path for {kind[:40]!r} cameras; only perspective ones can be rendered.")
    fps, transition_s = root.get("fps", 30.0).number(), root.get("default_transition_sec", 2.0).number()
    key_frames = root.get("keyframes", []).items(MAX_PICTURES)
    if root.has("fewview"):
        frames = _own_key_frames(root["fewview"])
    elif key_frames and isinstance(key_frames[0]["matrix"].value, list):
        frames = [_nerfstudio_key_frame(item) for item in key_frames]
    else:
        frames = [_picture(item) for item in root.get("camera_path", []).items(MAX_PICTURES)]
        seconds = root.get("seconds", 0.0).number()
        fps = len(frames) / seconds if seconds > 0 and frames else fps  # as ns-render does; the plug-in writes no fps
        transition_s = 1 / fps if fps > 0 else transition_s
    if any(frame.time_s is None for frame in frames):  # nerfstudio's rule: all or none
        frames = [replace(frame, time_s=None) for frame in frames]
    size = root["render_width"].whole(), root["render_height"].whole()
    loop, tension = root.get("is_cycle", False).flag(), root.get("smoothness_value", 0.0).number()
    try:
        return CameraPath(tuple(frames), *size, fps, transition_s, loop, tension)
    except BadInputError as error:
        raise BadInputError(f"{source}: {error}") from error


def _json_of_key_frame(frame: KeyFrame, camera_path: CameraPath) -> dict[str, Any]:
    told: dict[str, Any] = {
        "matrix": _opengl(frame.world_from_cam),
        "fov": math.degrees(frame.fov_rad),
        "aspect": camera_path.width / camera_path.height,
        "override_transition_enabled": frame.transition_s is not None,
        "override_transition_sec": frame.transition_s,
    }
    if frame.time_s is not None:
        told |= {"render_time": frame.time_s, "override_time_enabled": True}
    return told


def _own_key_frames(own: JsonField) -> list[KeyFrame]:
    if own["version"].whole() > FORMAT_VERSION:
        raise BadInputError(
            f"{own.source} was written by a newer Fewview (format {own['version'].whole()}, this one knows "
            f"{FORMAT_VERSION}); update Fewview to read it."
        )
    return [
        KeyFrame(
            _matrix(item["world_from_cam"]),
            item["fov_rad"].number(),
            item.get("transition_s", None).number_or_none(),
            item.get("time", None).number_or_none(),
        )
        for item in own["key_frames"].items(MAX_PICTURES)
    ]


def _nerfstudio_key_frame(item: JsonField) -> KeyFrame:
    # The viewer writes the seconds of a transition that was switched off again, too.
    overridden = item.get("override_transition_enabled", None).value is True
    return KeyFrame(
        _matrix(item["matrix"]) @ OPENCV_FROM_OPENGL,
        math.radians(item["fov"].number()),
        item.get("override_transition_sec", None).number_or_none() if overridden else None,
        item.get("render_time", None).number_or_none(),
    )


def _picture(item: JsonField) -> KeyFrame:
    pose = _matrix(item["camera_to_world"]) @ OPENCV_FROM_OPENGL
    return KeyFrame(pose, math.radians(item["fov"].number()), None, item.get("render_time", None).number_or_none())


def _matrix(field: JsonField) -> Tensor:
    """[4, 4] float64 of 16 numbers row by row."""
    return field.numbers(16).reshape(4, 4)


def _opengl(world_from_cam: Tensor) -> list[Any]:
    """16 numbers, row by row, of each matrix [..., 4, 4]; `+ 0.0` keeps minus zeros out of the file."""
    return (world_from_cam @ OPENCV_FROM_OPENGL + 0.0).flatten(-2).tolist()
