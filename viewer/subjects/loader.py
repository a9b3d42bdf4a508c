"""Inputs of the viewer, read into a `Subject` each: `KINDS` has a row for each kind of input."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...render.aim import world_up
from ...scene.boxes import Boxes
from ...scene.capture import Capture
from ...scene.driving import DrivingLog
from ...scene.errors import BadInputError
from ...scene.formats import load_splat, splat_camera, splat_file
from ...scene.gaussians import Gaussians
from ...scene.grounded_scan import GROUNDED_FILE, GroundedScan, read_grounded_scan
from ...scene.mesh_formats import is_mesh_file, load_mesh
from ...scene.point_cloud import PointCloud
from ...scene.points_input import holds_points, read_any_points
from ...scene.progress import Progress, silent
from ...scene.run import Run
from ...scene.run_splat import load_run_splat
from ...scene.splat import Axis, Splat, StaticSplat
from ...scene.triangle_mesh import Mesh
from .capture_subject import CaptureSubject
from .driving_subject import DrivingSubject
from .grounded_subject import GroundedSubject
from .mesh_subject import MeshSubject
from .points_subject import PointsSubject
from .splat_subject import SplatSubject
from .subject import Subject

Target = Path | str | Run | Capture | Gaussians | Splat | Mesh | PointCloud | DrivingLog | GroundedScan


@dataclass(frozen=True)
class Request:
    """Options that come along with the inputs."""

    detections: Mapping[str, Boxes] | None = None  # in the global frame by sample token, for driving data
    progress: Progress = silent


def load_subjects(
    targets: Sequence[Target], detections: Path | str | None = None, progress: Progress = silent
) -> list[Subject]:
    """`load_subject` of each, with the boxes of a file in the nuScenes submission layout on the driving data.

    Raises BadInputError when there are detections and no driving data.
    """
    found = None
    if detections is not None:
        from ...scene.datasets.nuscenes_results import read_results

        found = read_results(detections)
    subjects = [load_subject(target, found, progress) for target in targets]
    if found is not None and not any(isinstance(subject, DrivingSubject) for subject in subjects):
        raise BadInputError("Detections can be shown on driving data only; name a nuScenes-format folder beside them.")
    return subjects


def load_subject(target: Target, detections: Mapping[str, Boxes] | None = None, progress: Progress = silent) -> Subject:
    """The subject of a run, a splat, driving data, photographs, or any input that `read_capture` takes.

    `detections` are boxes in the global frame by sample token, for driving data. Raises BadInputError when there is
    nothing to show.
    """
    if isinstance(target, str):
        target = Path(target)
    if isinstance(target, Path) and not target.exists():
        raise BadInputError(
            f"{target} does not exist; a run folder, a splat, points, photographs or a data set is expected."
        )
    takes_it = next(load for takes, load in KINDS if takes(target))
    return takes_it(target, Request(detections, progress))


# -- runs and splats ----------------------------------------------------------------------------------------------


def _is_run(target: Any) -> bool:
    return isinstance(target, Run) or (isinstance(target, Path) and (target / "config.json").is_file())


def _load_run(target: Run | Path, request: Request) -> Subject:
    from ...scene.readers import load_run_capture

    run = target if isinstance(target, Run) else Run.open(target)
    capture = load_run_capture(run) if run.cameras_path.is_file() else None
    splat = load_run_splat(run) if run.splat_path.is_file() else None
    if splat is None and capture is None:
        raise BadInputError(
            f"The run {run.path} has no splat and no cameras yet, so there is nothing to show. "
            "Continue it with `fewview reconstruct --resume`."
        )
    told = run.metrics().get("notes")
    notes = tuple(note for note in told if isinstance(note, str)) if isinstance(told, list) else ()
    mesh, mesh_notes = _mesh_of(run)
    return SplatSubject(
        run.path.resolve().name,
        splat,
        capture,
        splat_path=None if splat is None else run.splat_path,
        run=run,
        mesh=mesh,
        notes=(*(() if splat is None else splat.notes), *notes, *mesh_notes),
    )


def _mesh_of(run: Run) -> tuple[Mesh | None, tuple[str, ...]]:
    """(the mesh of a run, why there is none to show where it is damaged)."""
    if not run.mesh_path.is_file():
        return None, ()
    try:
        return load_mesh(run.mesh_path), ()
    except BadInputError as error:
        return None, (str(error),)


def _is_splat(target: Any) -> bool:
    return isinstance(target, Gaussians | Splat) or (isinstance(target, Path) and splat_file(target) is not None)


def _load_splat(target: Path | Gaussians | Splat, request: Request) -> Subject:
    if isinstance(target, Path):
        splat, path = load_splat(target), splat_file(target)
        camera, notes = splat_camera(path) if path is not None else (None, ())
        notes = (*splat.notes, *notes)
        return SplatSubject(target.resolve().name, splat, splat_path=path, camera=camera, notes=notes)
    splat_given = target if isinstance(target, Splat) else StaticSplat(target)
    return SplatSubject("Splat", splat_given, notes=splat_given.notes)


def _is_grounded(target: Any) -> bool:
    return isinstance(target, GroundedScan) or (isinstance(target, Path) and (target / GROUNDED_FILE).is_file())


def _load_grounded(target: Path | GroundedScan, request: Request) -> Subject:
    if isinstance(target, Path):
        return GroundedSubject(target.resolve().name, read_grounded_scan(target / GROUNDED_FILE))
    return GroundedSubject("Scan", target)


# -- meshes -------------------------------------------------------------------------------------------------------


def _is_mesh(target: Any) -> bool:
    return isinstance(target, Mesh) or (isinstance(target, Path) and is_mesh_file(target))


def _load_mesh(target: Path | Mesh, request: Request) -> Subject:
    if isinstance(target, Path):
        return MeshSubject(target.name, load_mesh(target))
    return MeshSubject("Mesh", target)


# -- points -------------------------------------------------------------------------------------------------------


def _is_points(target: Any) -> bool:
    return isinstance(target, PointCloud) or (isinstance(target, Path) and holds_points(target))


def _load_points(target: Path | PointCloud, request: Request) -> Subject:
    if not isinstance(target, Path):
        return PointsSubject("Points", target)
    cloud, notes = read_any_points(target)
    return PointsSubject(target.name, cloud, up=_up_of_run(target), notes=notes)


def _up_of_run(points_path: Path) -> Axis | None:
    """Up in the world of the run that the sparse points are of, None where they are of none."""
    from ...scene.readers import load_run_capture

    run = Run(points_path.resolve().parent)
    if run.points_path.name != points_path.name or not run.config_path.is_file() or not run.cameras_path.is_file():
        return None
    cameras = load_run_capture(run).cameras
    return None if cameras is None or len(cameras) == 0 else world_up(cameras)


# -- driving data -------------------------------------------------------------------------------------------------


def _is_driving(target: Any) -> bool:
    # Its packages take half a second, which a bare splat need not wait for.
    from ...scene.datasets import is_driving_data

    return isinstance(target, DrivingLog) or (isinstance(target, Path) and is_driving_data(target))


def _load_driving(target: Path | DrivingLog, request: Request) -> Subject:
    from ...scene.datasets import read_driving_log

    log = target if isinstance(target, DrivingLog) else read_driving_log(target, progress=request.progress)
    notes, first = log.notes, 0
    if request.detections is not None:
        log = log.with_detections(request.detections)
        missing = sum(token not in request.detections for token in log.tokens)
        if missing == len(log):
            raise BadInputError(
                f"The detections are for other samples: none of the {len(log)} of {log.source} is among them."
            )
        if missing:
            notes = (*notes, f"{missing} of the {len(log)} key frames have no detections listed.")
        first = next(i for i, token in enumerate(log.tokens) if token in request.detections)
    return DrivingSubject(Path(log.source).name or log.source, log, first, notes)


# -- photographs --------------------------------------------------------------------------------------------------


def _is_anything(target: Any) -> bool:
    return True


def _load_capture(target: Path | Capture, request: Request) -> Subject:
    from ...scene.readers import read_capture

    capture = target if isinstance(target, Capture) else read_capture(target)
    notes = capture.notes
    if capture.cameras is None:
        notes = (*notes, "The cameras are not known yet: `fewview poses` or `fewview reconstruct` finds them.")
    return CaptureSubject(capture, notes)


# The first that takes an input loads it.
KINDS: tuple[tuple[Callable[[Any], bool], Callable[[Any, Request], Subject]], ...] = (
    (_is_grounded, _load_grounded),
    (_is_run, _load_run),
    (_is_mesh, _load_mesh),
    (_is_points, _load_points),
    (_is_splat, _load_splat),
    (_is_driving, _load_driving),
    (_is_anything, _load_capture),
)
