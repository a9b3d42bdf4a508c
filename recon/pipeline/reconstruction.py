"""The pipeline: photographs in, a run with a splat and its figures out.

Every stage leaves its result in the run folder, so an interrupted run continues where it stopped: photographs and
cameras (`poses.json` is written last), training (`checkpoints/`, then `splat.ply`), evaluation (`metrics.json`).
Training and measuring happen in the normalised frame; all that is written is in the unit of the input.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...render.aim import world_up
from ...scene.capture import Capture
from ...scene.files import write_bytes
from ...scene.mesh_bound import MeshBoundMotion
from ...scene.mesh_formats import load_mesh, save_mesh
from ...scene.progress import Progress, silent
from ...scene.readers import save_cameras
from ...scene.run import Run
from ...scene.run_lock import locked
from ...scene.run_splat import load_run_splat, save_run_splat
from ...scene.splat import MovingSplat
from ..evidence.evidence_kinds import STATIC_MESH
from ..evidence.mesh_file import save_static_mesh
from ..optimise.dataset import Dataset
from ..optimise.normalised_frame import world_from_normalised
from ..optimise.train_config import settings
from ..optimise.trainer import Callback, fit
from .evaluate import evaluate
from .first_stage import placed_input
from .prepare_method import prepare_method
from .reconstruct_config import ReconstructConfig
from .refine_held_out import refine_held_out
from .run_folder import open_run
from .training_curve import TrainingCurve


def reconstruct(
    source: Path | str,
    output: Path | str,
    config: ReconstructConfig | None = None,
    *,
    resume: bool = False,
    command: str = "reconstruct",
    progress: Progress = silent,
    callbacks: Sequence[Callback] = (),
    keep_when_stopped: Callable[[], bool] = lambda: False,
) -> Run:
    """Photographs, a video or a data set at `source` to a splat with figures in the folder `output`.

    With `resume` a run that was interrupted continues; what it has finished is not done again. `callbacks` are the
    trainer's; `keep_when_stopped` says, after Ctrl-C in training, whether the splat is taken as it is then.
    Raises BadInputError, and leaves nothing behind, when the input or the output folder cannot be used.
    """
    asked = config or ReconstructConfig()
    with contextlib.ExitStack() as held:
        with open_run(source, output, asked, resume=resume, command=command) as (run, config):
            held.enter_context(locked(run))
            if config.mesh is not None and not run.evidence_path(STATIC_MESH).is_file():
                save_static_mesh(run.evidence_path(STATIC_MESH), load_mesh(config.mesh).at())
            capture = placed_input(run, source, config, progress)
        dataset = Dataset.from_capture(capture, test=capture.test or (), progress=progress).to(config.device)
        dataset = train(run, capture, dataset, config, progress, callbacks, keep_when_stopped)
        measure(run, dataset, progress)
    return run


def train(
    run: Run,
    capture: Capture,
    dataset: Dataset,
    config: ReconstructConfig,
    progress: Progress = silent,
    callbacks: Sequence[Callback] = (),
    keep_when_stopped: Callable[[], bool] = lambda: False,
) -> Dataset:
    """Train, or go on training, and write `splat.ply`; nothing when that is there.

    The data set comes back with the cameras as training left them; refined ones are the run's from then on.
    Raises KeyboardInterrupt after Ctrl-C, when the checkpoint is written, unless `keep_when_stopped`.
    """
    if run.splat_path.is_file():
        return dataset
    prepared = prepare_method(run, capture, dataset, config, progress)
    model, chosen = prepared.model, prepared.choice.config
    curve = TrainingCurve(prepared.dataset, model, run.metrics().get("training", {}).get("curve", []))
    result = fit(
        model, prepared.dataset, chosen, run=run, resume=True, progress=progress, callbacks=[curve, *callbacks]
    )
    run.add_metrics(
        notes=[
            *prepared.choice.notes,
            *model.notes,
            *result.notes,
            *([result.appearance.reason] if result.appearance.used else []),
        ],
        seconds={**prepared.seconds, "training": result.seconds},
        training={
            "method": prepared.choice.method.name,
            "reason": prepared.choice.reason,
            "takes": list(prepared.taken),
            "comparison": [] if prepared.comparison is None else [r.as_json() for r in prepared.comparison.rows],
            "gaussians": len(result.splat),
            "steps": result.step,
            "curve": curve.points,
            "background": list(result.splat.background),  # for those who render the splat later
            "settings": settings(chosen),
            "appearance": {"used": result.appearance.used, "reason": result.appearance.reason},
        },
    )
    if result.interrupted and not keep_when_stopped():
        raise KeyboardInterrupt
    cameras = result.cameras.transformed(prepared.world_from_normalised)
    splat = result.splat.moved(prepared.world_from_normalised)
    up = world_up(cameras)
    if isinstance(splat, MovingSplat) and isinstance(splat.motion, MeshBoundMotion):
        points = dataset.points
        metric = points is not None and points.metric
        save_mesh(run.mesh_path, replace(splat.motion.mesh(splat.gaussians), up=up, metric=metric))
    save_run_splat(run, replace(splat, up=up))
    if not chosen.refine_poses:
        return dataset
    write_bytes(run.estimated_cameras_path, run.cameras_path.read_bytes())
    save_cameras(run, cameras)
    return replace(dataset, cameras=cameras)


def measure(run: Run, dataset: Dataset, progress: Progress = silent, *, again: bool = False) -> None:
    """Compare the splat with the photographs and put `eval` into metrics.json; once, unless `again`.

    Held-out cameras that had to be estimated are fitted to the splat first, once, and both figures are kept. Where
    training photographs had a colour transform each, measuring follows the half-image protocol.
    """
    metrics = run.metrics()
    known, colours = metrics.get("eval"), _had_colour_transforms(metrics)
    if known is not None and not again:
        return
    to_world = world_from_normalised(dataset.cameras[list(dataset.train)])
    normalised = dataset.transformed(to_world.inverse())
    splat = load_run_splat(run).to(dataset.cameras.K.device).moved(to_world.inverse())
    started = time.perf_counter()
    result = evaluate(run, normalised, splat, progress, fit_colours=colours)
    if known is not None and "before_alignment" in known:
        result["before_alignment"] = known["before_alignment"]
    elif dataset.test and run.cameras_are_estimated():
        aligned = refine_held_out(splat, normalised, fit_colours=colours, progress=progress)
        fitted, cam_from_world = list(dataset.test), dataset.cameras.cam_from_world.clone()
        cam_from_world[fitted] = aligned.cameras[fitted].transformed(to_world).cam_from_world
        save_cameras(run, replace(dataset.cameras, cam_from_world=cam_from_world))
        before = result["mean"]
        result = evaluate(run, aligned, splat, progress, fit_colours=colours) | {"before_alignment": before}
    notes = [_alignment_note(result["before_alignment"])] if "before_alignment" in result else []
    if "unfitted" in result:
        notes.append(_half_image_note(result["unfitted"]))
    # Measured again, it leaves the time of the reconstruction as it was.
    seconds = {"evaluation": time.perf_counter() - started} if known is None else {}
    run.add_metrics(notes=notes, seconds=seconds, eval=result)


def _alignment_note(before: Mapping[str, float]) -> str:
    return (
        "The cameras of the held-out photographs were fitted to the finished splat before it was measured, as is usual "
        f"where none are given; without that it has {before['psnr']:.2f} dB, SSIM {before['ssim']:.3f}."
    )


def _had_colour_transforms(metrics: Mapping[str, Any]) -> bool:
    """True where the training photographs had colour transforms, as the run says itself."""
    training = metrics.get("training")
    appearance = training.get("appearance") if isinstance(training, dict) else None
    return isinstance(appearance, dict) and appearance.get("used") is True


def _half_image_note(unfitted: Mapping[str, float]) -> str:
    return (
        "The colours of each measured photograph were fitted on its left half and the figures are of its right half, "
        "as is usual where training photographs have colour transforms; without that, on whole pictures, it has "
        f"{unfitted['psnr']:.2f} dB, SSIM {unfitted['ssim']:.3f}."
    )
