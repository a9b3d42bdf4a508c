"""`fewview mesh`: the surface of a splat as a mesh."""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import tyro

from ..recon.mesh.mesh_report import contact_sheet, mesh_figures
from ..recon.mesh.splat_mesh import MeshConfig, splat_mesh
from ..scene.cameras import Cameras
from ..scene.capture import Capture
from ..scene.errors import BadInputError
from ..scene.formats import load_splat
from ..scene.mesh_formats import MESH_ENDINGS, save_mesh
from ..scene.one_moment import one_moment
from ..scene.png import write_png
from ..scene.progress import duration
from ..scene.readers import load_run_capture
from ..scene.run import Run
from ..scene.run_splat import load_run_splat
from ..scene.splat import Splat
from ..viewer.report import write_report
from .chosen_moment import require_moment
from .device import prepare
from .options import Common
from .result import finish
from .terminal_progress import TerminalProgress


@dataclass(frozen=True, kw_only=True)
class Options(Common, MeshConfig):
    """The surface of a run or a splat file as a coloured mesh: GLB, OBJ or PLY.

    Depth is drawn from the photographs' cameras and from others near them, and fused into one surface; colours are
    those of the splat. Nothing is invented where no camera has looked, so the mesh is open there. -o names the file;
    without it a run gets `mesh.glb`, and pictures of it beside the photographs in `renders/mesh/`.
    """

    # Run folder, or splat file.
    input: tyro.conf.Positional[Path]
    # Moment of a moving splat; auto is its first.
    time: float | None = None
    # Write over a mesh that is there.
    overwrite: bool = False

    def __post_init__(self) -> None:
        Common.__post_init__(self)
        MeshConfig.__post_init__(self)
        if self.time is not None and not math.isfinite(self.time):
            raise BadInputError(f"--time {self.time} cannot be used: a moment of the splat is expected.")


def run(options: Options) -> None:
    path = options.output or _default_path(options.input)
    _check_target(path, options.overwrite)
    splat, cameras, capture, finished = _read(options.input)
    require_moment(options.input, splat, options.time)
    _, moment_notes = one_moment(splat, options.time)
    device = prepare(options)
    config = MeshConfig(**{f.name: getattr(options, f.name) for f in fields(MeshConfig)})
    points = None if capture is None else capture.points
    with TerminalProgress(options.quiet) as progress:
        made = splat_mesh(
            splat.to(device),
            cameras,
            config,
            options.time,
            metric=points is not None and points.metric,
            progress=progress,
        )
    mesh = made.mesh
    figures = mesh_figures(mesh, None if points is None else points.xyz)
    notes = [*moment_notes, *mesh.notes, *save_mesh(path, mesh)]
    sheet = None
    if finished is not None and capture is not None:
        shown = list(capture.test or range(len(capture)))
        sheet = finished.renders_path / "mesh" / f"{path.stem}.png"
        write_png(sheet, contact_sheet(mesh, splat, capture, shown, options.time))
    result = {
        "mesh": str(path),
        "pictures": None if sheet is None else str(sheet),
        "bytes": path.stat().st_size,
        **figures,
    }
    result |= {"views": made.views, "metric": mesh.metric, "seconds": made.seconds, "notes": notes}
    if finished is not None and path.resolve() == finished.mesh_path.resolve():
        finished.update_metrics(mesh=result | {"mesh": path.name, "pictures": f"renders/mesh/{path.stem}.png"})
        if finished.report_path.is_file():
            write_report(finished)
    finish(options, result, [*_lines(result), "", f"Look at it:  fewview view {shlex.quote(str(path))}"])


def _read(source: Path) -> tuple[Splat, Cameras | None, Capture | None, Run | None]:
    """(the splat, the cameras that it was trained with, its photographs, its run), None where there are none."""
    if not source.is_dir() or not (source / "config.json").is_file():
        return load_splat(source), None, None, None
    finished = Run.open(source)
    splat = load_run_splat(finished)
    if not finished.cameras_path.is_file():
        return splat, None, None, finished
    capture = load_run_capture(finished)
    assert capture.cameras is not None
    trained = sorted(set(range(len(capture))) - set(capture.test or ()))
    return splat, capture.cameras[trained], capture, finished


def _default_path(source: Path) -> Path:
    """`mesh.glb` in a run; beside a splat file, and called like it."""
    if source.is_dir():
        return Run(source).mesh_path
    return source.with_name(source.name.split(".")[0] + "_mesh.glb")


def _check_target(path: Path, overwrite: bool) -> None:
    """Said before minutes of work, not after them."""
    if path.suffix.lower() not in MESH_ENDINGS:
        raise BadInputError(f"{path.name} does not end like a mesh file; one of {', '.join(MESH_ENDINGS)} is expected.")
    if not path.parent.is_dir():
        raise BadInputError(f"The folder {path.parent} does not exist; make it, or choose another with -o.")
    if path.is_dir():
        raise BadInputError(f"{path} is a folder; name a file with -o.")
    if path.exists() and not overwrite:
        raise BadInputError(
            f"{path} is there already; nothing was changed. Choose another with -o, or add --overwrite."
        )


def _lines(result: dict[str, Any]) -> list[str]:
    size = f"{result['faces']:,} faces, {result['vertices']:,} vertices, {result['bytes'] / 1e6:.1f} MB"
    lines = [f"{'Mesh':<12} {result['mesh']} ({size})"]
    points = result.get("points", {})
    if "median_percent" in points:
        median, most = points["median_percent"], points["p90_percent"]
        fit = f"half of {points['in_box']:,} sparse points are within {median:.2f} % of its diagonal"
        lines.append(f"{'Fit':<12} {fit}, 9 in 10 within {most:.2f} %")
    if result["pictures"]:
        lines.append(f"{'Pictures':<12} {result['pictures']}")
    total = sum(result["seconds"].values())
    parts = ", ".join(f"{stage} {duration(s)}" for stage, s in result["seconds"].items() if s >= 0.5)
    lines.append(f"{'Time':<12} {duration(total)}" + (f" ({parts})" if parts else ""))
    return lines + [f"{'Note':<12} {note}" for note in result["notes"]]
