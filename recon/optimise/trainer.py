"""The trainer: photographs and a model in, a fitted model out. It knows no method by name."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...learn.checkpoint import Checkpoint, load_newest, save
from ...render import rasterization
from ...render.loss import l1_dssim
from ...scene.cameras import Cameras
from ...scene.errors import BadInputError, FewviewError
from ...scene.gaussians import Gaussians
from ...scene.geometry import se3_exp
from ...scene.interruption import interruption
from ...scene.progress import Progress, silent
from ...scene.run import Run
from .adam import Adam, Parameters
from .contract import Drawn, Model, TrainConfig, settings
from .dataset import Dataset, View, ViewOrder

POSES = "camera_poses"  # the group of twists (rotation vector in radians, translation) [views, 6]
LOSS_EVERY_ON_GPU = 10  # reading the loss waits for the GPU

Callback = Callable[[int, Model, Mapping[str, float | int]], None]  # (steps done, model, figures)


@dataclass(frozen=True)
class FitResult:
    gaussians: Gaussians  # detached, at time 0 where the scene moves
    cameras: Cameras  # of all views, the training ones refined where the config asks for it
    step: int  # steps done
    interrupted: bool  # whether Ctrl-C ended it before the last step
    loss: float  # of the last step that was run; NaN when there was none to run
    seconds: float  # of training, over all parts of the run
    notes: tuple[str, ...]  # what the person should know, e.g. a damaged checkpoint


def fit(
    model: Model,
    dataset: Dataset,
    config: TrainConfig,
    *,
    run: Run | None = None,
    resume: bool = False,
    progress: Progress = silent,
    callbacks: Sequence[Callback] = (),
) -> FitResult:
    """Optimise `model` in place until all steps are done or Ctrl-C is pressed.

    With a run, checkpoints are written into its folder; `resume` goes on from the newest, bit for bit as if nothing
    had happened. On the CPU PyTorch uses one thread meanwhile: the kernels have their own, and spinning OpenMP threads
    would take their cores. Raises BadInputError when the checkpoint belongs to other data or settings, FewviewError
    when the loss is no longer a number.
    """
    trainer = _Trainer(model, dataset, config, run)
    notes = trainer.resume() if resume else []
    loss = math.nan
    with one_thread(trainer.device), interruption() as interrupted:
        while trainer.step < config.steps and not interrupted.is_set():
            loss = trainer.advance()
            figures: dict[str, float | int] = {"loss": loss, "gaussians": model.groups["means"].tensor.shape[0]}
            progress("training", trainer.step, config.steps, figures)
            for callback in callbacks:
                callback(trainer.step, model, figures)
            trainer.save_when_due()
        trainer.save()
    with torch.no_grad():
        gaussians = model.gaussians().detach()
    return FitResult(
        gaussians, trainer.cameras(), trainer.step, trainer.step < config.steps, loss, trainer.seconds(), tuple(notes)
    )


class _Trainer:
    """The state of one run of training."""

    def __init__(self, model: Model, dataset: Dataset, config: TrainConfig, run: Run | None) -> None:
        self.model = model
        self.config = config
        self.device = model.groups["means"].tensor.device
        self.dataset = dataset.to(self.device)
        groups = dict(model.groups)
        if config.refine_poses:
            twists = torch.zeros(len(dataset), 6, device=self.device)
            groups[POSES] = Parameters(twists, per_gaussian=False)
        self.optimizer = Adam(groups)
        self.order = ViewOrder(dataset.train)
        self.view_generator = torch.Generator().manual_seed(config.seed)
        self.model_generator = torch.Generator(self.device).manual_seed(config.seed)
        self.background = torch.tensor(config.background, device=self.device)
        self.is_black = not any(config.background) and not config.random_background
        self.step = 0
        self.loss = math.nan
        self.folder = None if run is None else run.checkpoints_path
        self.fingerprint = "" if run is None else dataset.fingerprint()
        self.saved_step = -1
        self.saved_at = self.started_at = time.monotonic()
        self.earlier_seconds = 0.0

    def advance(self) -> float:
        """One step; the loss."""
        model, config, step = self.model, self.config, self.step
        model.prepare(step, self.optimizer)
        index = self.order.next(self.view_generator)
        view = self.dataset.view(index, config.coarse_level(step))
        background = self._background()
        drawn = self._draw(index, view, background)
        if model.densifier.wants_screen_gradient:
            drawn.info["means2d"].retain_grad()

        target = view.target(background)
        image = drawn.rgb
        if view.mask is not None:  # black on both sides, so that SSIM's windows see nothing of what does not count
            counts = view.mask[..., None]
            image, target = image * counts, target * counts
        loss = l1_dssim(image, target, config.dssim_weight)
        extra = model.extra_loss(step, drawn)
        if extra is not None:
            loss = loss + extra
        loss.backward()
        self._look_at(loss)

        rates = model.learning_rates(step)
        means_lr = float(rates["means"])
        if config.refine_poses:
            rates = {**rates, POSES: self._pose_rates(step)}
        self.optimizer.step(rates, drawn.visible() if config.sparse_adam else None)
        model.densifier.after_step(step, drawn, self.optimizer, means_lr, self.model_generator)
        self.step += 1
        return self.loss

    def _draw(self, index: int, view: View, background: Tensor) -> Drawn:
        camera_time = None if self.dataset.cameras.times_s is None else float(self.dataset.cameras.times_s[index])
        gaussians = self.model.gaussians(camera_time)
        opacities, scales = gaussians.opacities, gaussians.scales
        colors, alphas, info = rasterization(
            gaussians.means,
            gaussians.quats,
            scales,
            self._thinned(opacities),
            gaussians.sh,
            self._cam_from_world(index)[None],
            view.K[None],
            view.width,
            view.height,
            sh_degree=gaussians.sh_degree,
            packed=False,
            backgrounds=None if self.is_black else background[None],
            render_mode="RGB+ED" if self.model.wants_depth else "RGB",
            rasterize_mode="antialiased" if self.config.antialiased else "classic",
        )
        rgb, depth = colors[0], None
        if self.model.wants_depth:
            rgb, depth = colors[0, ..., :3], colors[0, ..., 3]
        return Drawn(index, gaussians, opacities, scales, rgb, alphas[0, ..., 0], depth, info)

    def _thinned(self, opacities: Tensor) -> Tensor:
        """Some Gaussians made invisible by chance, the others stronger to make up for it.

        With few views, Gaussians behind others get no gradient and fit nothing; dropping those in front lets them
        learn (DropGaussian, Park et al. 2025, equations 4 and 5).
        """
        rate = self.config.drop_rate * self.step / self.config.steps
        if rate <= 0:
            return opacities
        kept = torch.rand(opacities.shape, generator=self.model_generator, device=opacities.device) >= rate
        return (opacities * (kept / (1 - rate))).clamp(max=1)

    def _background(self) -> Tensor:
        if not self.config.random_background:
            return self.background
        return torch.rand(3, generator=self.view_generator).to(self.device)

    def _cam_from_world(self, index: int) -> Tensor:
        cam_from_world = self.dataset.cameras.cam_from_world[index]
        if not self.config.refine_poses:
            return cam_from_world
        return se3_exp(self.optimizer.groups[POSES].tensor[index]) @ cam_from_world

    def _pose_rates(self, step: int) -> Tensor:
        c = self.config
        decay = max(c.pose_lr_final, 1e-12) ** (step / c.steps)
        rotation, translation = c.pose_rotation_lr * decay, c.pose_translation_lr * decay * self.model.extent
        return torch.tensor([rotation] * 3 + [translation] * 3)

    def _look_at(self, loss: Tensor) -> None:
        if self.device.type == "cpu" or self.step % LOSS_EVERY_ON_GPU == 0:
            self.loss = float(loss.detach())
            if not math.isfinite(self.loss):
                raise FewviewError(
                    f"The loss became {self.loss} at step {self.step + 1}. Lower the learning rates, or continue from "
                    "the last checkpoint with --resume."
                )

    def cameras(self) -> Cameras:
        cameras = self.dataset.cameras
        if not self.config.refine_poses:
            return cameras
        with torch.no_grad():
            refined = se3_exp(self.optimizer.groups[POSES].tensor) @ cameras.cam_from_world
        return dataclasses.replace(cameras, cam_from_world=refined)

    def seconds(self) -> float:
        return self.earlier_seconds + time.monotonic() - self.started_at

    def save_when_due(self) -> None:
        c = self.config
        by_time = c.checkpoint_every_s > 0 and time.monotonic() - self.saved_at >= c.checkpoint_every_s
        if by_time or (c.checkpoint_every_steps > 0 and self.step % c.checkpoint_every_steps == 0):
            self.save()

    def save(self) -> None:
        if self.folder is None or self.saved_step == self.step:
            return
        tensors = {f"optimizer/{k}": v for k, v in self.optimizer.state().items()}
        tensors |= {f"densifier/{k}": v for k, v in self.model.densifier.state().items()}
        tensors["order/waiting"] = self.order.waiting
        tensors["generator/view"] = self.view_generator.get_state()
        tensors["generator/model"] = self.model_generator.get_state()
        save(self.folder, Checkpoint(self.step, self.seconds(), settings(self.config), self.fingerprint, tensors))
        self.saved_step, self.saved_at = self.step, time.monotonic()

    def resume(self) -> list[str]:
        """Take up the newest checkpoint, if there is one; notes about those that could not be used."""
        if self.folder is None:
            raise BadInputError("There is nothing to resume: no run folder was given.")
        checkpoint, notes = load_newest(self.folder)
        if checkpoint is None:
            return notes
        checkpoint.check(settings(self.config), self.fingerprint)
        try:
            self.optimizer.load_state(checkpoint.part("optimizer"), checkpoint.step)
            self.model.densifier.load_state(checkpoint.part("densifier"))
            self.order.waiting = checkpoint.tensors["order/waiting"]
            self.view_generator.set_state(checkpoint.tensors["generator/view"])
            self.model_generator.set_state(checkpoint.tensors["generator/model"])
        except (ValueError, KeyError, RuntimeError, TypeError) as error:
            raise FewviewError(
                f"The checkpoint at step {checkpoint.step} in {self.folder} does not fit this version's model: "
                f"{error}. Start the run again."
            ) from error
        self.step = self.saved_step = checkpoint.step
        self.earlier_seconds = checkpoint.seconds
        return notes


@contextlib.contextmanager
def one_thread(device: torch.device) -> Iterator[None]:
    if device.type != "cpu":
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
