"""The trainer: samples in, weights out. What it does next depends on the seed and the step alone, so that a resumed
run equals an uninterrupted one, bit for bit on one CPU with the same threads."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ...learn.checkpoint import Checkpoint, load_newest, save
from ...scene.errors import BadInputError, FewviewError
from ...scene.interruption import interruption
from ...scene.progress import Progress, silent
from .batch import Batch
from .config import SparseFusionConfig
from .data import Order, Samples, TrainingData, loader
from .losses import losses, total
from .model import SparseFusionModel
from .schedule import make_optimizer, set_rates

DATA_KIND = "samples"


@dataclass(frozen=True)
class TrainRun:
    """How a training run goes, apart from the model's config."""

    seed: int = 0
    folder: Path | None = None  # for checkpoints
    resume: bool = False
    checkpoint_every_s: float = 300.0
    workers: int = 0  # processes that read samples ahead
    mixed_precision: bool = False  # bfloat16 where that is safe
    stop_after: int | None = None  # steps of this part of the run; all that are left, unless given


@dataclass(frozen=True)
class Trained:
    step: int  # steps done
    steps: int  # of the whole run
    seconds: float  # over all parts of the run
    losses: Mapping[str, float]  # of the last step, by name
    notes: tuple[str, ...]  # what the person should know


def settings(config: SparseFusionConfig, seed: int) -> dict[str, Any]:
    """What decides the result, as JSON has it."""
    return {"seed": seed, **json.loads(json.dumps(dataclasses.asdict(config)))}


def fit(model: SparseFusionModel, samples: Samples, run: TrainRun, progress: Progress = silent) -> Trained:
    """Train `model` in place, on its device, until all steps are done or Ctrl-C is pressed.

    Under `torchrun` every process takes its share of each step. Raises BadInputError where there are too few samples
    or the checkpoint is of another run, FewviewError where the loss is no longer a number.
    """
    trainer = _Trainer(model, samples, run)
    notes = trainer.resume() if run.resume else []
    last = trainer.order.steps if run.stop_after is None else min(trainer.order.steps, trainer.step + run.stop_after)
    found: dict[str, float] = {}
    with interruption() as interrupted:
        if trainer.step < last:
            for batch in loader(trainer.data, trainer.order, trainer.step, run.workers):
                found = trainer.advance(batch)
                progress("training", trainer.step, trainer.order.steps, {"loss": sum(found.values())})
                if trainer.step >= last or interrupted.is_set():
                    break
                trainer.save_when_due()
        trainer.save()
    return Trained(trainer.step, trainer.order.steps, trainer.seconds(), found, tuple(notes))


class _Trainer:
    def __init__(self, model: SparseFusionModel, samples: Samples, run: TrainRun) -> None:
        self.model, self.config, self.run = model, model.config, run
        self.device = next(model.parameters()).device
        together = dist.is_available() and dist.is_initialized()
        self.rank, processes = (dist.get_rank(), dist.get_world_size()) if together else (0, 1)
        self.data = TrainingData(samples, self.config, run.seed)
        self.order = Order(samples, self.config, run.seed, self.rank, processes)
        if not self.order.steps:
            raise BadInputError(
                f"{len(samples)} samples do not fill one step of {processes} x {self.config.batch_size}; give a "
                "larger data set or a smaller --batch-size."
            )
        self.network: nn.Module = model
        if together:
            # Some parts are idle in some steps, such as the image decoder where no view has two queries.
            self.network = DistributedDataParallel(model, find_unused_parameters=True)
        self.optimizer = make_optimizer(model, self.config)
        self.names = {id(p): name for name, p in model.named_parameters()}
        self.fingerprint = hashlib.sha256("\n".join(samples.tokens).encode()).hexdigest()
        self.step, self.earlier_seconds = 0, 0.0
        self.started_at = self.saved_at = time.monotonic()
        self.saved_step = -1

    def advance(self, batch: Batch) -> dict[str, float]:
        """One step; its losses by name."""
        self.model.train()
        set_rates(self.optimizer, self.step, self.order.steps, self.config)
        batch = batch.to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.run.mixed_precision):
            output = self.network(batch)
        found = losses(output, batch, self.config)
        loss = total(found)
        value = float(loss.detach())
        if not math.isfinite(value):
            bad = ", ".join(name for name, v in found.items() if not bool(torch.isfinite(v)))
            raise FewviewError(
                f"The loss is no longer a number at step {self.step + 1} ({bad}); lower the learning rate, or start "
                "from other weights."
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.config.max_gradient_norm)
        self.optimizer.step()
        self.step += 1
        return {name: float(v.detach()) for name, v in found.items()}

    def seconds(self) -> float:
        return self.earlier_seconds + time.monotonic() - self.started_at

    def save_when_due(self) -> None:
        if time.monotonic() - self.saved_at >= self.run.checkpoint_every_s:
            self.save()

    def save(self) -> None:
        """Processes of one run are equal after each step, so the first one writes."""
        if self.run.folder is None or self.rank != 0 or self.saved_step == self.step:
            return
        tensors: dict[str, Tensor] = {f"model/{k}": v.clone() for k, v in self.model.state_dict().items()}
        for parameter, moments in self.optimizer.state.items():
            name = self.names[id(parameter)]
            tensors |= {f"{key}/{name}": moments[key] for key in ("exp_avg", "exp_avg_sq", "step")}
        tensors["generator/cpu"] = torch.get_rng_state()
        if self.device.type == "cuda":
            tensors["generator/cuda"] = torch.cuda.get_rng_state(self.device)
        checkpoint = Checkpoint(
            self.step, self.seconds(), settings(self.config, self.run.seed), self.fingerprint, tensors
        )
        save(self.run.folder, checkpoint)
        self.saved_step, self.saved_at = self.step, time.monotonic()

    def resume(self) -> list[str]:
        """Take up the newest checkpoint, if there is one; notes about those that could not be used."""
        if self.run.folder is None:
            raise BadInputError("There is nothing to resume: no run folder was given.")
        checkpoint, notes = load_newest(self.run.folder)
        if checkpoint is None:
            return notes
        checkpoint.check(settings(self.config, self.run.seed), self.fingerprint, DATA_KIND)
        try:
            self.model.load_state_dict(checkpoint.part("model"))
            parts = {key: checkpoint.part(key) for key in ("exp_avg", "exp_avg_sq", "step")}
            for parameter, name in ((p, self.names[id(p)]) for g in self.optimizer.param_groups for p in g["params"]):
                if name in parts["step"]:
                    moments = {key: part[name] for key, part in parts.items()}
                    self.optimizer.state[parameter] = {
                        key: v if key == "step" else v.to(self.device) for key, v in moments.items()
                    }
            torch.set_rng_state(checkpoint.tensors["generator/cpu"])
            if self.device.type == "cuda":
                torch.cuda.set_rng_state(checkpoint.tensors["generator/cuda"], self.device)
        except (KeyError, RuntimeError, TypeError) as error:
            raise FewviewError(
                f"The checkpoint at step {checkpoint.step} in {self.run.folder} does not fit this version's model: "
                f"{error}. Start the run again."
            ) from error
        self.step = self.saved_step = checkpoint.step
        self.earlier_seconds = checkpoint.seconds
        return notes
