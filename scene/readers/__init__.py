"""Anything that people call a capture to a `Capture`."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from ..capture import Capture
from ..errors import BadInputError
from ..formats import splat_file
from ..formats.format_table import format_of
from ..formats.sog_files import open_scene
from ..images import SUFFIXES as IMAGE_SUFFIXES
from ..progress import Progress, silent
from ..run import Run
from .blender import read_blender
from .camera_folders import camera_folders, read_camera_folders
from .colmap import model_folder, read_colmap
from .frame_times import checked_rate
from .llff import FILE as LLFF_FILE
from .llff import read_llff
from .nerfies import is_nerfies, read_nerfies
from .photo_folders import find_photographs
from .photos import read_film_of_photos, read_photos
from .run_capture import load_run_capture as load_run_capture
from .run_capture import save_cameras as save_cameras
from .run_capture import save_capture as save_capture
from .safe_paths import listed
from .synchronised_videos import calibration_file, read_synchronised_videos
from .transforms_json import read_transforms
from .unknown_input import advice_on_absent, advice_on_file
from .video import SUFFIXES as VIDEO_SUFFIXES
from .video import is_video_file, read_video

__all__ = [
    "load_run_capture",
    "read_capture",
    "read_colmap",
    "read_photos",
    "read_video",
    "save_cameras",
    "save_capture",
]

_EXPECTED = (
    "a folder of photographs, a video, a COLMAP folder, a transforms.json, a NeRF-synthetic, D-NeRF, Nerfies or LLFF "
    "folder, or a folder of calibrated videos is expected"
)


@dataclass(frozen=True)
class _Settings:
    """Everything that a person says about an input beside its place, and who is told of the progress."""

    max_megapixels: float
    allow_outside: bool
    images: Path | None
    video_frames: int
    fps: float | None
    asked_side_px: int | None
    progress: Progress


def read_capture(
    path: Path | str,
    *,
    max_megapixels: float = 100.0,
    allow_outside: bool = False,
    images: Path | str | None = None,
    video_frames: int = 24,
    fps: float | None = None,
    asked_side_px: int | None = None,
    progress: Progress = silent,
) -> Capture:
    """Whatever lies at `path`, decided by what is in it: photographs, a video, a COLMAP model, a transforms.json, a
    NeRF-synthetic, D-NeRF, Nerfies or LLFF folder, calibrated videos of several cameras, or a run.

    `images` is the folder of a COLMAP model's photographs where they lie elsewhere; `video_frames` is how many
    frames are taken from a video, or moments of several synchronised ones; `allow_outside` lets a data set name files
    outside of its folder. With `fps` photographs are frames of a film, so many a second, and have times.
    `asked_side_px` is the longer side that is needed, where a data set has several sizes. `progress` is told while a
    video is decoded. Raises BadInputError.
    """
    path = Path(path)
    image_folder = None if images is None else Path(images)
    if image_folder is not None and not image_folder.is_dir():
        raise BadInputError(f"{image_folder} is not a folder; the folder of the model's photographs is expected.")
    rate = checked_rate(fps)
    settings = _Settings(max_megapixels, allow_outside, image_folder, video_frames, rate, asked_side_px, progress)
    if path.is_file():
        capture = _read_file(path, settings)
    elif path.is_dir():
        capture = _read_folder(path, settings)
    else:
        raise BadInputError(advice_on_absent(path) or f"{path} is not there; {_EXPECTED}.")
    _require_unique_names(capture)
    return capture


def _read_file(path: Path, settings: _Settings) -> Capture:
    suffix = path.suffix.lower()
    limit = settings.max_megapixels
    if settings.fps is not None:
        raise _rate_of_other(path)
    if suffix == ".json":
        return read_transforms(path, max_megapixels=limit, allow_outside=settings.allow_outside)
    if suffix in IMAGE_SUFFIXES:
        return read_photos(path, max_megapixels=limit)
    if suffix in VIDEO_SUFFIXES:
        return read_video(path, n_frames=settings.video_frames, max_megapixels=limit, progress=settings.progress)
    if splat_file(path) is not None:
        raise _is_a_splat(path)
    if (advice := advice_on_file(path)) is not None:
        raise BadInputError(advice)
    raise BadInputError(f"{path} is a file of an unknown kind ('{suffix}'); {_EXPECTED}.")


def _read_folder(path: Path, settings: _Settings) -> Capture:
    """The folder itself where it is a data set, else the one data set in it, else its photographs or its video."""
    data_set = _read_data_set(path, settings)
    if data_set is not None:
        if settings.fps is not None and not any(frame.camera for frame in data_set.frames):
            raise _rate_of_other(path)
        return data_set
    found = find_photographs(path)
    inner = [] if found.root in (path, path / "images") and found.files else _data_sets_in(path)
    if len(inner) > 1:
        names = listed([folder.name for folder in inner])
        raise BadInputError(f"{path} holds {len(inner)} data sets ({names}); name one of them, e.g. {inner[0]}.")
    if inner:
        capture = _read_folder(inner[0], replace(settings, images=None))
        return replace(capture, notes=(*capture.notes, f"{path} holds the data set {inner[0].name}, which was read."))
    if found.root != path and (runs := sorted(p.parent for p in path.glob("*/config.json") if _is_run(p.parent))):
        raise BadInputError(
            f"{path} holds runs ({listed([run.name for run in runs])}) and no photographs of its own; name the input "
            f"of one, or go on with it by `fewview reconstruct {runs[0]} --resume`."
        )
    if found.files and settings.fps is not None:
        return read_film_of_photos(path, settings.fps, max_megapixels=settings.max_megapixels)
    if found.files:
        return read_photos(path, max_megapixels=settings.max_megapixels)
    videos = sorted(p for p in path.iterdir() if is_video_file(p))
    if len(videos) == 1:
        return _read_file(videos[0], settings)
    if videos:
        raise BadInputError(
            f"{path} holds {len(videos)} videos and no photographs; name one of them, e.g. {videos[0]}. Several "
            "cameras that film the same need a calibration, such as a Qualisys .qca.txt."
        )
    raise BadInputError(f"{path} holds nothing that can be read; {_EXPECTED}.")


def _read_data_set(path: Path, settings: _Settings) -> Capture | None:
    """The data set with cameras that the folder itself is; None where it is none."""
    limit, allow_outside = settings.max_megapixels, settings.allow_outside
    if (path / "config.json").is_file() and (path / "cameras.json").is_file():
        return load_run_capture(Run(path))
    if (path / "transforms_train.json").is_file():
        return read_blender(path, max_megapixels=limit, allow_outside=allow_outside)
    if (path / "transforms.json").is_file():
        return read_transforms(path, max_megapixels=limit, allow_outside=allow_outside)
    if is_nerfies(path):
        return read_nerfies(path, asked_side_px=settings.asked_side_px, max_megapixels=limit)
    if splat_file(path) is not None:  # the images of a SOG folder are no photographs
        raise _is_a_splat(path)
    if settings.images is None and (cameras := camera_folders(path)):
        return read_camera_folders(path, cameras, fps=settings.fps, max_megapixels=limit, allow_outside=allow_outside)
    if settings.images is not None or model_folder(path) is not None:
        capture = read_colmap(path, settings.images, max_megapixels=limit, allow_outside=allow_outside)
        unused = (path / LLFF_FILE).is_file()
        note = f"{LLFF_FILE} is not used: the cameras are those of the COLMAP model."
        return replace(capture, notes=(*capture.notes, note)) if unused else capture
    if (path / LLFF_FILE).is_file():
        return read_llff(path, max_megapixels=limit)
    if calibration_file(path) is not None:
        return read_synchronised_videos(path, n_moments=settings.video_frames, max_megapixels=limit)
    return None


def _rate_of_other(path: Path) -> BadInputError:
    return BadInputError(
        f"--fps is for photographs that are frames of a film; {path} says by itself when its frames were taken, or has "
        "no times. Leave it out."
    )


def _data_sets_in(path: Path) -> list[Path]:
    """The folders in a folder that are data sets with cameras."""
    children = sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith(".") and os.access(p, os.R_OK))
    files = ("transforms.json", "transforms_train.json", LLFF_FILE)
    return [
        p
        for p in children
        if any((p / file).is_file() for file in files) or is_nerfies(p) or model_folder(p) is not None
    ]


def _is_run(folder: Path) -> bool:
    return (folder / "cameras.json").is_file() and (folder / "images").is_dir()


def _is_a_splat(path: Path) -> BadInputError:
    if path.is_file():
        format_of(path)  # raises with advice for a splat of another program
        if (advice := advice_on_file(path)) is not None:
            try:
                with open_scene(path):
                    pass
            except BadInputError:  # an archive of something else
                return BadInputError(advice)
    return BadInputError(f"{path} is a splat or points, which `fewview view` shows; here {_EXPECTED}.")


def _require_unique_names(capture: Capture) -> None:
    seen: set[str] = set()
    for name in capture.names:
        if name in seen:
            raise BadInputError(f"{capture.source} has two photographs named {name!r}; names must differ.")
        seen.add(name)
