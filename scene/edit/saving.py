"""Saving an edited splat as a new one, never over the one it came from."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from ..errors import BadInputError, FewviewError
from ..files import atomic_writer
from ..formats import holds_motion, load_splat, save_splat
from ..geometry import Similarity
from ..mesh_bound import MeshBoundMotion
from ..mesh_formats import save_mesh
from ..one_moment import one_moment
from ..points_ply import write_points
from ..readers import load_run_capture, save_cameras
from ..run import Run
from ..run_splat import load_run_splat, save_run_splat
from ..splat import MovingSplat, Splat
from ..triangle_mesh import Mesh
from .coordinate_frame import moved_cameras, moved_points, turned_direction
from .history import Editor

S = TypeVar("S", bound=Splat)

_STILL_TRUE = ("placed", "unplaced", "training")  # of metrics.json, whatever was done to the splat


def load_source(source: Path | Run) -> Splat:
    """The splat of a run, with its motion, or of a file. Raises BadInputError where there is none."""
    path = splat_path(source)
    if not path.is_file():
        raise BadInputError(f"{path} does not exist; a splat file, or a run with a finished splat, is expected.")
    return load_run_splat(source) if isinstance(source, Run) else load_splat(path)


def splat_path(source: Path | Run) -> Path:
    return source.splat_path if isinstance(source, Run) else source


def edited_splat(original: S, editor: Editor) -> S:
    """The splat of what `editor` left of the original's Gaussians, at all moments, with what is said about them.

    Raises BadInputError when nothing is left.
    """
    if editor.count == 0:
        raise BadInputError("Every Gaussian was removed, so there is nothing to save; loosen a limit, or undo.")
    alive, up = editor.alive, turned_direction(original.up, editor.similarity)
    splat = original if bool(alive.all()) else original.rows(alive)
    return replace(splat.moved(editor.similarity) if editor.has_moved else splat, up=up)


def save_edited(
    source: Path | Run,
    target: Path,
    splat: Splat,
    time_s: float | None = None,  # of a splat that moves, the first moment when None
    *,
    keep_frame: bool = False,  # as in `save_splat`
) -> tuple[str, ...]:
    """Write an edited splat in the format of the target's ending; returns what the format could not keep.

    A format of moving splats takes all moments, any other the one at `time_s`. Raises BadInputError when the target is
    the source, a folder, or a file that a run stands on.
    """
    refuse_to_replace(source, target)
    lost: tuple[str, ...] = ()
    if not holds_motion(target):
        splat, lost = one_moment(splat, time_s)
    return (*lost, *save_splat(target, splat, keep_frame=keep_frame))


def refuse_to_replace(source: Path | Run, target: Path) -> None:
    """Raises BadInputError when writing `target` would destroy what was edited, or a run's own files."""
    if target.is_dir():
        raise BadInputError(f"{target} is a folder; name a new file in it, such as {target / 'edited.ply'}.")
    if not target.parent.is_dir():
        raise BadInputError(f"The folder {target.parent} does not exist; make it first, or choose another with -o.")
    original = splat_path(source)
    if target.exists() and original.exists() and target.samefile(original):
        raise BadInputError(f"{target} is the splat that is edited; choose another name with -o, it is never replaced.")
    run = Run(target.parent)
    if run.config_path.is_file() and target.name in (run.splat_path.name, run.points_path.name):
        raise BadInputError(f"{target} is the result of a run; choose another name with -o, it is never replaced.")


def save_edited_run(source: Run, target: Path, splat: Splat, new_from_old: Similarity, metric: bool) -> Run:
    """A new run with the edited splat, and with cameras, points and depths that have followed it.

    `metric` says that a unit of the new frame is a metre. Held-out figures, checkpoints and the report are not taken
    along, as they belong to the splat before; `fewview eval` measures the new one. Raises BadInputError when the
    folder holds something already.
    """
    capture = load_run_capture(source)
    assert capture.cameras is not None
    there_before = target.exists()
    if target.is_file() or (there_before and any(target.iterdir())):
        raise BadInputError(f"{target} exists already; nothing was changed. Name a new folder with -o.")
    run = Run.create(target, source.config() | {"edited_from": str(source.path), "new_from_old": _plain(new_from_old)})
    try:
        for name in ("images", "masks"):
            if (source.path / name).is_dir():
                shutil.copytree(source.path / name, run.path / name)
        for path in sorted((source.path / "depths").glob("*.npy")):
            _write_scaled(path, run.path / "depths" / path.name, float(new_from_old.scale))
        for path in (source.cameras_path, source.poses_path):
            if path.is_file():
                shutil.copyfile(path, run.path / path.name)
        save_cameras(run, moved_cameras(capture.cameras, new_from_old), new_from_old)
        if capture.points is not None:
            write_points(run.points_path, moved_points(capture.points, new_from_old, metric or None))
        save_run_splat(run, splat)
        _save_bound_mesh(run, splat)
        run.update_metrics(**{name: value for name, value in source.metrics().items() if name in _STILL_TRUE})
    except BaseException as error:
        shutil.rmtree(run.path, ignore_errors=True)
        if there_before:
            run.path.mkdir(exist_ok=True)
        if isinstance(error, OSError):
            raise FewviewError(f"{target} could not be written: {error.strerror or error}.") from error
        raise
    return run


def save_bare_run(source: Path | Run, target: Path, splat: Splat) -> Run:
    """A new run that holds an edited splat alone: of a file, or of a run without cameras.

    Raises BadInputError when the folder holds something already.
    """
    there_before = target.exists()
    run = Run.create(target, {"command": "edit", "input": str(splat_path(source)), "edited_from": str(source)})
    try:
        run.update_metrics(training={"background": list(splat.background)})
        save_run_splat(run, splat)
        _save_bound_mesh(run, splat)
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        if there_before:
            target.mkdir(exist_ok=True)
        raise
    return run


def lies_on_mesh(splat: Splat) -> bool:
    """True where the Gaussians lie on the faces of a mesh."""
    return isinstance(splat, MovingSplat) and isinstance(splat.motion, MeshBoundMotion)


def bound_mesh(splat: Splat) -> Mesh:
    """The mesh under a splat for which `lies_on_mesh` is true, at all its moments."""
    assert isinstance(splat, MovingSplat)
    assert isinstance(splat.motion, MeshBoundMotion)
    mesh = replace(splat.motion.mesh(splat.gaussians), up=splat.up)
    return mesh if len(splat.motion.times_s) > 1 else mesh.at()


def _save_bound_mesh(run: Run, splat: Splat) -> None:
    if lies_on_mesh(splat):
        save_mesh(run.mesh_path, bound_mesh(splat))


def _plain(similarity: Similarity) -> dict[str, object]:
    return {name: value.tolist() for name, value in vars(similarity.double()).items()}


def _write_scaled(source: Path, target: Path, scale: float) -> None:
    """A depth map in another unit of length."""
    depth = np.load(source, allow_pickle=False)
    target.parent.mkdir(exist_ok=True)
    with atomic_writer(target) as file:
        np.save(file, (depth * np.float32(scale)).astype(depth.dtype), allow_pickle=False)
