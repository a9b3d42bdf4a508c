"""The first stage of a run: photographs selected, placed in space, and copied into the run folder."""

from __future__ import annotations

import contextlib
import math
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ... import __version__
from ...scene.capture import Capture, evenly_spaced
from ...scene.errors import BadInputError
from ...scene.files import write_json
from ...scene.point_cloud import PointCloud
from ...scene.progress import Progress, silent
from ...scene.readers import load_run_capture, read_capture, save_capture
from ...scene.run import Run
from ..evidence.depth_file import save_stereo
from .reconstruct_config import ReconstructConfig, continued, options_as_json

if TYPE_CHECKING:
    from ..poses import PoseEstimator

HOLD_OUT_EVERY = 8  # the LLFF rule
MIN_POINTS = 50  # triangulated ones; fewer say less about where things are than random ones everywhere
VIDEO_FRAMES = 24  # taken from a video when nothing is said
VIDEO_CHOICE = 3  # frames of a video to choose a useful one from


@contextlib.contextmanager
def open_run(
    source: Path | str, output: Path | str, config: ReconstructConfig, *, resume: bool, command: str
) -> Iterator[tuple[Run, ReconstructConfig]]:
    """The run at `output`, new or continued, with its config; a new one vanishes when the block fails."""
    path = Path(output)
    if resume and (path / "config.json").is_file():
        run = Run.open(path)
        yield run, continued(run, source, config)
        return
    absent = [p for p in (path, *path.absolute().parents) if not p.exists()]
    description = {"command": command, "input": str(source), "version": __version__, "options": options_as_json(config)}
    run = Run.create(path, description)
    try:
        yield run, config
    except BaseException:  # also Ctrl-C: nothing of this stage can be continued
        _vanish(run, absent)
        raise


def _vanish(run: Run, absent: list[Path]) -> None:
    """Take back a run that has come to nothing, with the folders that were made for it. It was new or empty before."""
    for folder in (run.images_path, run.checkpoints_path, run.depth_path.parent):
        shutil.rmtree(folder, ignore_errors=True)
    for file in (run.config_path, run.cameras_path, run.points_path, run.metrics_path):
        file.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # folders that hold something stay
        for folder in absent:
            folder.rmdir()


def place(run: Run, source: Path | str, config: ReconstructConfig, progress: Progress = silent) -> Capture:
    """The chosen photographs with cameras, as the run keeps them: read, selected, placed and copied on first call.

    Where the input has no cameras, those of the training photographs are estimated from them alone; held-out ones are
    registered to that solution afterwards, so that there is something to compare. Depth that the pose estimator gives,
    too, is kept by the run. Where there are cameras but no points, these are triangulated from the training photographs
    alone.
    """
    if run.poses_path.is_file():
        return load_run_capture(run)
    started = time.perf_counter()
    capture = _read(source, config)
    estimator = _estimator(capture, config)
    capture = _selected(capture, config, progress)
    seconds = {"read": time.perf_counter() - started}
    notes = list(capture.notes)
    unplaced: dict[str, str] = {}
    stage: dict[str, Any] = {"cameras": "given"}
    depths = None
    if estimator is not None:
        before = capture
        poses = estimator.place(before, progress)
        capture, depths = poses.capture, poses.depths
        unplaced = {before.names[i]: reason for i, reason in poses.unplaced.items()}
        seconds["poses"] = sum(poses.seconds.values())
        stage = {"cameras": "estimated", "stats": poses.stats, "seconds": poses.seconds}
        notes += poses.notes
        if capture.test:
            notes.append(
                "The cameras were estimated from the training photographs alone; held-out photographs were registered "
                "to them afterwards."
            )
    if capture.points is None:
        started = time.perf_counter()
        origin = "The input has" if estimator is None else "The pose estimator gives"
        capture, note = _with_points(capture, f"{origin} cameras but no points", config, progress)
        seconds["points"] = time.perf_counter() - started
        notes.append(note)
    capture = _without_test_points(capture)
    started = time.perf_counter()
    capture = save_capture(run, capture, config.max_side_px, progress)
    seconds["photographs"] = time.perf_counter() - started
    run.update_metrics(placed=len(capture), unplaced=unplaced, notes=notes, seconds=seconds)
    train_names, test_names = _names(capture)
    if depths is not None:
        save_stereo(run.depth_path, depths, train_names)
    write_json(run.config_path, {**run.config(), "views": {"train": train_names, "test": test_names}})
    write_json(run.poses_path, stage)
    return capture


def _read(source: Path | str, config: ReconstructConfig) -> Capture:
    wanted = math.ceil((config.views or 0) * (HOLD_OUT_EVERY / (HOLD_OUT_EVERY - 1) if config.eval else 1))
    capture = read_capture(
        source,
        max_megapixels=config.max_megapixels,
        allow_outside=config.allow_outside,
        images=config.images,
        video_frames=max(wanted * (VIDEO_CHOICE if config.choose == "useful" else 1), VIDEO_FRAMES),
    )
    if len(capture) == 1 and capture.cameras is None:
        raise BadInputError(
            f"{source} holds one photograph; at least two that show the same things from different places are needed."
        )
    if config.focal_px is None:
        return capture
    if capture.cameras is not None:
        raise BadInputError(f"{source} has cameras, which say how long its lenses are; leave --focal-px out.")
    return replace(capture, frames=tuple(replace(frame, focal_px=config.focal_px) for frame in capture.frames))


def _estimator(capture: Capture, config: ReconstructConfig) -> PoseEstimator | None:
    """The pose estimator that was asked for, loaded before anything that takes long; None where there are cameras."""
    if capture.cameras is not None:
        if config.stereo is None:
            return None
        raise BadInputError(
            f"{capture.source} has cameras, and --stereo is for photographs without: leave it out, or give the folder "
            "of the photographs alone."
        )
    # Imported here: the matchers take seconds to load, which inputs with cameras need not wait for.
    from ..poses import PosesConfig
    from ..poses.choose_estimator import estimator_for

    settings = PosesConfig(seed=config.seed, hold_focal=config.focal_px is not None)
    return estimator_for(config.stereo, settings, config.device)


def _selected(capture: Capture, config: ReconstructConfig, progress: Progress) -> Capture:
    """The photographs to train on and, with `eval`, those to hold out; `test` of the result are the latter."""
    rest, held_out = capture.split(HOLD_OUT_EVERY) if config.eval or capture.test else (list(range(len(capture))), [])
    chosen = sorted(rest if config.views is None else _chosen(capture, rest, config.views, config, progress))
    # A split that the data set prescribes is respected even when nothing is measured.
    test = held_out if config.eval else []
    if not chosen:
        raise BadInputError(f"{capture.source}: all {len(capture)} photographs are held out, none is left to train on.")
    kept = sorted([*chosen, *test])
    notes = capture.notes
    if config.views is not None and config.views > len(rest):
        notes = (
            *notes,
            f"{config.views} training photographs were asked for; all {len(rest)} that there are were taken.",
        )
    subset = capture.subset(kept)
    held = set(test)
    return replace(subset, test=tuple(i for i, k in enumerate(kept) if k in held), notes=notes)


def _chosen(capture: Capture, among: list[int], count: int, config: ReconstructConfig, progress: Progress) -> list[int]:
    if config.choose == "useful":
        from ..poses import PosesConfig, most_useful

        return most_useful(capture, count, among, PosesConfig(seed=config.seed), progress)
    return evenly_spaced(sorted(among, key=lambda i: capture.frames[i].name), count)


def _with_points(capture: Capture, reason: str, config: ReconstructConfig, progress: Progress) -> tuple[Capture, str]:
    """The capture with points that its training photographs give with its cameras, if there are enough; and a note."""
    from ..poses import PosesConfig, triangulate

    train = capture.split()[0]
    points = triangulate(capture.subset(train), PosesConfig(seed=config.seed), progress)
    if len(points) < MIN_POINTS:
        return capture, (
            f"{reason}, and matches between the photographs gave only {len(points)}: training starts from random ones."
        )
    assert points.seen_view is not None
    points = replace(points, seen_view=torch.tensor(train)[points.seen_view])
    return replace(capture, points=points), (
        f"{reason}; {len(points)} were triangulated from matches between the {len(train)} training photographs."
    )


def _without_test_points(capture: Capture) -> Capture:
    """Only the points that at least two training photographs see, and only those photographs' observations."""
    points, train = capture.points, capture.split()[0]
    if points is None or points.seen_view is None or not capture.test:
        return capture
    seen = points.in_views(train)
    back = torch.tensor(train, dtype=torch.int64)
    view = None if seen.seen_view is None else back[seen.seen_view]
    return replace(capture, points=PointCloud(seen.xyz, seen.rgb, seen.seen_point, view, seen.metric))


def _names(capture: Capture) -> tuple[list[str], list[str]]:
    train, test = capture.split()
    return [capture.names[i] for i in train], [capture.names[i] for i in test]
