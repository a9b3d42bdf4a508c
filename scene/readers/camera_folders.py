"""A COLMAP model of cameras that stand, and a folder of frames for each: several cameras that film the same."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..capture import Capture
from ..errors import BadInputError
from .colmap import different_images, model_folder, posed_photographs
from .colmap_files import ColmapImage, read_cameras, read_images
from .photo_folders import photo_files
from .safe_paths import inside, listed, printable

_ROOTS = ("images", "frames", "videos", "input", "")
_NUMBER = re.compile(r"(\d+)$")


@dataclass(frozen=True)
class CameraFolder:
    """The image of a camera in the model, and the folder with the camera's frames."""

    image: ColmapImage
    root: Path  # of the folders of all cameras
    folder: Path
    files: tuple[Path, ...]


def camera_folders(path: Path) -> list[CameraFolder]:
    """The folders of frames of a model's cameras; empty where `path` has no such layout.

    That is where each image of the model lies in a folder of its own, or beside one of its name, with several frames.
    Raises BadInputError where the model is malformed.
    """
    model = model_folder(path)
    if model is None or not _several_frames(path):
        return []
    images, _ = different_images(model, sorted(read_images(model, read_cameras(model)), key=lambda image: image.name))
    for root in (base / name for base in dict.fromkeys((path, model.parent, model.parent.parent)) for name in _ROOTS):
        found = [folder for image in images if (folder := _folder_of(image, root)) is not None]
        if 1 < len(images) == len(found) == len({camera.folder.resolve() for camera in found}):
            return found
    return []


def read_camera_folders(
    path: Path,
    cameras: list[CameraFolder],
    *,
    fps: float | None,
    max_megapixels: float = 100.0,
    allow_outside: bool = False,
) -> Capture:
    """The frames of all cameras, each with the pose and the lens that its camera's image has in the model.

    Frames of one number (the digits that end their names) are of one moment; where some names have none, they are
    counted. Moments that not every camera has are left out. Times are in seconds where `fps` is given, else they count
    frames. Raises BadInputError.
    """
    model = model_folder(path)
    assert model is not None
    root = cameras[0].root
    moments, notes = _moments(path, cameras)
    at: dict[str, tuple[str, int]] = {}
    images: list[ColmapImage] = []
    for camera, numbered in zip(cameras, _numbered(cameras), strict=True):
        for number in moments:
            name = numbered[number].relative_to(root).as_posix()
            at[printable(name)] = printable(camera.folder.name), number - moments[0]
            images.append(replace(camera.image, name=name, point_ids=np.zeros(0, np.uint64)))
    capture = posed_photographs(
        path, model, images, read_cameras(model), root, max_megapixels=max_megapixels, allow_outside=allow_outside
    )
    frames = [
        replace(frame, camera=at[frame.name][0], time_s=at[frame.name][1] / (fps or 1)) for frame in capture.frames
    ]
    notes.insert(0, f"{len(cameras)} cameras of {model} film the same; {len(moments)} moments of each are there.")
    if fps is None:
        notes.append("No frame rate is given, and times count frames; --fps gives them in seconds.")
    # The observations of the model are those of other photographs, one of each camera.
    points = None if capture.points is None else replace(capture.points, seen_point=None, seen_view=None)
    return replace(capture, frames=tuple(frames), points=points, notes=(*notes, *capture.notes))


def _several_frames(path: Path) -> bool:
    """True where there are folders with photographs below the data set's folder of them: no model need be read else."""
    roots = [path / name for name in _ROOTS if (path / name).is_dir()]
    inner = [f for root in roots for f in root.iterdir() if f.is_dir() and not f.name.startswith(".")]
    return sum(len(photo_files(f)) > 1 for f in inner if f not in roots) > 1


def _folder_of(image: ColmapImage, root: Path) -> CameraFolder | None:
    """The image's own folder below `root`, or the one of its name without the ending."""
    name = Path(image.name.replace("\\", "/"))
    folder = name.parent if name.parent != Path() else name.with_suffix("")
    try:
        place = inside(root, folder.as_posix(), f"the image {image.name!r}")
    except BadInputError:
        return None
    files = tuple(photo_files(place)) if place.is_dir() else ()
    return CameraFolder(image, root, place, files) if len(files) > 1 else None


def _numbered(cameras: list[CameraFolder]) -> list[dict[int, Path]]:
    """The frames of each camera by number: that which ends every name, else their place in the order of names."""
    by_name: list[dict[int, Path]] = []
    for camera in cameras:
        numbers = [_NUMBER.search(file.stem) for file in camera.files]
        by_name.append({int(m[1]): file for m, file in zip(numbers, camera.files, strict=True) if m is not None})
    if all(len(found) == len(camera.files) for found, camera in zip(by_name, cameras, strict=True)):
        return by_name
    return [dict(enumerate(camera.files)) for camera in cameras]


def _moments(path: Path, cameras: list[CameraFolder]) -> tuple[list[int], list[str]]:
    """Numbers of the moments that every camera has, and a note where some have more."""
    numbered = _numbered(cameras)
    common = set(numbered[0]).intersection(*numbered[1:])
    if not common:
        raise BadInputError(
            f"{path}: no moment is in all of the folders {listed([c.folder.name for c in cameras])}; number the frames "
            "of one moment alike."
        )
    longer = [
        f"{printable(camera.folder.name)} ({len(found)})"
        for camera, found in zip(cameras, numbered, strict=True)
        if len(found) > len(common)
    ]
    note = f"The {len(common)} moments that all cameras have are used. Frames of others are in: {listed(longer)}."
    return sorted(common), [note] if longer else []
