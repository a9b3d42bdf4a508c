"""`fewview animate`: a film of one object to a mesh that moves."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from ..scene.mesh_formats import load_mesh
from ..scene.run import Run
from .device import prepare
from .options import Common
from .reconstruct import config_of, default_output, run_to_report
from .result import finish
from .summary import lines_of, result_of
from .terminal_progress import TerminalProgress

METHOD = "dreammesh4d"


@dataclass(frozen=True, kw_only=True)
class Options(Common):
    """A film of one cut-out object to a mesh that moves: one GLB for Blender and the web.

    The same as `fewview reconstruct --method dreammesh4d`: the object is without its background, or there are masks.
    The output folder holds mesh.glb, a splat with Gaussians on the mesh's faces, and a report. What no camera has seen
    is a guess.
    """

    # Video, folder of frames (RGBA, or with masks) with --fps, or a data set with cameras and times.
    input: tyro.conf.Positional[Path]
    # The photographs are frames of a film, so many a second, in the order of their names.
    fps: float | None = None
    # The camera stood: all frames have one camera, and none is searched for.
    standing_camera: bool = False
    # A mesh of the object at the first moment, in the frame of the cameras; without it one is made from the outlines.
    mesh: Path | None = None
    # Folder of a Stable Zero123 pipeline in diffusers' layout, which says what sides that no frame shows may look like.
    view_prior: Path | None = None
    # Longer side of the frames in training, in pixels; auto is 640 on a CPU and 1600 on a GPU.
    resolution: int | None = None
    # Training steps; auto depends on the device.
    steps: int | None = None
    # Settings of the method, as `fewview methods dreammesh4d` lists them.
    set: tuple[str, ...] = ()
    # Continue the run in the output folder.
    resume: bool = False


def run(options: Options) -> None:
    output = options.output or default_output(options.input)
    device = prepare(options)
    config = config_of(options, device=device.type, method=METHOD)
    with TerminalProgress(options.quiet) as progress:
        finished = run_to_report(options.input, output, config, progress, resume=options.resume, command="reconstruct")
    figures = _mesh_figures(finished)
    lines = [*lines_of(finished), _mesh_line(figures), "", f"Look at it:  fewview view {shlex.quote(str(output))}"]
    finish(options, result_of(finished) | {"mesh": figures}, lines)


def _mesh_figures(finished: Run) -> dict[str, Any]:
    mesh = load_mesh(finished.mesh_path)
    begin, end = mesh.time_range_s or (0.0, 0.0)
    return {
        "file": str(finished.mesh_path),
        "faces": len(mesh.faces),
        "moments": 1 if mesh.positions is None else len(mesh.positions),
        "seconds": end - begin,
    }


def _mesh_line(figures: dict[str, Any]) -> str:
    size = f"{figures['faces']:,} faces, {figures['moments']} moments over {figures['seconds']:.3g} s"
    return f"{'Mesh':<12} {figures['file']} ({size})"
