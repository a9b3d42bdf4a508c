"""`DefaultStrategy`: 3DGS's adaptive density control with gsplat's names, defaults and schedule.

It differs from the trainer's own (`recon/optimise`): the statistics lie in a dictionary of the caller, there is no
budget, and Gaussians grow before they are pruned. Children of a split are the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..recon.optimise.adaptive_density_control import split_children
from ..recon.optimise.table import Table
from ..scene.errors import BadInputError
from .parameter_rows import Optimizers, Parameters, table_of
from .strategy_contract import Strategy


@dataclass
class DefaultStrategy(Strategy):
    """Copies small Gaussians and splits large ones that the image pulls at, prunes transparent ones, resets opacities.

    Fields and defaults of gsplat 1.5.3 (3D Gaussian Splatting, Kerbl et al. 2023, section 5.2). Opacities are reset
    every `reset_every` steps as documented; in gsplat 1.5.3 itself a condition without brackets never lets that happen.
    """

    prune_opa: float = 0.005  # Gaussians below this opacity are pruned
    grow_grad2d: float = 0.0002  # Gaussians above this gradient per screen half-width grow
    grow_scale3d: float = 0.01  # scene scales; smaller ones are copied, larger ones are split
    grow_scale2d: float = 0.05  # of the image; larger ones are split, until refine_scale2d_stop_iter
    prune_scale3d: float = 0.1  # scene scales; larger ones are pruned after the first reset
    prune_scale2d: float = 0.15  # of the image; larger ones are pruned, until refine_scale2d_stop_iter
    refine_scale2d_stop_iter: int = 0  # 0: sizes on the image are not looked at
    refine_start_iter: int = 500
    refine_stop_iter: int = 15_000
    reset_every: int = 3000
    refine_every: int = 100
    pause_refine_after_reset: int = 0  # steps
    absgrad: bool = False  # use the absolute gradients, which `rasterization(..., absgrad=True)` gives
    revised_opacity: bool = False  # children of a split look as it did (Bulo et al. 2024)
    verbose: bool = False
    key_for_gradient: str = "means2d"

    def __post_init__(self) -> None:
        if self.key_for_gradient != "means2d":
            raise BadInputError(
                f"key_for_gradient='{self.key_for_gradient}' belongs to 2D Gaussian splatting, which is not here; "
                "expected 'means2d'."
            )

    def initialize_state(self, scene_scale: float = 1.0) -> dict[str, Any]:
        """Running state to be handed to the other calls; its tensors are made in the first step."""
        state: dict[str, Any] = {"grad2d": None, "count": None, "scene_scale": scene_scale}
        return state | {"radii": None} if self.refine_scale2d_stop_iter > 0 else state

    def step_pre_backward(  # type: ignore[override]
        self, params: Parameters, optimizers: Optimizers, state: dict[str, Any], step: int, info: dict[str, Any]
    ) -> None:
        """Asks for the gradient of `info["means2d"]`."""
        info[self.key_for_gradient].retain_grad()

    def step_post_backward(  # type: ignore[override]
        self,
        params: Parameters,
        optimizers: Optimizers,
        state: dict[str, Any],
        step: int,
        info: dict[str, Any],
        packed: bool = False,
    ) -> None:
        """Gathers the gradients of a step; at the steps of a round edits params, optimizers and state."""
        if step >= self.refine_stop_iter:
            return
        self._observe(len(params["means"]), state, info, packed)
        table = table_of(params, optimizers)
        in_time = step > self.refine_start_iter and step % self.refine_every == 0
        if in_time and step % self.reset_every >= self.pause_refine_after_reset:
            copied, split = self._grow(table, state, step)
            pruned = self._prune(table, state, step)
            if self.verbose:
                print(f"Step {step}: {copied} Gaussians copied, {split} split, {pruned} pruned; now {table.rows}.")
            for name in ("grad2d", "count", "radii"):
                if state.get(name) is not None:
                    state[name] = torch.zeros(table.rows, device=state[name].device)
        if step % self.reset_every == 0 and step > 0:
            limit = torch.logit(torch.tensor(2 * self.prune_opa)).item()
            table["opacity_logits"].detach().clamp_(max=limit)
            table.forget(name="opacity_logits")

    @torch.no_grad()
    def _observe(self, count: int, state: dict[str, Any], info: dict[str, Any], packed: bool) -> None:
        means2d = info[self.key_for_gradient]
        if self.absgrad and not hasattr(means2d, "absgrad"):
            raise BadInputError(
                "DefaultStrategy(absgrad=True) needs rasterization(..., absgrad=True); it was left out."
            )
        gradient = (means2d.absgrad if self.absgrad else means2d.grad).clone()
        gradient *= gradient.new_tensor([info["width"], info["height"]]) / 2 * info["n_cameras"]
        radii = info["radii"]
        if packed:
            rows = info["gaussian_ids"]
        else:
            seen = (radii > 0).all(-1)
            rows, gradient, radii = seen.nonzero()[:, -1], gradient[seen], radii[seen]
        for name in ("grad2d", "count", "radii"):
            if name in state and state[name] is None:
                state[name] = torch.zeros(count, device=gradient.device)
        state["grad2d"].index_add_(0, rows, gradient.norm(dim=-1))
        state["count"].index_add_(0, rows, torch.ones_like(rows, dtype=torch.float32))
        if "radii" in state:
            share = radii.amax(-1) / float(max(info["width"], info["height"]))
            state["radii"].scatter_reduce_(0, rows, share, "amax")

    @torch.no_grad()
    def _grow(self, table: Table, state: dict[str, Any], step: int) -> tuple[int, int]:
        pulled = state["grad2d"] / state["count"].clamp_min(1) > self.grow_grad2d
        small = table["log_scales"].detach().amax(-1).exp() <= self.grow_scale3d * state["scene_scale"]
        splits = pulled & ~small
        if step < self.refine_scale2d_stop_iter:
            splits |= state["radii"] > self.grow_scale2d
        to_copy, to_split = (pulled & small).nonzero()[:, 0], splits.nonzero()[:, 0]
        kept = (~splits).nonzero()[:, 0]
        # A Gaussian that is copied and split leaves its copy behind, and two children.
        parents = torch.cat([to_copy, to_split, to_split])
        children = split_children(table, to_split, None)
        names = ("means", "log_scales")
        new = {n: torch.cat([table[n].detach()[to_copy], c]) for n, c in zip(names, children, strict=True)}
        if self.revised_opacity:
            logits = table["opacity_logits"].detach()
            shared = torch.logit(1 - (1 - logits[to_split].sigmoid()).sqrt())
            new["opacity_logits"] = torch.cat([logits[to_copy], shared, shared])
        table.edit_rows(kept, new, parents)
        _follow(state, torch.cat([kept, parents]))
        return len(to_copy), len(to_split)

    @torch.no_grad()
    def _prune(self, table: Table, state: dict[str, Any], step: int) -> int:
        pruned = table["opacity_logits"].detach().sigmoid() < self.prune_opa
        if step > self.reset_every:
            pruned |= table["log_scales"].detach().amax(-1).exp() > self.prune_scale3d * state["scene_scale"]
            if step < self.refine_scale2d_stop_iter:
                pruned |= state["radii"] > self.prune_scale2d
        kept = (~pruned).nonzero()[:, 0]
        table.edit_rows(kept, {}, kept[:0])
        _follow(state, kept)
        return int(pruned.sum())


def _follow(state: dict[str, Any], rows: Tensor) -> None:
    """Bring the statistics of each Gaussian to its new row."""
    for name in ("grad2d", "count", "radii"):
        if state.get(name) is not None:
            state[name] = state[name][rows]
