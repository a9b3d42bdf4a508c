"""Adam in plain PyTorch: the reference implementation of the native kernel, and what a GPU runs."""

from __future__ import annotations

from torch import Tensor


def adam_step(
    param: Tensor,  # [N, D]
    grad: Tensor,  # [N, D]
    exp_avg: Tensor,  # [N, D]
    exp_avg_sq: Tensor,  # [N, D]
    lr: float | Tensor,  # [] or [D]
    row_scale: Tensor | None,  # [N]
    visible: Tensor | None,  # [N] bool
    beta1: float,
    beta2: float,
    epsilon: float,
    step: int,
) -> None:
    """One Adam update in place; `step` counts from 1. Rows that are not `visible` keep their values and moments."""
    if visible is not None:
        rows = visible.nonzero().squeeze(-1)
        p, m, v = param[rows], exp_avg[rows], exp_avg_sq[rows]
        scale = None if row_scale is None else row_scale[rows]
        adam_step(p, grad[rows], m, v, lr, scale, None, beta1, beta2, epsilon, step)
        param[rows], exp_avg[rows], exp_avg_sq[rows] = p, m, v
        return
    exp_avg.lerp_(grad, 1 - beta1)
    exp_avg_sq.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
    update = exp_avg / (exp_avg_sq.sqrt().div_((1 - beta2**step) ** 0.5).add_(epsilon))
    update.mul_(lr if isinstance(lr, float | int) else lr.to(update.device)).div_(1 - beta1**step)
    param.sub_(update if row_scale is None else update.mul_(row_scale[:, None]))
