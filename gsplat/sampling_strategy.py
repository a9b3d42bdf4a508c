"""`MCMCStrategy`: densification as sampling with gsplat's names, defaults and schedule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from ..recon.optimise.mcmc_strategy import add_copies, explore, relocate_dead
from .parameter_rows import Optimizers, Parameters, table_of
from .strategy_contract import Strategy


@dataclass
class MCMCStrategy(Strategy):
    """Moves dead Gaussians to live ones, adds 5 % a round up to a limit, and moves transparent ones at random.

    Fields and defaults of gsplat 1.5.3 (3DGS-MCMC, Kheradmand et al. 2024). Moved Gaussians start with moments of zero.
    """

    cap_max: int = 1_000_000  # Gaussians at most
    noise_lr: float = 5e5  # times the learning rate of the means
    refine_start_iter: int = 500
    refine_stop_iter: int = 25_000
    refine_every: int = 100
    min_opacity: float = 0.005  # a Gaussian of no more than this is dead
    verbose: bool = False

    def initialize_state(self) -> dict[str, Any]:
        """An empty state: nothing is remembered between rounds."""
        return {}

    @torch.no_grad()
    def step_post_backward(  # type: ignore[override]
        self,
        params: Parameters,
        optimizers: Optimizers,
        state: dict[str, Any],
        step: int,
        info: dict[str, Any],
        lr: float,  # of the means
    ) -> None:
        """Edits params and optimizers at the steps of a round, and moves the means in every step."""
        table = table_of(params, optimizers)
        if self.refine_start_iter < step < self.refine_stop_iter and step % self.refine_every == 0:
            moved = relocate_dead(table, self.min_opacity, None)
            added = add_copies(table, min(self.cap_max, int(1.05 * table.rows)), self.min_opacity, None)
            if self.verbose:
                print(f"Step {step}: {moved} Gaussians moved, {added} added; now {table.rows}.")
        explore(table, lr * self.noise_lr, None)
