"""Adam (Kingma and Ba 2015) and AdamW (Loshchilov and Hutter 2019) over the columns of tables.

A learning rate may differ from column to column of a tensor, and a factor from row to row.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ... import _native
from ...render.sh_factors import ShFactors, take_factors
from ...scene.filled import filled
from .reference_adam import adam_step as reference_adam_step
from .table import Column

Rate = Callable[[int], "float | Tensor"]  # steps of the stage so far -> [] or one for each column [D]


@dataclass(frozen=True)
class Optimiser:
    """Settings for the optimisation of one group of parameters. The defaults are those of 3DGS."""

    rate: Rate  # learning rate; per column [D] for tables only
    kind: Literal["adam", "adamw"] = "adam"
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-15
    weight_decay: float = 0.0  # added to the gradient by adam, taken off the parameters by adamw


@torch.no_grad()
def update(column: Column, optimiser: Optimiser, step: int, visible: Tensor | None = None) -> None:
    """Apply and drop the gradient of a column; with `visible` [N] bool, only those rows move."""
    column.updates += 1
    grad, factors = column.tensor.grad, take_factors(column.tensor)
    if grad is None and not factors:
        return
    column.tensor.grad = None
    value, rate = column.tensor.detach(), optimiser.rate(step)
    if optimiser.weight_decay > 0 and optimiser.kind == "adamw":
        _as_table(value).mul_(1 - optimiser.weight_decay * rate)
    decay = optimiser.weight_decay if optimiser.kind == "adam" else 0.0
    gradient: Tensor | ShFactors
    if grad is None and len(factors) == 1 and decay == 0:
        gradient = factors[0]
    else:
        for some in factors:
            dense = some.dense(value.shape[1])
            grad = dense if grad is None else grad + dense
        assert grad is not None
        gradient = _as_table((grad + decay * value if decay > 0 else grad).contiguous())
    adam_step(
        _as_table(value),
        gradient,
        _as_table(column.exp_avg),
        _as_table(column.exp_avg_sq),
        rate,
        column.row_scale,
        visible,
        *optimiser.betas,
        optimiser.epsilon,
        column.updates,
    )


def adam_step(
    param: Tensor,  # [N, D]
    grad: Tensor | ShFactors,  # [N, D], or factors of it, which the CPU's kernel never writes out
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
    """One Adam update in place; `step` counts from 1.

    The native kernel on the CPU. On a GPU PyTorch's fused one, and the reference where rates differ within a tensor.
    """
    if param.device.type != "cpu":
        assert isinstance(grad, Tensor)  # factors are kept on the CPU alone
        gpu_adam_step(param, grad, exp_avg, exp_avg_sq, lr, row_scale, visible, beta1, beta2, epsilon, step)
        return
    rest = (
        exp_avg.numpy(),
        exp_avg_sq.numpy(),
        np.full(param.shape[1], lr, np.float32) if isinstance(lr, float | int) else lr.numpy(),
        None if row_scale is None else row_scale.numpy(),
        None if visible is None else visible.numpy(),
        beta1,
        beta2,
        epsilon,
        step,
    )
    if isinstance(grad, ShFactors):
        _native.sh_adam_step(param.numpy(), grad.degree, grad.directions.numpy(), grad.v_colors.numpy(), *rest)
    else:
        _native.adam_step(param.numpy(), grad.numpy(), *rest)


def gpu_adam_step(
    param: Tensor,  # [N, D]
    grad: Tensor,  # [N, D]
    exp_avg: Tensor,  # [N, D]
    exp_avg_sq: Tensor,  # [N, D]
    lr: float | Tensor,  # [] or [D], on the CPU
    row_scale: Tensor | None,  # [N]
    visible: Tensor | None,  # [N] bool
    beta1: float,
    beta2: float,
    epsilon: float,
    step: int,
) -> None:
    """The same where PyTorch computes: in one pass over memory where all numbers have one rate, else the reference."""
    if not isinstance(lr, float | int):
        lr = filled(lr.flatten().tolist(), param.device)
    elif row_scale is None and visible is None:
        steps = torch.full((), float(step), device=param.device)
        torch._fused_adam_(
            [param], [grad], [exp_avg], [exp_avg_sq], [], [steps],
            lr=lr, beta1=beta1, beta2=beta2, weight_decay=0.0, eps=epsilon, amsgrad=False, maximize=False,
        )  # fmt: skip
        return
    reference_adam_step(param, grad, exp_avg, exp_avg_sq, lr, row_scale, visible, beta1, beta2, epsilon, step)


def _as_table(tensor: Tensor) -> Tensor:
    """The same memory as [N, D]; a scalar is a table of one row."""
    return tensor.view(tensor.shape[0], math.prod(tensor.shape[1:])) if tensor.ndim else tensor.view(1, 1)
