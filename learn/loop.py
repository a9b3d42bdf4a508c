"""The loop that trains a network, whatever that is for: batches in, weights out.

Each step depends on the seed and its number alone, so that a resumed run equals an uninterrupted one, bit for bit on
one CPU with the same threads.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ..scene.errors import BadInputError, FewviewError
from ..scene.interruption import interruption
from ..scene.progress import Progress, silent
from .checkpoint import Checkpoint, load_newest, save
from .optimizer_state import load_optimizer_state, optimizer_state
from .precision import loss_scaler, mixed
from .processes import any_process, current_process
from .training_task import Batch, TrainingTask

DATA_KIND = "samples"
SCALER = "loss_scaler"
LOSS_EVERY_ON_GPU = 10  # steps; reading the losses waits for the GPU


@dataclass(frozen=True)
class TrainRun:
    """The circumstances of one part of a training, which do not decide its result."""

    folder: Path | None = None  # for checkpoints
    resume: bool = False
    checkpoint_every_s: float = 300.0
    mixed_precision: bool = (
        False  # 16 bits where that is safe; `precision.require_mixed_precision` says where that can be
    )
    stop_after: int | None = None  # steps of this part of the run; all that are left, unless given
    # Settings that may differ from the checkpoint's, such as the epochs of a run that goes on for longer.
    may_differ: frozenset[str] = frozenset()
    # Gets the steps done and the losses, which on a GPU are of one of the last `LOSS_EVERY_ON_GPU` steps.
    after_step: Callable[[int, Mapping[str, float]], None] | None = None


@dataclass(frozen=True)
class Trained:
    step: int  # steps done
    steps: int  # of the whole run
    seconds: float  # over all parts of the run
    losses: Mapping[str, float]  # of the last step, by name
    notes: tuple[str, ...]  # what the person should know


def fit(network: nn.Module, task: TrainingTask, run: TrainRun, progress: Progress = silent) -> Trained:
    """Train `network` in place, on its device, until all steps are done or Ctrl-C is pressed.

    Inside of `processes.process_group` every process takes its share of each step. Raises BadInputError where the
    checkpoint is of another run, FewviewError where the loss is no longer a number.
    """
    loop = _Loop(network, task, run)
    notes = loop.resume() if run.resume else []
    last = task.steps if run.stop_after is None else min(task.steps, loop.step + run.stop_after)
    with interruption() as interrupted:
        if loop.step < last:
            for batch in task.batches(loop.step):
                loop.advance(batch)
                progress("training", loop.step, task.steps, {"loss": sum(loop.losses.values())})
                if run.after_step is not None:
                    run.after_step(loop.step, loop.losses)
                if loop.step >= last or any_process(interrupted.is_set(), loop.device):
                    break
                loop.save_when_due()
        loop.read_losses()
        loop.save()
    return Trained(loop.step, task.steps, loop.seconds(), loop.losses, tuple(notes))


class _Loop:
    """The state of one run."""

    def __init__(self, network: nn.Module, task: TrainingTask, run: TrainRun) -> None:
        self.network, self.task, self.run = network, task, run
        self.device = next(network.parameters()).device
        self.rank, processes = current_process()
        self.shared: nn.Module = network
        if processes > 1:
            # Some parts may be idle in some steps, such as an image decoder where no view has anything to decode.
            self.shared = DistributedDataParallel(network, find_unused_parameters=True)
        self.optimizer = task.optimizer(network)
        self.scaler = loss_scaler(self.device, run.mixed_precision)
        self.losses: dict[str, float] = {}  # by name, as they were last read
        self._unread: Mapping[str, Tensor] = {}  # of the last step, where they are not read yet
        self._unread_step = 0  # its number, from 1
        self.step, self.earlier_seconds = 0, 0.0
        self.started_at = self.saved_at = time.monotonic()
        self.saved_step = -1

    def advance(self, batch: Batch) -> None:
        """One step."""
        self.network.train()
        self.task.set_rates(self.optimizer, self.step)
        found = self.task.loss(self._forward, batch.to(self.device))
        loss = torch.stack(list(found.values())).sum()
        self._unread = {name: value.detach() for name, value in found.items()}
        self._unread_step = self.step + 1
        if self.device.type == "cpu" or self.step % LOSS_EVERY_ON_GPU == 0:
            self.read_losses()
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        if self.task.max_gradient_norm is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.network.parameters(), self.task.max_gradient_norm)
        self.scaler.step(self.optimizer)  # left out where a scaled gradient overflowed
        self.scaler.update()
        self.step += 1

    def read_losses(self) -> None:
        """Take up the losses of the last step in one copy. Raises FewviewError where one is no longer a number."""
        if not self._unread:
            return
        names, values = list(self._unread), torch.stack(list(self._unread.values())).tolist()
        self.losses, self._unread = dict(zip(names, values, strict=True)), {}
        bad = ", ".join(name for name, value in self.losses.items() if not math.isfinite(value))
        if bad:
            raise FewviewError(
                f"The loss is no longer a number at step {self._unread_step} ({bad}); lower the learning rate, or "
                "start from other weights."
            )

    def _forward(self, *inputs: Any, **named: Any) -> Any:
        """The network's output, shared with the other processes; losses stay outside of the mixed precision."""
        with mixed(self.device, self.run.mixed_precision):
            return self.shared(*inputs, **named)

    def seconds(self) -> float:
        return self.earlier_seconds + time.monotonic() - self.started_at

    def save_when_due(self) -> None:
        if time.monotonic() - self.saved_at >= self.run.checkpoint_every_s:
            self.save()

    def save(self) -> None:
        """Processes of one run are equal after each step, so the first one writes."""
        if self.run.folder is None or self.rank != 0 or self.saved_step == self.step:
            return
        self.read_losses()  # a state that is no longer of numbers must not become a checkpoint
        tensors: dict[str, Tensor] = {f"model/{k}": v.clone() for k, v in self.network.state_dict().items()}
        tensors |= optimizer_state(self.optimizer, self.network)
        tensors["generator/cpu"] = torch.get_rng_state()
        if self.scaler.is_enabled():
            tensors |= {f"{SCALER}/{name}": torch.tensor(value) for name, value in self.scaler.state_dict().items()}
        if self.device.type == "cuda":
            tensors["generator/cuda"] = torch.cuda.get_rng_state(self.device)
        settings = dict(self.task.settings())
        save(self.run.folder, Checkpoint(self.step, self.seconds(), settings, self.task.fingerprint, tensors))
        self.saved_step, self.saved_at = self.step, time.monotonic()

    def resume(self) -> list[str]:
        """Take up the newest checkpoint, if there is one; notes about those that could not be used."""
        if self.run.folder is None:
            raise BadInputError("There is nothing to resume: no run folder was given.")
        checkpoint, notes = load_newest(self.run.folder)
        if checkpoint is None:
            return notes
        now, before = dict(self.task.settings()), checkpoint.settings
        changed = sorted(k for k in self.run.may_differ if k in before and before[k] != now.get(k))
        checkpoint.check({**now, **{k: before[k] for k in changed}}, self.task.fingerprint, DATA_KIND)
        if checkpoint.step > self.task.steps:
            raise BadInputError(
                f"The checkpoint has {checkpoint.step} steps, more than the {self.task.steps} that are asked for now; "
                "ask for as many or more, or start a new run."
            )
        notes += [
            f"The run was begun with {k}={before[k]} and goes on with {now.get(k)}: learning rates follow the new "
            "schedule from here, which is not the same as a run that had it from the start."
            for k in changed
        ]
        try:
            self.network.load_state_dict(checkpoint.part("model"))
            load_optimizer_state(self.optimizer, self.network, checkpoint)
            if self.scaler.is_enabled() and (scaler := checkpoint.part(SCALER)):
                self.scaler.load_state_dict({name: value.item() for name, value in scaler.items()})
            self._set_generators(checkpoint)
        except (KeyError, RuntimeError, TypeError) as error:
            raise checkpoint.misfit(self.run.folder, error) from error
        self.step = self.saved_step = checkpoint.step
        self.earlier_seconds = checkpoint.seconds
        return notes

    def _set_generators(self, checkpoint: Checkpoint) -> None:
        if self.rank > 0:
            # The checkpoint is of the first process; dropout differs between processes, and from what it was.
            torch.manual_seed(torch.initial_seed() + checkpoint.step)
            return
        torch.set_rng_state(checkpoint.tensors["generator/cpu"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(checkpoint.tensors["generator/cuda"], self.device)
