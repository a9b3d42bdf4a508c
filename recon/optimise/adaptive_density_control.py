"""Adaptive density control: copy or split Gaussians that the image pulls at, drop transparent ones, within a budget.

3D Gaussian Splatting (Kerbl et al. 2023, section 5.2). The budget takes the strongest candidates first, as in
Taming 3DGS (Mallick et al. 2024), and may follow the photographs' size, as in DashGaussian (Chen et al. 2025): what
small photographs pull at would leave no room for what large ones show.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from ...scene.filled import filled
from ...scene.geometry import rotation_from_quat
from .rounds import Rounds
from .step import Render, Step
from .table import Table

SPLIT_SHRINK = 1.6  # children of a split are this much smaller; 3DGS, section 5.2


class AdaptiveDensityControl:
    """Works on the columns `means`, `quats`, `log_scales` and `opacity_logits`; other columns' rows are copied."""

    wants_screen_gradient = True

    def __init__(
        self,
        rounds: Rounds,
        *,
        count: int,  # Gaussians at the start
        budget: int,  # Gaussians at most
        scene_scale: float,  # world units
        grow_gradient: float,  # of the loss, per screen half-width
        split_scale: float,  # scene scales
        prune_opacity: float,
        prune_scale: float,  # scene scales, 0 for never
        opacity_resets: int,
        device: torch.device,
        budget_by_size: bool = False,  # while photographs are halved, a quarter of the budget for each time
    ) -> None:
        self.rounds = rounds
        self.halvings = 2 if budget_by_size else 0  # of the budget, for each time that photographs are halved
        self.budget = budget
        self.grow_gradient = grow_gradient
        self.split_size = split_scale * scene_scale
        self.prune_opacity = prune_opacity
        self.prune_size = prune_scale * scene_scale if prune_scale > 0 else math.inf
        span = rounds.last - rounds.first
        self.reset_steps = {rounds.first + span * (i + 1) // (opacity_resets + 1) for i in range(opacity_resets)}
        self.gradient_sum = torch.zeros(count, device=device)  # [N] of the screen gradients' lengths
        self.seen = torch.zeros(count, device=device)  # [N] in how many steps

    @torch.no_grad()
    def after_step(self, step: Step, table: Table, means_lr: float) -> None:
        if step.index >= self.rounds.last:
            return
        for drawn in step.renders.values():
            self._observe(drawn)
        if self.rounds.at(step.index):
            self._grow_and_prune(table, step.generator, self.budget >> (self.halvings * step.level))
        if step.index + 1 in self.reset_steps:
            table["opacity_logits"].detach().clamp_(max=_logit(2 * self.prune_opacity))
            table.forget(name="opacity_logits")

    def state(self) -> dict[str, Tensor]:
        return {"gradient_sum": self.gradient_sum, "seen": self.seen}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        device = self.gradient_sum.device
        self.gradient_sum, self.seen = state["gradient_sum"].to(device), state["seen"].to(device)

    def _observe(self, drawn: Render) -> None:
        gradient = drawn.info["means2d"].grad
        half_size = filled([drawn.info["width"] / 2, drawn.info["height"] / 2], gradient.device)
        self.gradient_sum += torch.linalg.vector_norm(gradient[0] * half_size, dim=-1)
        self.seen += drawn.visible()

    def _grow_and_prune(self, table: Table, generator: torch.Generator, budget: int) -> None:
        log_scales = table["log_scales"].detach()
        largest = log_scales.max(dim=-1).values.exp()
        gradient = self.gradient_sum / self.seen.clamp_min(1)

        transparent = table["opacity_logits"].detach() < _logit(self.prune_opacity)
        wants_to_grow = (gradient > self.grow_gradient) & ~transparent
        is_large = largest > self.split_size
        pruned = transparent | ((largest > self.prune_size) & ~(wants_to_grow & is_large))
        if bool(pruned.all()):
            pruned = torch.zeros_like(pruned)
        wants_to_grow &= ~pruned

        room = max(0, budget - int((~pruned).sum()))
        candidates = wants_to_grow.nonzero().squeeze(-1)
        strongest_first = gradient[candidates].sort(descending=True, stable=True).indices
        chosen = candidates[strongest_first[:room]]
        to_split, to_copy = chosen[is_large[chosen]], chosen[~is_large[chosen]]

        stays = ~pruned
        stays[to_split] = False
        parents = torch.cat([to_copy, to_split, to_split])
        means, log_scales = (
            torch.cat([table[name].detach()[to_copy], children])
            for name, children in zip(("means", "log_scales"), split_children(table, to_split, generator), strict=True)
        )
        table.edit_rows(stays.nonzero().squeeze(-1), {"means": means, "log_scales": log_scales}, parents)
        count = table.rows
        self.gradient_sum = self.gradient_sum.new_zeros(count)
        self.seen = self.seen.new_zeros(count)


def split_children(table: Table, rows: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """Means and log-scales [2 R, 3] of two smaller children of each of `rows` [R], drawn from the Gaussian itself."""
    means = table["means"].detach()
    log_scales = table["log_scales"].detach()
    twice = torch.cat([rows, rows])
    offsets = torch.randn(len(twice), 3, generator=generator, device=means.device) * log_scales[twice].exp()
    rotations = rotation_from_quat(table["quats"].detach()[twice])
    new_means = means[twice] + (rotations @ offsets[..., None]).squeeze(-1)
    return new_means, log_scales[twice] - math.log(SPLIT_SHRINK)


def _logit(probability: float) -> float:
    return math.log(probability / (1 - probability)) if probability > 0 else -math.inf
