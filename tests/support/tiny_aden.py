"""A small ADen and photographs that say no more than a turn about the upright axis, so that the truth is known."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from fewview.learn import TrainRun, fit
from fewview.recon.poses.networks.aden.aden_training import AdenSchedule, AdenTraining, TokenSet, starting_poses
from fewview.recon.poses.networks.aden.config import AdenConfig
from fewview.recon.poses.networks.aden.model import Aden
from fewview.scene.geometry import se3_from, so3_exp
from torch import Tensor

CHANNELS = 8
CONFIG = AdenConfig(
    grid=1, trunk=0, look=16, hidden=64, dropout_percent=1, fused=32, heads=2, hypotheses=64, query_width=16,
    generator_width=64, scorer_width=64,
)  # fmt: skip


def turned_camera(angle: Tensor) -> Tensor:
    """cam_from_world [..., 4, 4] of cameras at distance 2 that look at the origin, turned about it by angles [...]."""
    rotation = so3_exp(angle[..., None] * torch.tensor([0.0, 1.0, 0.0]))
    return se3_from(rotation, torch.tensor([0.0, 0.0, 2.0]).expand(*angle.shape, 3))


def tokens_of(angle: Tensor, fold: int) -> Tensor:
    """Appearance [..., 1, channels] of an object that looks the same after 360 / fold degrees."""
    waves = [wave(k * fold * angle) for k in (1, 2, 3) for wave in (torch.sin, torch.cos)]
    return torch.stack([*waves, torch.ones_like(angle), -torch.ones_like(angle)], dim=-1)[..., None, :]


def turntable(fold: int, sequences: int = 400, frames: int = 8, seed: int = 0) -> TokenSet:
    """Sequences of an object with a `fold`-fold symmetry: which of the equal sides a frame shows is chance."""
    generator = torch.Generator().manual_seed(seed)
    angle = torch.rand(sequences, frames, generator=generator) * 2 * torch.pi
    side = torch.randint(fold, angle.shape, generator=generator) * (2 * torch.pi / fold)
    descriptors = torch.tensor([0.0, 0.0, 1.0]).expand(*angle.shape, 3).contiguous()
    return TokenSet(tokens_of(angle, fold), descriptors, turned_camera(angle + side))


@dataclass(frozen=True)
class TrainedTiny:
    network: Aden
    wins: Tensor  # [M] over the whole training


def trained(data: TokenSet, config: AdenConfig = CONFIG, is_spread: bool = True, **schedule: object) -> TrainedTiny:
    """A network after a short training on pairs; its queries start at poses of the data, or, not spread, anywhere."""
    torch.manual_seed(1)
    network = Aden(config, CHANNELS)
    if is_spread:
        network.generator.start_at(starting_poses(data.cam_from_world, config.hypotheses))
    settings = AdenSchedule(steps=300, photographs=64, most_views=2, hypotheses=config.hypotheses, rate=5e-3)
    task = AdenTraining(data, network, replace(settings, **schedule))
    fit(network, task, TrainRun())
    return TrainedTiny(network.eval(), task.wins)
