"""The trainer: photographs and a model in, a fitted splat out. It knows no method by name."""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...learn.checkpoint import Checkpoint, load_newest, save
from ...scene.cameras import Cameras
from ...scene.errors import BadInputError, FewviewError
from ...scene.filled import filled
from ...scene.interruption import interruption
from ...scene.progress import Progress, silent
from ...scene.run import Run
from ...scene.splat import Splat
from ...scene.torch_threads import torch_threads
from .adam import update as update_column
from .appearance import Appearance
from .appearance_choice import AppearanceChoice, choose_appearance
from .camera_refinement import CameraRefinement
from .contract import Model, Stage
from .dataset import Dataset, ViewOrder
from .module_optimisers import ModuleOptimiser
from .step import Step
from .table import Column
from .train_config import TrainConfig, settings

LOSS_EVERY_ON_GPU = 10  # reading the loss waits for the GPU

Callback = Callable[[int, Model, Mapping[str, float | int]], None]  # (steps done, model, figures)


@dataclass(frozen=True)
class FitResult:
    """The outcome of a training, finished or interrupted."""

    splat: Splat  # detached
    cameras: Cameras  # of all views, the training ones refined where the config asks for it
    step: int  # steps done
    interrupted: bool  # whether Ctrl-C ended it before the last step
    loss: float  # of the last step that was run; NaN when there was none to run
    seconds: float  # of training, over all parts of the run
    notes: tuple[str, ...]  # sentences for the person, e.g. about a damaged checkpoint
    appearance: AppearanceChoice  # whether each photograph had a colour transform, and why


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
    """Optimise `model` in place until all steps of its stages are done or Ctrl-C is pressed.

    With a run, checkpoints are written into its folder; `resume` goes on from the newest, bit for bit as if nothing
    had happened. On the CPU PyTorch uses as many threads as the model says: kernels have their own, and spinning
    OpenMP threads would take their cores. The global random generator, which layers such as dropout draw from, is
    the run's own meanwhile. Raises BadInputError when the checkpoint belongs to other data or settings, FewviewError
    when the loss is no longer a number.
    """
    with _own_randomness(config.seed), interruption() as interrupted:
        trainer = Trainer(model, dataset, config, run)
        notes = trainer.resume() if resume else []
        loss = math.nan
        with torch_threads(model.torch_threads, trainer.device):
            while trainer.step < trainer.steps and not interrupted.is_set():
                loss = trainer.advance()
                figures: dict[str, float | int] = {"loss": loss}
                figures |= {name: table.rows for name, table in model.tables.items() if table.rows}
                for callback in callbacks:
                    callback(trainer.step, model, figures)
                progress(trainer.stage.name, trainer.step, trainer.steps, figures)
                if run is not None:
                    trainer.save_when_due()
            if run is not None:
                trainer.save()
            return FitResult(
                splat=model.result(),
                cameras=trainer.poses.cameras(),
                step=trainer.step,
                interrupted=trainer.step < trainer.steps,
                loss=loss,
                seconds=trainer.seconds(),
                notes=tuple(notes),
                appearance=trainer.appearance_choice,
            )


class Trainer:
    """The state of one run of training; `fit` is its usual way."""

    def __init__(self, model: Model, dataset: Dataset, config: TrainConfig, run: Run | None = None) -> None:
        self.model, self.config = model, config
        self.device = _device(model)
        self.dataset = dataset.to(self.device)
        self.poses = CameraRefinement(self.dataset.cameras, config, dataset.scene_scale)
        self.appearance_choice = choose_appearance(self.dataset, config)
        self.appearance = (
            Appearance(self.dataset, config, self.appearance_choice.gains) if self.appearance_choice.used else None
        )
        self.order = ViewOrder(dataset.train)
        self.view_generator = torch.Generator().manual_seed(config.seed)
        self.model_generator = torch.Generator(self.device).manual_seed(config.seed)
        self.background = torch.tensor(config.background, device=self.device)
        self.stages = list(model.stages())
        self.ends = list(itertools.accumulate(stage.steps for stage in self.stages))  # steps done after each stage
        self.steps = self.ends[-1] if self.ends else 0
        self.step = 0
        self.loss = math.nan
        self._columns: dict[str, tuple[str, str]] = {}  # what learns: the table and the column of each key
        self._module_optimisers: dict[str, ModuleOptimiser] = {}
        self._begin(0)
        self.folder = None if run is None else run.checkpoints_path
        self.fingerprint = "" if run is None else dataset.fingerprint()
        self.saved_step = -1
        self.saved_at = self.started_at = time.monotonic()
        self.earlier_seconds = 0.0

    @property
    def stage(self) -> Stage:
        return self.stages[self.stage_index]

    def advance(self) -> float:
        """One step; the loss."""
        if self.step >= self.ends[self.stage_index]:
            self._begin(self.stage_index + 1)
        step = self._next_step()
        self.model.before_step(step)
        losses = self.model.loss(step)
        loss = sum(itertools.islice(losses.values(), 1, None), next(iter(losses.values())))
        loss.backward()
        self._look_at(losses, loss)
        visible = self.model.visible_rows(step)
        for key, (table, name) in self._columns.items():
            column = self.model.tables[table].columns[name]
            update_column(column, self.stage.optimisers[key], step.stage_step, visible.get(table))
        for optimiser in self._module_optimisers.values():
            optimiser.update(step.stage_step)
        self.poses.update(self.step)
        if self.appearance is not None:
            self.appearance.update(step.views, self.step)
        self.model.after_step(step)
        self.step += 1
        return self.loss

    def _next_step(self) -> Step:
        begin = self.ends[self.stage_index] - self.stage.steps
        views = self._drawn_views(self.step - begin)
        background = self.background if any(self.config.background) else None
        if self.config.random_background:
            background = filled(torch.rand(3, generator=self.view_generator).tolist(), self.device)
        return Step(
            self.step,
            self.steps,
            self.stage_index,
            self.step - begin,
            views,
            dataset=self.dataset,
            config=self.config,
            splat=self.model.splat,
            pose=self.poses.pose,
            background=background,
            generator=self.model_generator,
            appearance=self.appearance,
        )

    def _drawn_views(self, stage_step: int) -> list[int]:
        count = self.stage.views_per_step
        if self.stage.view_weights is None:
            return [self.order.next(self.view_generator) for _ in range(count)]
        weights = self.stage.view_weights(stage_step)
        few = int((weights > 0).sum()) < count
        drawn = torch.multinomial(weights, count, replacement=few, generator=self.view_generator)
        return [self.dataset.train[i] for i in drawn.tolist()]

    # -- stages -----------------------------------------------------------------------------------------------------

    def _begin(self, index: int) -> None:
        """Enter a stage: what its optimisers name learns from now on, all else stands still."""
        self.stage_index = index
        self.model.begin_stage(index, self.model_generator)
        stage, earlier = self.stages[index], self._module_optimisers
        self._columns, self._module_optimisers = {}, {}
        for table in self.model.tables.values():
            for column in table.columns.values():
                column.tensor.requires_grad_(False)
        for module in self.model.modules.values():
            module.requires_grad_(False)
        for key, optimiser in stage.optimisers.items():
            owner, _, rest = key.partition(".")
            if owner in self.model.tables and rest in self.model.tables[owner].columns:
                self._columns[key] = owner, rest
                column = self.model.tables[owner].columns[rest]
                column.tensor.requires_grad_(True)
                if stage.forgets:
                    _forget(column)
            elif owner in self.model.modules:
                self._module_optimisers[key] = _continued(
                    earlier.get(key), ModuleOptimiser(self.model.modules[owner], rest, optimiser), stage.forgets
                )
                for parameter in self._module_optimisers[key].named.values():
                    parameter.requires_grad_(True)
            else:
                columns = [f"{name}.{column}" for name, table in self.model.tables.items() for column in table]
                raise ValueError(
                    f"stage {index} optimises '{key}', which the model does not have: it has "
                    f"{', '.join([*columns, *self.model.modules])}"
                )

    def _look_at(self, losses: Mapping[str, Tensor], loss: Tensor) -> None:
        if self.device.type == "cpu" or self.step % LOSS_EVERY_ON_GPU == 0:
            self.loss = float(loss.detach())
            if not math.isfinite(self.loss):
                bad = [name for name, value in losses.items() if not bool(torch.isfinite(value))]
                which = f" ({', '.join(bad)})" if len(losses) > 1 and bad else ""
                raise FewviewError(
                    f"The loss became {self.loss} at step {self.step + 1}{which}. Lower the learning rates, or "
                    "continue from the last checkpoint with --resume."
                )

    # -- checkpoints ------------------------------------------------------------------------------------------------

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
        checkpoint = Checkpoint(self.step, self.seconds(), settings(self.config), self.fingerprint, self._state())
        save(self.folder, checkpoint)
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
            self._load(checkpoint)
        except (ValueError, KeyError, RuntimeError, TypeError) as error:
            raise checkpoint.misfit(self.folder, error) from error
        self.step = self.saved_step = checkpoint.step
        self.earlier_seconds = checkpoint.seconds
        return notes

    def _state(self) -> dict[str, Tensor]:
        parts = {f"tables/{name}": table.state() for name, table in self.model.tables.items()}
        parts |= {f"modules/{name}": module.state_dict() for name, module in self.model.modules.items()}
        parts |= {f"moments/{key}": optimiser.state() for key, optimiser in self._module_optimisers.items()}
        parts |= {"model": self.model.state(), "cameras": self.poses.table.state()}
        if self.appearance is not None:
            parts["appearance"] = self.appearance.table.state()
        parts["order"] = {"waiting": self.order.waiting}
        generators = {"view": self.view_generator.get_state(), "model": self.model_generator.get_state()}
        parts["generator"] = generators | {"global": torch.get_rng_state()}
        return {f"{part}/{name}": tensor for part, tensors in parts.items() for name, tensor in tensors.items()}

    def _load(self, checkpoint: Checkpoint) -> None:
        # A checkpoint at the end of a stage was written before the next began.
        for index in range(1, 1 + sum(end < checkpoint.step for end in self.ends)):
            self._begin(index)
        stored = {name.split("/")[1] for name in checkpoint.tensors if name.startswith("tables/")}
        if stored != set(self.model.tables):
            raise ValueError(f"it has the tables {sorted(stored)}, expected {sorted(self.model.tables)}")
        for name, table in self.model.tables.items():
            table.load_state(checkpoint.part(f"tables/{name}"))
        for name, module in self.model.modules.items():
            module.load_state_dict(checkpoint.part(f"modules/{name}"))
        for key, optimiser in self._module_optimisers.items():
            optimiser.load_state(checkpoint.part(f"moments/{key}"))
        self.model.load_state(checkpoint.part("model"))
        self.poses.table.load_state(checkpoint.part("cameras"))
        if self.appearance is not None:
            self.appearance.table.load_state(checkpoint.part("appearance"))
        self.order.waiting = checkpoint.tensors["order/waiting"]
        self.view_generator.set_state(checkpoint.tensors["generator/view"])
        self.model_generator.set_state(checkpoint.tensors["generator/model"])
        torch.set_rng_state(checkpoint.tensors["generator/global"])


def _device(model: Model) -> torch.device:
    """The device of what learns, which is one."""
    tensors = [tensor for table in model.tables.values() for tensor in table.values()]
    tensors += [parameter for module in model.modules.values() for parameter in module.parameters()]
    if not tensors:
        raise ValueError("the model has neither tables nor modules: there is nothing to optimise")
    return tensors[0].device


def _forget(column: Column) -> None:
    column.forget()
    column.updates = 0


def _continued(old: ModuleOptimiser | None, new: ModuleOptimiser, forgets: bool) -> ModuleOptimiser:
    """The optimiser of a stage, with the moments of the stage before it."""
    if old is not None and not forgets:
        new.load_state(old.state())
    return new


@contextlib.contextmanager
def _own_randomness(seed: int) -> Iterator[None]:
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield
