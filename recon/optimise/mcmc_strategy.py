"""Densification as sampling: dead Gaussians move to live ones, the count follows a path to the budget, noise explores.

3D Gaussian Splatting as Markov Chain Monte Carlo (Kheradmand et al. 2024).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from ...scene.geometry import rotation_from_quat
from .rounds import Rounds
from .step import Step
from .table import Table

NOISE_SHARPNESS = 100.0  # of the gate that keeps noise from opaque Gaussians; equation 8, k
NOISE_OPACITY = 0.005  # where that gate is half open; equation 8, 1 - t
NEGLIGIBLE_GATE = 1e-4  # noise weaker than this share is not drawn: most Gaussians need no random numbers then
MAX_OPACITY = 1 - 2**-23  # the largest whose logit is finite in float32


class McmcStrategy:
    """Works on the columns `means`, `quats`, `log_scales` and `opacity_logits`; other columns' rows are copied."""

    wants_screen_gradient = False

    def __init__(
        self,
        rounds: Rounds,
        *,
        count: int,  # Gaussians at the start
        budget: int,  # Gaussians at the end of densification
        min_opacity: float,  # a Gaussian of no more than this is dead
        noise_lr: float,  # times the means' learning rate
    ) -> None:
        self.rounds = rounds
        self.start_count = count
        self.budget = max(budget, count)
        self.min_opacity = min_opacity
        self.noise_lr = noise_lr

    @torch.no_grad()
    def after_step(self, step: Step, table: Table, means_lr: float) -> None:
        if self.rounds.at(step.index):
            relocate_dead(table, self.min_opacity, step.generator)
            add_copies(table, self.target_count(step.index), self.min_opacity, step.generator)
        if self.noise_lr > 0:
            explore(table, means_lr * self.noise_lr, step.generator)

    def target_count(self, step: int) -> int:
        """Gaussians after `step`: a geometric path from the start's count to the budget at the last round."""
        span = max(1, (self.rounds.last - self.rounds.first) // self.rounds.every * self.rounds.every)
        progress = min(1.0, max(0.0, (step + 1 - self.rounds.first) / span))
        return min(self.budget, round(self.start_count * (self.budget / self.start_count) ** progress))

    def state(self) -> dict[str, Tensor]:
        return {"start_count": torch.tensor([self.start_count])}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self.start_count = int(state["start_count"])


def relocate_dead(table: Table, min_opacity: float, generator: torch.Generator | None) -> int:
    """Make Gaussians of at most `min_opacity` copies of others, drawn by opacity; returns how many were moved."""
    opacities = table["opacity_logits"].detach().sigmoid()
    dead = opacities <= min_opacity
    dead_rows = dead.nonzero().squeeze(-1)
    if len(dead_rows) == 0 or bool(dead.all()):
        return 0
    sources = _draw(opacities.masked_fill(dead, 0), len(dead_rows), generator)
    _share(table, opacities, sources, min_opacity)
    table.copy_rows(sources, dead_rows)
    table.forget(dead_rows)
    return len(dead_rows)


def add_copies(table: Table, target: int, min_opacity: float, generator: torch.Generator | None) -> int:
    """Grow the table to `target` rows by copies of Gaussians, drawn by opacity; returns how many were added."""
    opacities = table["opacity_logits"].detach().sigmoid()
    count = len(opacities)
    if target <= count:
        return 0
    sources = _draw(opacities, target - count, generator)
    _share(table, opacities, sources, min_opacity)
    table.edit_rows(torch.arange(count, device=sources.device), {}, sources)
    return target - count


def _share(table: Table, opacities: Tensor, sources: Tensor, min_opacity: float) -> None:
    """Weaken and shrink the sources so that they and their copies look as the sources alone did."""
    copies = torch.bincount(sources, minlength=len(opacities))
    rows = copies.nonzero().squeeze(-1)
    log_scales = table["log_scales"].detach()
    shared, shrink = relocation(opacities[rows], copies[rows] + 1)
    shared = shared.clamp(min_opacity, MAX_OPACITY)
    table.overwrite_rows("opacity_logits", rows, torch.logit(shared))
    table.overwrite_rows("log_scales", rows, log_scales[rows] + shrink.log()[:, None])
    table.forget(rows)


def explore(table: Table, strength: float, generator: torch.Generator | None) -> None:
    """Move transparent Gaussians at random, along their own shapes (equation 8)."""
    gate = torch.sigmoid(NOISE_SHARPNESS * (NOISE_OPACITY - table["opacity_logits"].detach().sigmoid()))
    means, quats, log_scales = (table[name].detach() for name in ("means", "quats", "log_scales"))
    if means.is_cuda:  # numbers for all cost a GPU less than to wait for how many there are
        means.add_(_noise(quats, log_scales, gate * (gate > NEGLIGIBLE_GATE) * strength, generator))
        return
    rows = (gate > NEGLIGIBLE_GATE).nonzero().squeeze(-1)
    if len(rows):
        means.index_add_(0, rows, _noise(quats[rows], log_scales[rows], gate[rows] * strength, generator))


def _noise(
    quats: Tensor,  # [N, 4]
    log_scales: Tensor,  # [N, 3]
    strength: Tensor,  # [N]
    generator: torch.Generator | None,
) -> Tensor:
    """Random steps [N, 3], larger along larger axes: a Gaussian's covariance times normal numbers."""
    rotations = rotation_from_quat(quats)
    noise = torch.randn(len(quats), 3, generator=generator, device=quats.device) * strength[:, None]
    along_axes = (2 * log_scales).exp() * (noise[:, None] @ rotations).squeeze(1)
    return (rotations @ along_axes[..., None]).squeeze(-1)


def relocation(opacities: Tensor, copies: Tensor) -> tuple[Tensor, Tensor]:
    """Opacity of each, and the factor on its scales [N], when a Gaussian is replaced by `copies` [N] equal ones.

    Equation 9 of the paper. Its alternating binomial sum equals the integral over the real line of what the copies
    composite to, 1 - (1 - o exp(-t^2))^n, divided by sqrt(pi). The sum loses all digits in float32 from about n = 20;
    the integrand is entire and decays like a Gaussian, so the trapezoid rule gives float64 accuracy with few nodes.
    """
    old = opacities.double()
    n = copies.double()
    new = -torch.expm1(torch.log1p(-old.clamp(max=MAX_OPACITY)) / n)
    step = 0.1
    nodes = torch.arange(0, 6 + step, step, dtype=torch.float64, device=old.device)  # exp(-36) is below float64's 1e-15
    weights = torch.full_like(nodes, 2 * step / math.sqrt(math.pi))
    weights[0] /= 2
    covered = -torch.expm1(n[:, None] * torch.log1p(-new[:, None] * torch.exp(-(nodes**2))))
    factor = old / (covered @ weights)
    return new.to(opacities.dtype), factor.to(opacities.dtype)


def _draw(weights: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    """`count` indices [count], with replacement, in proportion to `weights` [N]; no limit on N."""
    edges = weights.double().cumsum(0)
    points = torch.rand(count, dtype=torch.float64, generator=generator, device=weights.device) * edges[-1]
    return torch.searchsorted(edges, points, right=True).clamp_max(len(weights) - 1)
