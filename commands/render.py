"""`fewview render`: pictures and a film of a splat."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import tyro

from ..render.aim import look_at
from ..render.camera_path import MAX_FPS, MAX_PICTURES, MAX_SIDE_PX, CameraPath
from ..render.camera_path_file import read_camera_path
from ..render.film import film_pictures
from ..render.paths import orbit, through
from ..render.spiral import spiral
from ..render.video_writer import write_mp4
from ..scene.cameras import Cameras
from ..scene.errors import BadInputError
from ..scene.formats.axes import file_from_world
from ..scene.gaussians import Gaussians
from ..scene.png import write_png
from ..scene.readers.video import SUFFIXES as VIDEO_SUFFIXES
from ..scene.splat import Axis
from ..viewer.subjects.loader import load_subject
from .device import prepare
from .options import Common
from .result import finish
from .terminal_progress import TerminalProgress

FILM_FPS, FILM_SECONDS = 30.0, 4.0  # of a path that comes without its own
LENS_DEGREES = 50.0  # horizontal, for a splat that comes without cameras
KINDS = ("orbit", "spiral", "through", "interpolation")


@dataclass(frozen=True, kw_only=True)
class Options(Common):
    """A run or a splat file to pictures and a film.

    The camera path is an orbit inside the region that the photographs cover, a spiral in front of them, a flight
    through their cameras, or a JSON file with key frames as the viewer and nerfstudio's save it. Writes one PNG for
    each picture, and a film, into RUN/renders/PATH or the folder of -o. An -o that ends in .mp4 gives only the film.
    """

    # Run folder, or splat file.
    input: tyro.conf.Positional[Path]
    # An orbit around the scene; a spiral; a flight through the photographs' cameras at an even pace; one with the
    # same time from each to the next; or a camera path file (.json).
    path: Literal["orbit", "spiral", "through", "interpolation"] | Path = "orbit"
    # Pictures along the path; auto is --seconds times --fps.
    frames: int | None = None
    # Pictures in a second of the film; auto is that of the camera path file, or 30.
    fps: float | None = None
    # Length of the film; auto is that of the camera path file, or 4.
    seconds: float | None = None
    # Longer side of the pictures, in pixels; auto is that of the camera path file or the photographs, or 800.
    size: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.frames is not None and not 1 <= self.frames <= MAX_PICTURES:
            raise BadInputError(f"--frames {self.frames} cannot be used: 1 to {MAX_PICTURES} are possible.")
        if self.fps is not None and not 0 < self.fps <= MAX_FPS:
            raise BadInputError(f"--fps {self.fps:g} cannot be used: above 0 and up to {MAX_FPS:g} are possible.")
        if self.seconds is not None and not 0 < self.seconds < MAX_PICTURES:
            raise BadInputError(f"--seconds {self.seconds:g} cannot be used: a length above 0 is expected.")
        if None not in (self.frames, self.fps, self.seconds):
            raise BadInputError("--frames, --fps and --seconds were all given; two of them say it all.")
        if self.size is not None and not 1 <= self.size <= MAX_SIDE_PX:
            raise BadInputError(f"--size {self.size} cannot be used: 1 to {MAX_SIDE_PX} pixels are possible.")

    @property
    def name(self) -> str:
        """Name of the film and of its folder."""
        return self.path.stem if isinstance(self.path, Path) else self.path


def run(options: Options) -> None:
    key_frames = _read(options.path) if isinstance(options.path, Path) else None
    subject = load_subject(options.input)
    splat, cameras = subject.splat, subject.cameras
    if splat is None:
        raise BadInputError(f"{options.input} holds no splat to render; make one with `fewview reconstruct`.")
    if cameras is None and options.path in ("spiral", "through", "interpolation"):
        raise BadInputError(
            f"{options.input} is a splat without cameras, which the path {options.path!r} needs; use --path orbit or a "
            "camera path file, or give a run."
        )
    device = prepare(options)
    path, fps = _path(options, key_frames, cameras if cameras is not None else around(splat.at(), splat.up))
    film, folder = _targets(options)

    drawn = film_pictures(splat.to(device), path)

    def pictures(progress: TerminalProgress) -> Iterator[np.ndarray]:
        for i, picture in enumerate(drawn):
            if folder is not None:
                write_png(folder / f"{i:04d}.png", picture)
            progress("rendering", i + 1, len(path))
            yield picture

    with TerminalProgress(options.quiet) as progress:
        count = write_mp4(film, pictures(progress), fps=fps)
    result = {"film": str(film), "pictures": None if folder is None else str(folder), "frames": count}
    size = f"{int(path.width[0])}x{int(path.height[0])}"
    lines = [f"{'Film':<12} {film} ({count} pictures of {size}, {count / fps:.3g} s)"]
    if folder is not None:
        lines.append(f"{'Pictures':<12} {folder / '0000.png'} to {count - 1:04d}.png")
    finish(options, result, [*lines, "", f"Look around yourself:  fewview view {shlex.quote(str(options.input))}"])


def _read(path: Path) -> CameraPath:
    if not path.is_file():
        raise BadInputError(
            f"--path {path} is neither a kind of path ({', '.join(KINDS)}) nor a camera path file that exists."
        )
    return read_camera_path(path)


def around(gaussians: Gaussians, up: Axis | None = None) -> Cameras:
    """Cameras [12] on a ring around the bulk of a splat that comes without any; up is -y where it is not known."""
    means = gaussians.means[gaussians.means.isfinite().all(-1)]
    if len(means) == 0:
        raise BadInputError("The splat has no Gaussians with finite positions, so there is nothing to render.")
    center = means.median(0).values
    radius = float((means - center).norm(dim=-1).quantile(0.7)) if len(means) < 2**24 else 1.0
    radius = max(radius, 1e-3)
    angle = torch.arange(12) * (2 * torch.pi / 12)
    upright_from_world = file_from_world(up).rotation.to(means)
    offset = torch.stack([angle.sin(), torch.full_like(angle, 0.3), angle.cos()], dim=-1) @ upright_from_world
    cam_from_world = look_at(center + 2.5 * radius * offset, center, upright_from_world[1])
    width, height = 800, 600
    focal_px = width / 2 / np.tan(np.radians(LENS_DEGREES) / 2)
    return Cameras.pinhole(cam_from_world, float(focal_px), width, height)


def _path(options: Options, key_frames: CameraPath | None, cameras: Cameras) -> tuple[Cameras, float]:
    """(the film's cameras, pictures in a second)."""
    seconds, fps = (FILM_SECONDS, FILM_FPS) if key_frames is None else (key_frames.duration_s, key_frames.fps)
    count, fps = _timing(options, seconds, fps, closed=key_frames is None or key_frames.loop)
    if key_frames is None and options.path == "interpolation":
        key_frames = CameraPath.through(cameras)
    if key_frames is not None:
        path = key_frames.cameras(count=count)
    else:
        path = {"orbit": orbit, "spiral": spiral, "through": through}[options.name](cameras, count)
    if options.size is None:
        return path, fps
    width, height = int(path.width[0]), int(path.height[0])
    factor = options.size / max(width, height)
    return path.resized(max(1, round(width * factor)), max(1, round(height * factor))), fps


def _timing(options: Options, seconds: float, fps: float, closed: bool) -> tuple[int, float]:
    """(pictures, pictures in a second) from what was asked for and the path's own length and rate.

    An open path of a file shows its last key frame too, one picture more than seconds times fps.
    """
    fps = fps if options.fps is None else options.fps
    if options.frames is not None:
        return options.frames, fps if options.seconds is None else options.frames / options.seconds
    seconds = seconds if options.seconds is None else options.seconds
    count = max(round(seconds * fps) + (not closed), 1)
    if count > MAX_PICTURES:
        raise BadInputError(f"{seconds:g} s at {fps:g} a second are {count:,} pictures; {MAX_PICTURES:,} are possible.")
    return count, fps


def _targets(options: Options) -> tuple[Path, Path | None]:
    """(film, folder of the pictures or None for the film alone); the folders are made."""
    output = options.output
    if output is not None and output.suffix.lower() == ".mp4":
        film, folder, parent = output, None, output.parent
    elif output is not None and output.suffix.lower() in {*VIDEO_SUFFIXES, ".gif"} and not output.is_dir():
        raise BadInputError(f"-o {output} asks for a film that is not written here; name it .mp4, or name a folder.")
    else:
        is_run = options.input.is_dir()
        folder = output or (options.input if is_run else options.input.parent) / "renders" / options.name
        film, parent = folder / f"{options.name}.mp4", folder
    if film.is_dir():
        raise BadInputError(f"{film} is a folder; the film needs another name with -o.")
    try:
        parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInputError(f"The folder {parent} cannot be made: {error.strerror}. Choose another with -o.") from error
    return film, folder
