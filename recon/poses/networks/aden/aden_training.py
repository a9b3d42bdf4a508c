"""Training of ADen on tokens that the frozen backbone has given beforehand."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from .....learn.processes import current_process
from .....learn.schedules import OneCycle
from .....learn.training_task import Forward
from .hypothesis_losses import contrastive_loss, soft_contrastive_loss, winner_loss
from .model import Aden, Chance, Proposals
from .place_matching import match_losses
from .pose_targets import relative_poses


@dataclass(frozen=True)
class TokenSet:
    """Sequences of photographs of an object each, as the backbone sees them, with their cameras."""

    tokens: Tensor  # [S, F, places, channels] float16; may be a map of a file
    descriptors: Tensor  # [S, F, 3]
    cam_from_world: Tensor  # [S, F, 4, 4] float32
    # What the places show, where that is known: points [S, F, places, 6] float16 of the object's world, then in the
    # camera's axes about the object's middle in half sides of the crop; NaN for places that show none.
    surface: Tensor | None = None


@dataclass(frozen=True)
class AdenSchedule:
    """Settings of a training."""

    steps: int = 3000
    photographs: int = 40  # of a step that are not a reference, about
    most_views: int = 4  # N is drawn from 2 to this; the paper has 8, but what is asked of the network later is pairs
    near_share: float = 0.7  # of sequences whose photographs are drawn from the third that is nearest to the reference
    hypotheses: int = 128  # of the M that take part in a step; the others rest
    judged: int | None = 48  # of these, how many the discriminator judges in robust mode; all of them in paper mode
    query_noise: float = 0.1  # over the spread of the queries
    # paper: winner takes all, and the truth is the only positive among the proposals. robust: the next best learn, too,
    # in the first third; proposals and poses by chance are compared with the truth, which is not among them.
    mode: Literal["paper", "robust"] = "robust"
    rate: float = 2e-3  # the highest
    weight_decay: float = 0.01
    seed: int = 0

    def winners(self, step: int) -> int:
        """Proposals that learn in a step: 16 at the start, halved until only the winner does."""
        if self.mode == "paper":
            return 1
        return max(1, min(self.hypotheses, 16 >> int(step / self.steps * 15)))


@dataclass(frozen=True)
class PoseBatch:
    tokens: Tensor  # [B, N, places, channels] float16
    descriptors: Tensor  # [B, N, 3]
    truth: Tensor  # [B, N - 1, 7]
    chance: Chance
    surface: Tensor | None = None  # [B, N, places, 6]

    def to(self, device: torch.device) -> PoseBatch:
        return PoseBatch(
            self.tokens.to(device),
            self.descriptors.to(device),
            self.truth.to(device),
            self.chance.to(device),
            None if self.surface is None else self.surface.to(device),
        )


class AdenTraining:
    """A `TrainingTask`: every step depends on the seed and its number alone."""

    def __init__(self, data: TokenSet, network: Aden, schedule: AdenSchedule) -> None:
        self.data, self.config, self.schedule = data, network.config, schedule
        self.cycle = OneCycle(peak_factor=10.0, last_factor=1e-2)
        self.wins = torch.zeros(network.config.hypotheses, dtype=torch.int64)  # of each query, for the log

    @property
    def steps(self) -> int:
        return self.schedule.steps

    @property
    def max_gradient_norm(self) -> float | None:
        return 1.0

    @property
    def fingerprint(self) -> str:
        digest = hashlib.sha256(self.data.cam_from_world.numpy().tobytes())
        digest.update(self.data.descriptors.numpy().tobytes())
        return digest.hexdigest()

    def settings(self) -> Mapping[str, Any]:
        return {**self.config.as_dict(), **asdict(self.schedule)}

    def batches(self, first_step: int) -> Iterable[PoseBatch]:
        for step in range(first_step, self.steps):
            yield self.batch(step)

    def batch(self, step: int) -> PoseBatch:
        """The photographs and the chance of one step; of several processes each has a share of them."""
        rank, processes = current_process()
        generator = torch.Generator().manual_seed(self.schedule.seed * 1_000_003 + step)
        views = int(torch.randint(2, self.schedule.most_views + 1, (1,), generator=generator))
        generator.manual_seed(generator.initial_seed() + 7_919_003 * rank)
        sets = max(1, round(self.schedule.photographs / processes / (views - 1)))
        chosen = torch.randint(len(self.data.tokens), (sets,), generator=generator)
        frames = torch.stack([self._frames(int(s), views, generator) for s in chosen])
        rows = chosen[:, None].expand_as(frames)
        truth = relative_poses(self.data.cam_from_world[rows, frames].double())[:, 1:].float()
        chance = self._chance(step, sets * (views - 1), generator)
        surface = None if self.data.surface is None else self.data.surface[rows, frames].float()
        return PoseBatch(self.data.tokens[rows, frames], self.data.descriptors[rows, frames], truth, chance, surface)

    def _frames(self, sequence: int, views: int, generator: torch.Generator) -> Tensor:
        cameras = self.data.cam_from_world[sequence, :, :3, :3]
        order = torch.randperm(len(cameras), generator=generator)
        if float(torch.rand(1, generator=generator)) < self.schedule.near_share:
            # The trace falls with the angle of the relative rotation.
            trace = (cameras[order] * cameras[order[0]]).sum((1, 2))
            near = trace[1:].topk(max(views - 1, len(order) // 3)).indices + 1
            order = torch.cat([order[:1], order[near[torch.randperm(len(near), generator=generator)]]])
        return order[:views]

    def _chance(self, step: int, count: int, generator: torch.Generator) -> Chance:
        queries = torch.randperm(self.config.hypotheses, generator=generator)[: self.schedule.hypotheses]
        noise = torch.randn(count, len(queries), self.config.query_width, generator=generator)
        others = None
        if self.schedule.mode == "robust":
            others = torch.randn(count, max(1, len(queries) // 10), 7, generator=generator)
            others[..., :4] /= others[..., :4].norm(dim=-1, keepdim=True)
            others[..., 4:] = others[..., 4:] * 0.2 + torch.tensor([0.0, 0.0, 1.0])
        judged = None if self.schedule.mode == "paper" else min(self.schedule.judged or len(queries), len(queries))
        return Chance(queries, self.schedule.query_noise * noise, self.schedule.winners(step), others, judged)

    def loss(self, forward: Forward, batch: PoseBatch) -> Mapping[str, Tensor]:
        found: Proposals = forward(batch.tokens, batch.descriptors, batch.truth, batch.chance)
        self.wins += torch.bincount(found.winning_query.cpu(), minlength=len(self.wins))
        others = 0.5 * math.log2(max(1, batch.chance.winners)) / 4  # half of the weight for 16, none for one
        generator = winner_loss(found.winners, found.truth, others)
        losses = {"generator": generator}
        if self.schedule.mode == "paper":
            losses["discriminator"] = contrastive_loss(found.logits)
        else:
            losses["discriminator"] = soft_contrastive_loss(found.logits[:, 1:], found.truth, found.candidates)
        if found.places is not None and batch.surface is not None:
            losses |= match_losses(found.places, *batch.surface.split(3, dim=-1))
        return losses

    def optimizer(self, network: nn.Module) -> Optimizer:
        rate = self.schedule.rate / self.cycle.peak_factor
        groups = [{"params": list(network.parameters()), "lr": rate, "base_lr": rate}]
        return AdamW(groups, weight_decay=self.schedule.weight_decay)

    def set_rates(self, optimizer: Optimizer, step: int) -> None:
        self.cycle.set_rates(optimizer, step, self.steps)


def starting_poses(
    cam_from_world: Tensor,  # [S, F, 4, 4]
    count: int,
    seed: int = 0,
) -> Tensor:
    """Poses [count, 7] of pairs by chance: where the queries start."""
    generator = torch.Generator().manual_seed(seed)
    sequence = torch.randint(len(cam_from_world), (count,), generator=generator)
    frames = torch.stack([torch.randperm(cam_from_world.shape[1], generator=generator)[:2] for _ in range(count)])
    return relative_poses(cam_from_world[sequence[:, None], frames].double())[:, 1].float()
