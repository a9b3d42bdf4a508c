"""Selected photographs placed in space, and copied into the run folder."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from ...scene.capture import Capture
from ...scene.errors import BadInputError
from ...scene.files import write_json
from ...scene.point_cloud import PointCloud
from ...scene.progress import Progress, silent
from ...scene.readers import save_capture
from ...scene.run import Run
from ..evidence.depth_file import save_stereo
from ..evidence.visual_hull import visual_hull
from .reconstruct_config import ReconstructConfig
from .synthesis.object_views import has_silhouette

if TYPE_CHECKING:
    from ..poses import PoseEstimator

MIN_POINTS = 50  # triangulated ones; fewer say less about where things are than random ones everywhere


def pose_estimator(run: Run, capture: Capture, config: ReconstructConfig) -> PoseEstimator | None:
    """The pose estimator that was asked for, loaded before anything that takes long; None where there are cameras.

    What it finds on the way is kept in the run, so that estimation that is interrupted goes on from there.
    """
    if capture.cameras is not None:
        if config.synthesis:
            raise BadInputError(f"{capture.source} has cameras, and --synthesis is for estimated ones: leave it out.")
        given = {
            "--stereo": config.stereo,
            "--pose-network": config.pose_network,
            "--standing-camera": config.standing_camera or None,
        }
        unused = [option for option, value in given.items() if value is not None]
        if not unused:
            return None
        raise BadInputError(
            f"{capture.source} has cameras, and {unused[0]} is for photographs without: leave it out, or give the "
            "folder of the photographs alone."
        )
    if config.synthesis and not any(has_silhouette(capture, i) for i in range(len(capture))):
        needed = (
            f"--synthesis needs to know what the object is, and no photograph of {capture.source} has a mask that can "
            "be used or is transparent: give masks (a folder masks/ beside the photographs), or leave it out."
        )
        raise BadInputError(" ".join([needed, *capture.notes]))  # the notes say which masks could not be used, and why
    if config.standing_camera:
        from ..poses.standing_camera import StandingCamera

        return StandingCamera.of(capture)
    # Imported here: the matchers take seconds to load, which inputs with cameras need not wait for.
    from ..poses import PosesConfig
    from ..poses.choose_estimator import estimator_for

    settings = PosesConfig(
        seed=config.seed,
        hold_focal=config.focal_px is not None,
        min_confidence=config.min_confidence,
        device=config.device,
        store=run.matches_path,
    )
    return estimator_for(config.stereo, settings, config.device, config.pose_network)


def place(
    run: Run,
    capture: Capture,
    estimator: PoseEstimator | None,
    config: ReconstructConfig,
    progress: Progress = silent,
) -> Capture:
    """The selected photographs with cameras, as the run keeps them: placed, and copied into its folder.

    Where the input has no cameras, those of the training photographs are estimated from them alone; held-out ones are
    registered to that solution afterwards, so that there is something to compare. Depth that the pose estimator gives,
    too, is kept by the run. Where there are cameras but no points, these are triangulated from the training photographs
    alone.
    """
    seconds: dict[str, float] = {}
    notes = list(capture.notes)
    unplaced: dict[str, str] = {}
    stage: dict[str, Any] = {"cameras": "estimated" if capture.cameras_are_estimated else "given"}
    depths = None
    if estimator is not None:
        before = capture
        poses = estimator.place(before, progress)
        if config.synthesis:
            from .analysis_by_synthesis import refined_by_synthesis  # imported here: few ask for it

            poses = refined_by_synthesis(poses, before, progress=progress)
        capture, depths = poses.capture, poses.depths
        unplaced = {before.names[i]: reason for i, reason in poses.unplaced.items()}
        seconds["poses"] = sum(poses.seconds.values())
        confidence = dict(zip(capture.names, poses.confidence, strict=True))
        stage = {"cameras": "estimated", "stats": poses.stats, "seconds": poses.seconds, "confidence": confidence}
        notes += poses.notes
        if capture.test:
            notes.append(
                "The cameras were estimated from the training photographs alone; held-out photographs were registered "
                "to them afterwards."
            )
    if capture.points is None and _is_cut_out_film(capture):
        notes.append(
            "Each photograph is cut out and of a moment of its own, so that nothing in them stands still and no points "
            "can be triangulated; a method that follows time starts from their outlines."
        )
    elif capture.points is None:
        started = time.perf_counter()
        origin = "The input has" if estimator is None else "The pose estimator gives"
        capture, note = _with_points(capture, f"{origin} cameras but no points", config, progress)
        seconds["points"] = time.perf_counter() - started
        notes.append(note)
    capture = _without_test_points(capture)
    started = time.perf_counter()
    capture = save_capture(run, capture, config.max_side_px, progress)
    notes += [note for note in capture.notes if note not in notes]
    seconds["photographs"] = time.perf_counter() - started
    run.add_metrics(placed=len(capture), unplaced=unplaced, notes=notes, seconds=seconds)
    train_names, test_names = _names(capture)
    if depths is not None:
        save_stereo(run.depth_path, depths, train_names)
    write_json(run.config_path, {**run.config(), "views": {"train": train_names, "test": test_names}})
    write_json(run.poses_path, stage)
    run.matches_path.unlink(missing_ok=True)
    return capture


def _is_cut_out_film(capture: Capture) -> bool:
    """True for transparent training photographs of different moments, no two of one, as those of D-NeRF."""
    train = capture.subset(capture.split()[0])
    times = train.times_s
    if times is None or len(times) < 2 or len(times.unique()) < len(times):
        return False
    return train.image(0).shape[-1] == 4


def _with_points(capture: Capture, reason: str, config: ReconstructConfig, progress: Progress) -> tuple[Capture, str]:
    """The capture with points that its training photographs give with its cameras, if there are enough; and a note."""
    from ..poses import PosesConfig, triangulate

    train = capture.split()[0]
    points = triangulate(capture.subset(train), PosesConfig(seed=config.seed, device=config.device), progress)
    note = f"{reason}; {len(points)} were triangulated from matches between the {len(train)} training photographs."
    if len(points) < MIN_POINTS:
        matched, hull = len(points), visual_hull(capture.subset(train))
        few = f"{reason}, and matches between the photographs gave only {matched}"
        if hull is None or len(hull) < MIN_POINTS:
            return capture, (
                f"{few}: training knows nothing of where things are, and new views will be poor; photographs from in "
                "between would help."
            )
        points = hull
        note = (
            f"{few}: training starts from {len(hull)} on the visual hull of the transparent photographs, which holds "
            "more than the object."
        )
    assert points.seen_view is not None
    points = replace(points, seen_view=torch.tensor(train)[points.seen_view])
    return replace(capture, points=points), note


def _without_test_points(capture: Capture) -> Capture:
    """Only the points that at least two training photographs see, and only those photographs' observations."""
    points, train = capture.points, capture.split()[0]
    if points is None or points.seen_view is None or not capture.test:
        return capture
    seen = points.in_views(train)
    back = torch.tensor(train, dtype=torch.int64)
    view = None if seen.seen_view is None else back[seen.seen_view]
    return replace(capture, points=PointCloud(seen.xyz, seen.rgb, seen.seen_point, view, seen.metric, seen.exact))


def _names(capture: Capture) -> tuple[list[str], list[str]]:
    train, test = capture.split()
    return [capture.names[i] for i in train], [capture.names[i] for i in test]
