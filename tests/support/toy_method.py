"""A reconstruction method in one file: nodes that drift carry Gaussians whose colours a small network decodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from fewview.recon.methods.method_contract import Inputs, Method, Suitability, background_of
from fewview.recon.methods.registry import register
from fewview.recon.optimise.adam import Optimiser
from fewview.recon.optimise.contract import Model, Stage
from fewview.recon.optimise.step import Step
from fewview.recon.optimise.table import Table
from fewview.recon.optimise.train_config import TrainConfig
from fewview.scene.frame_motion import FrameMotion
from fewview.scene.gaussians import Gaussians
from fewview.scene.splat import MovingSplat
from torch import Tensor, nn


@dataclass(frozen=True)
class DriftConfig(TrainConfig):
    nodes: int = 12  # Nodes at the start; each step of the second stage may add one.
    drift_weight: float = 1e-3  # Weight of the squared drift in the loss.


class Drift(Model):
    """Positions are `start + drift * time`; a decoder gives each node its colour and opacity."""

    def __init__(self, inputs: Inputs, config: DriftConfig) -> None:
        self.config, self.moments = config, sorted(set(inputs.dataset.cameras.times_s.tolist()))
        points = inputs.dataset.points.xyz[: config.nodes]
        generator = torch.Generator().manual_seed(config.seed)
        codes = torch.randn(len(points), 4, generator=generator)
        self.nodes = Table({"start": points, "drift": torch.zeros_like(points), "codes": codes})
        self.tables = {"nodes": self.nodes, "global": Table({"log_size": torch.tensor(-1.5)})}
        self.decoder = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 4))
        self.modules = {"decoder": self.decoder}

    def stages(self) -> list[Stage]:
        fast, half = Optimiser(lambda step: 0.02), self.config.steps // 2
        still = {"nodes.start": fast, "nodes.codes": fast, "global.log_size": fast}
        still["decoder"] = Optimiser(lambda step: 0.01, kind="adamw", weight_decay=1e-3, epsilon=1e-8)
        return [Stage(half, still, name="nodes"), Stage(half, still | {"nodes.drift": fast}, views_per_step=2)]

    def splat(self, time_s: float | None = None) -> Gaussians:
        means = self.nodes["start"] + self.nodes["drift"] * (self.moments[0] if time_s is None else time_s)
        decoded, count = self.decoder(self.nodes["codes"]), len(means)
        quats = torch.tensor([1.0, 0, 0, 0]).expand(count, 4)
        sizes = self.tables["global"]["log_size"].expand(count, 3)
        return Gaussians(means, quats, sizes, decoded[:, 3], decoded[:, None, :3])

    def loss(self, step: Step) -> dict[str, Tensor]:
        return {"photometric": step.photometric(), "drift": self.config.drift_weight * (self.nodes["drift"] ** 2).sum()}

    def after_step(self, step: Step) -> None:
        if step.stage == 1 and step.stage_step < 3:
            self.nodes.edit_rows(torch.arange(self.nodes.rows), {}, torch.tensor([step.stage_step]))

    def result(self) -> MovingSplat:
        self.decoder.eval()
        moments = [self.splat(time_s).detach() for time_s in self.moments]
        self.decoder.train()
        means, quats = (torch.stack([getattr(g, name) for g in moments]) for name in ("means", "quats"))
        motion = FrameMotion(torch.tensor(self.moments, dtype=torch.float64), means, quats)
        return MovingSplat(moments[0], background=self.config.background, motion=motion)


def _configure(inputs: Inputs, asked: Mapping[str, Any]) -> DriftConfig:
    return DriftConfig(**({"background": background_of(inputs.dataset)} | dict(asked)))


def _suits(inputs: Inputs) -> Suitability:
    return Suitability(0.9 if inputs.moves else 0.0, "the scene moves")


METHOD = register(Method("drift", "Nodes that drift.", DriftConfig, _suits, _configure, Drift, uses_time=True))
