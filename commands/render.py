"""`fewview render`: pictures and a film of a splat."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
import tyro

from ..render import render
from ..render.paths import look_at, orbit, through
from ..render.video import write_mp4
from ..scene.cameras import Cameras
from ..scene.errors import BadInputError, FewviewError
from ..scene.files import write_bytes
from ..scene.formats.axes import file_from_world
from ..scene.gaussians import Gaussians
from ..scene.run import Run
from ..scene.splat_file import Axis
from ..viewer.target import load_shown
from .device import prepare
from .options import Common
from .progress import TerminalProgress
from .result import finish

MAX_SIDE_PX = 8192
FILM_FPS = 30
LENS_DEGREES = 50.0  # horizontal, for a splat that comes without cameras


@dataclass(frozen=True, kw_only=True)
class Options(Common):
    """A run or a splat file to pictures and a film.

    The camera path is an orbit inside the region that the photographs cover, or a flight through the cameras. Writes
    one PNG for each picture, and a film, into RUN/renders/PATH or the folder of -o. An -o that ends in .mp4 gives only
    the film.
    """

    # Run folder, or splat file.
    input: tyro.conf.Positional[Path]
    # An orbit around the scene, or a flight through the cameras of the photographs.
    path: Literal["orbit", "through"] = "orbit"
    # Pictures along the path; a film shows 30 in a second.
    frames: int = 120
    # Longer side of the pictures, in pixels; auto is that of the photographs, or 800.
    size: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.frames < 1:
            raise BadInputError(f"--frames {self.frames} cannot be used: at least 1 is needed.")
        if self.size is not None and not 1 <= self.size <= MAX_SIDE_PX:
            raise BadInputError(f"--size {self.size} cannot be used: 1 to {MAX_SIDE_PX} pixels are possible.")


def run(options: Options) -> None:
    shown = load_shown(options.input)
    if shown.gaussians is None:
        raise BadInputError(f"{options.input} holds no splat to render; make one with `fewview reconstruct`.")
    cameras = None if shown.capture is None else shown.capture.cameras
    if cameras is None and options.path == "through":
        raise BadInputError(f"{options.input} is a splat without cameras to fly through; use --path orbit, or a run.")
    device = prepare(options)
    path = _path(options, cameras if cameras is not None else around(shown.gaussians, shown.up))
    film, folder = _targets(options)
    background = torch.tensor(_background(options.input), device=device)
    gaussians = shown.gaussians.to(device)

    def pictures(progress: TerminalProgress) -> Iterator[np.ndarray]:
        for i in range(len(path)):
            drawn = render(gaussians, path[i].to(device), background=background, antialiased=shown.antialiased)
            picture = (drawn.rgb.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
            if folder is not None:
                _write_png(folder / f"{i:04d}.png", picture)
            progress("rendering", i + 1, len(path))
            yield picture

    with TerminalProgress(options.quiet) as progress, torch.no_grad():
        count = write_mp4(film, pictures(progress), fps=FILM_FPS)
    result = {"film": str(film), "pictures": None if folder is None else str(folder), "frames": count}
    lines = [f"{'Film':<12} {film} ({count} pictures of {int(path.width[0])}x{int(path.height[0])})"]
    if folder is not None:
        lines.append(f"{'Pictures':<12} {folder / '0000.png'} to {count - 1:04d}.png")
    finish(options, result, [*lines, "", f"Look around yourself:  fewview view {shlex.quote(str(options.input))}"])


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


def _path(options: Options, cameras: Cameras) -> Cameras:
    path = (orbit if options.path == "orbit" else through)(cameras, options.frames)
    if options.size is None:
        return path
    width, height = int(path.width[0]), int(path.height[0])
    factor = options.size / max(width, height)
    return path.resized(max(1, round(width * factor)), max(1, round(height * factor)))


def _targets(options: Options) -> tuple[Path, Path | None]:
    """(film, folder of the pictures or None for the film alone); the folders are made."""
    output = options.output
    if output is not None and output.suffix.lower() == ".mp4":
        film, folder, parent = output, None, output.parent
    else:
        is_run = options.input.is_dir()
        folder = output or (options.input if is_run else options.input.parent) / "renders" / options.path
        film, parent = folder / f"{options.path}.mp4", folder
    if film.is_dir():
        raise BadInputError(f"{film} is a folder; the film needs another name with -o.")
    try:
        parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInputError(f"The folder {parent} cannot be made: {error.strerror}. Choose another with -o.") from error
    return film, folder


def _background(source: Path) -> list[float]:
    """The colour that the run was trained on, black for a splat file."""
    if not (source / "config.json").is_file():
        return [0.0, 0.0, 0.0]
    return Run.open(source).metrics().get("training", {}).get("background", [0.0, 0.0, 0.0])


def _write_png(path: Path, picture: np.ndarray) -> None:
    ok, encoded = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    if not ok:
        raise FewviewError(f"{path} could not be encoded.")
    write_bytes(path, encoded.tobytes())
