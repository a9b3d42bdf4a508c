"""`SelectiveAdam`: Adam that leaves alone what no camera sees, by gsplat's name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from ..recon.optimise.adam import adam_step
from ..scene.errors import BadInputError

UNCORRECTED = 1 << 30  # a number of steps at which Adam's correction of the bias is 1, as gsplat leaves it out


class SelectiveAdam(torch.optim.Adam):
    """Adam over the visible rows of one tensor per group (Taming 3DGS, Mallick et al. 2024).

    Rows that are not visible keep their values and moments. The bias of the moments is not corrected, as in gsplat
    1.5.3: the first steps are up to three times as large as Adam's.
    """

    def __init__(self, params: Iterable[Any], eps: float, betas: tuple[float, float]) -> None:
        super().__init__(params=params, eps=eps, betas=betas)

    @torch.no_grad()
    def step(self, visibility: Tensor) -> None:  # type: ignore[override]
        """One update of the rows where `visibility` [N] holds."""
        for group in self.param_groups:
            if len(group["params"]) != 1:
                raise BadInputError(
                    f"SelectiveAdam takes one tensor a group, but a group has {len(group['params'])}; split it."
                )
            (param,) = group["params"]
            if param.grad is None:
                continue
            if visibility.shape != param.shape[:1]:
                raise BadInputError(
                    f"visibility: expected [{len(param)}], one for each row of the tensor, "
                    f"found {list(visibility.shape)}."
                )
            state = self.state[param]
            if not state:
                state["step"] = torch.tensor(0.0)
                state["exp_avg"] = torch.zeros_like(param)
                state["exp_avg_sq"] = torch.zeros_like(param)
            values, gradient, exp_avg, exp_avg_sq = (
                t.reshape(len(param), param[:1].numel())
                for t in (param.detach(), param.grad, state["exp_avg"], state["exp_avg_sq"])
            )
            beta1, beta2 = group["betas"]
            adam_step(
                values, gradient.contiguous(), exp_avg, exp_avg_sq, float(group["lr"]), None,
                visibility.bool().contiguous(), beta1, beta2, group["eps"], UNCORRECTED,
            )  # fmt: skip
