"""The pipeline: photographs in, a run with a splat and its figures out.

Every stage leaves its result in the run folder, so an interrupted run continues where it stopped: photographs and
cameras (`poses.json` is written last), training (`checkpoints/`, then `splat.ply`), evaluation (`metrics.json`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ...render import render
from ...render.aim import up_direction
from ...render.metrics import psnr
from ...scene.cameras import Cameras
from ...scene.files import write_bytes
from ...scene.formats import load_splat, save_splat
from ...scene.formats.axes import snapped
from ...scene.gaussians import Gaussians
from ...scene.progress import Progress, silent
from ...scene.readers import save_cameras
from ...scene.run import Run
from ...scene.splat import Axis, StaticSplat
from ..optimise.contract import Model, TrainConfig, settings
from ..optimise.dataset import Dataset
from ..optimise.trainer import Callback, fit
from .choose_method import cameras_are_estimated, model_for
from .evaluate import MAX_PSNR_DB, evaluate
from .placement import open_run, place
from .reconstruct_config import ReconstructConfig
from .refine_held_out import refine_held_out

CURVE_POINTS = 40  # of the training curve; each costs one more rendered view


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
    with open_run(source, output, asked, resume=resume, command=command) as (run, config):
        capture = place(run, source, config, progress)
    dataset = Dataset.from_capture(capture, test=capture.test or (), progress=progress).to(config.device)
    dataset = train(run, dataset, config, progress, callbacks, keep_when_stopped)
    measure(run, dataset, progress)
    return run


def train(
    run: Run,
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
    chosen, model, seconds = model_for(run, dataset, config, progress)
    curve = _Curve(dataset, chosen, run.metrics().get("training", {}).get("curve", []))
    result = fit(model, dataset, chosen, run=run, resume=True, progress=progress, callbacks=[curve, *callbacks])
    training = {"gaussians": len(result.gaussians), "steps": result.step, "curve": curve.points}
    _add(run, notes=result.notes, seconds=seconds | {"training": result.seconds}, training=training | _told(chosen))
    if result.interrupted and not keep_when_stopped():
        raise KeyboardInterrupt
    save_splat(run.splat_path, StaticSplat(result.gaussians, chosen.antialiased, _world_up(result.cameras)))
    if not chosen.refine_poses:
        return dataset
    write_bytes(run.estimated_cameras_path, run.cameras_path.read_bytes())
    save_cameras(run, result.cameras)
    return replace(dataset, cameras=result.cameras)


def measure(run: Run, dataset: Dataset, progress: Progress = silent, *, again: bool = False) -> None:
    """Compare the splat with the photographs and put `eval` into metrics.json; once, unless `again`.

    Held-out cameras that had to be estimated are fitted to the splat first, once, and both figures are kept.
    """
    known = run.metrics().get("eval")
    if known is not None and not again:
        return
    splat = load_splat(run.splat_path)
    device = dataset.cameras.K.device
    background = torch.tensor(run.metrics().get("training", {}).get("background", [0.0, 0.0, 0.0]), device=device)
    gaussians = splat.gaussians.to(device)
    started = time.perf_counter()

    def measured(views: Dataset) -> dict[str, Any]:
        return evaluate(run, views, gaussians, background=background, antialiased=splat.antialiased, progress=progress)

    result = measured(dataset)
    if known is not None and "before_alignment" in known:
        result["before_alignment"] = known["before_alignment"]
    elif dataset.test and cameras_are_estimated(run):
        aligned = refine_held_out(gaussians, dataset, background, antialiased=splat.antialiased, progress=progress)
        save_cameras(run, aligned.cameras)
        result = measured(aligned) | {"before_alignment": result["mean"]}
    notes = [_alignment_note(result["before_alignment"])] if "before_alignment" in result else []
    _add(run, notes=notes, seconds={"evaluation": time.perf_counter() - started}, eval=result)


def _world_up(cameras: Cameras) -> Axis:
    """Up in the run's world frame, on an axis when it nearly is: an estimate is not exact to half a degree."""
    x, y, z = up_direction(cameras.to("cpu")).double().tolist()
    return snapped((x, y, z))


def _alignment_note(before: Mapping[str, float]) -> str:
    return (
        "The cameras of the held-out photographs were fitted to the finished splat before it was measured, as is usual "
        f"where none are given; without that it has {before['psnr']:.2f} dB, SSIM {before['ssim']:.3f}."
    )


class _Curve:
    """Loss and PSNR over the steps: [step, loss, PSNR of one view in dB], the held-out one nearest to the middle."""

    def __init__(self, dataset: Dataset, config: TrainConfig, earlier: Sequence[Sequence[float]]) -> None:
        views = dataset.test or dataset.train
        self._index = views[len(views) // 2]
        self._dataset, self._config = dataset, config
        self._background = torch.tensor(config.background, device=dataset.cameras.K.device)
        self._every = max(1, config.steps // CURVE_POINTS)
        self.points: list[list[float]] = [list(p) for p in earlier]

    def __call__(self, step: int, model: Model, figures: Mapping[str, float | int]) -> None:
        if step % self._every and step != self._config.steps:
            return
        self.points = [p for p in self.points if p[0] < step]
        self.points.append([step, float(figures["loss"]), self._psnr(model.gaussians().detach())])

    @torch.no_grad()
    def _psnr(self, gaussians: Gaussians) -> float:
        camera, target = self._dataset.cameras[self._index], self._dataset.view(self._index).target(self._background)
        image = render(gaussians, camera, background=self._background, antialiased=self._config.antialiased).rgb
        return min(psnr(image.clamp(0, 1), target), MAX_PSNR_DB)


def _told(config: TrainConfig) -> dict[str, Any]:
    """What the report and a later evaluation need to know about the training."""
    return {"background": list(config.background), "settings": settings(config)}


def _add(run: Run, *, notes: Sequence[str] = (), seconds: Mapping[str, float] = {}, **values: Any) -> None:
    """Merge into metrics.json: notes are appended once, seconds are set by stage."""
    metrics = run.metrics()
    known = metrics.get("notes", [])
    run.update_metrics(
        notes=[*known, *(n for n in notes if n not in known)],
        seconds={**metrics.get("seconds", {}), **seconds},
        **values,
    )
