"""What the viewer is asked to show, read into the nouns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..scene.boxes import Boxes
from ..scene.capture import Capture
from ..scene.driving import DrivingLog
from ..scene.errors import BadInputError
from ..scene.formats import has_splat_ending, load_splat
from ..scene.gaussians import Gaussians
from ..scene.progress import Progress, silent
from ..scene.run import Run
from .shown import Shown


def load_all(
    targets: Sequence[Path | str | Run | Capture | Gaussians | DrivingLog],
    detections: Path | str | None = None,
    progress: Progress = silent,
) -> list[Shown]:
    """`load_shown` of each, with the boxes of a file in the nuScenes submission layout on the driving data.

    Raises BadInputError when there are detections and no driving data.
    """
    found = None
    if detections is not None:
        from ..scene.datasets.nuscenes_results import read_results

        found = read_results(detections)
    shown = [load_shown(target, found, progress) for target in targets]
    if found is not None and all(one.drive is None for one in shown):
        raise BadInputError("Detections can be shown on driving data only; name a nuScenes-format folder beside them.")
    return shown


def load_shown(
    target: Path | str | Run | Capture | Gaussians | DrivingLog,
    detections: Mapping[str, Boxes] | None = None,
    progress: Progress = silent,
) -> Shown:
    """The scene of a run, a splat file, driving data, or any input that `read_capture` takes.

    `detections` are boxes in the global frame by sample token, for driving data. Raises BadInputError when there is
    nothing to show.
    """
    if isinstance(target, DrivingLog):
        return _shown_drive(target, detections)
    if isinstance(target, Gaussians):
        return Shown("Splat", gaussians=target)
    if isinstance(target, Capture):
        return _shown_capture(target)
    if isinstance(target, Run):
        return _shown_run(target)
    path = Path(target)
    if not path.exists():
        raise BadInputError(
            f"{path} does not exist; a run folder, a splat file, photographs or a data set is expected."
        )
    if (path / "config.json").is_file():
        return _shown_run(Run.open(path))
    if path.is_file() and has_splat_ending(path):
        splat = load_splat(path)
        return Shown(path.name, splat.gaussians, None, path, splat.antialiased, up=splat.up, notes=splat.notes)
    # Its packages take half a second, which a bare splat need not wait for.
    from ..scene.datasets import is_driving_data, read_driving_log
    from ..scene.readers import read_capture

    if is_driving_data(path):
        return _shown_drive(read_driving_log(path, progress=progress), detections)
    return _shown_capture(read_capture(path))


def _shown_run(run: Run) -> Shown:
    from ..scene.readers import load_run_capture

    capture = load_run_capture(run) if run.cameras_path.is_file() else None
    splat = load_splat(run.splat_path) if run.splat_path.is_file() else None
    if splat is None and capture is None:
        raise BadInputError(
            f"The run {run.path} has no splat and no cameras yet, so there is nothing to show. "
            "Continue it with `fewview reconstruct --resume`."
        )
    return Shown(
        run.path.resolve().name,
        None if splat is None else splat.gaussians,
        capture,
        None if splat is None else run.splat_path,
        splat is not None and splat.antialiased,
        _background(run),
        run=run,
        notes=() if splat is None else splat.notes,
    )


def _shown_drive(log: DrivingLog, detections: Mapping[str, Boxes] | None) -> Shown:
    notes, first = log.notes, 0
    if detections is not None:
        log = log.with_detections(detections)
        missing = sum(token not in detections for token in log.tokens)
        if missing == len(log):
            raise BadInputError(
                f"The detections are for other samples: none of the {len(log)} of {log.source} is among them."
            )
        if missing:
            notes = (*notes, f"{missing} of the {len(log)} key frames have no detections listed.")
        first = next(i for i, token in enumerate(log.tokens) if token in detections)
    return Shown(Path(log.source).name or log.source, drive=(log, log[first]), notes=notes)


def _background(run: Run) -> tuple[float, ...]:
    training = run.metrics().get("training")
    background = training.get("background") if isinstance(training, dict) else None
    return tuple(map(float, background)) if isinstance(background, list) and len(background) == 3 else (0.0, 0.0, 0.0)


def _shown_capture(capture: Capture) -> Shown:
    notes = capture.notes
    if capture.cameras is None:
        notes = (*notes, "The cameras are not known yet: `fewview poses` or `fewview reconstruct` finds them.")
    return Shown(Path(capture.source).name or capture.source, capture=capture, notes=notes)
