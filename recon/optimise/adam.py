"""Adam over named tables of parameters whose rows may come and go while training runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ... import _native


@dataclass
class Parameters:
    """One tensor that learns. The optimiser replaces `tensor` when rows or columns change: always read it from here."""

    tensor: Tensor  # [N, ...] float32, contiguous, a leaf that requires grad
    per_gaussian: bool = True  # whether row i belongs to Gaussian i, so that densification edits it
    row_scale: Tensor | None = None  # [N] float32, multiplies each row's learning rate (e.g. by its confidence)

    def __post_init__(self) -> None:
        # A copy: learning in place must not reach what the values came from.
        self.tensor = self.tensor.detach().clone(memory_format=torch.contiguous_format).requires_grad_()


class Adam:
    """Adam (Kingma and Ba 2015) with a learning rate per column and, where a group has one, a factor per row.

    One step count serves all rows: a row that joins late starts with zero moments, as in 3DGS.
    """

    def __init__(
        self, groups: dict[str, Parameters], betas: tuple[float, float] = (0.9, 0.999), epsilon: float = 1e-15
    ) -> None:
        self.groups = groups
        self.betas = betas
        self.epsilon = epsilon
        self.steps_done = 0
        self.exp_avg = {name: torch.zeros_like(g.tensor, requires_grad=False) for name, g in groups.items()}
        self.exp_avg_sq = {name: torch.zeros_like(g.tensor, requires_grad=False) for name, g in groups.items()}

    @torch.no_grad()
    def step(
        self,
        learning_rates: Mapping[str, float | Tensor],  # [] or one per column [D]
        visible: Tensor | None = None,  # [N] bool
    ) -> None:
        """Apply and drop the gradients. With `visible`, only those rows of the per-Gaussian groups move."""
        self.steps_done += 1
        for name, group in self.groups.items():
            grad = group.tensor.grad
            if grad is None:
                continue
            group.tensor.grad = None
            adam_step(
                _as_table(group.tensor.detach()),
                _as_table(grad.contiguous()),
                _as_table(self.exp_avg[name]),
                _as_table(self.exp_avg_sq[name]),
                learning_rates[name],
                group.row_scale,
                visible if group.per_gaussian else None,
                *self.betas,
                self.epsilon,
                self.steps_done,
            )

    @torch.no_grad()
    def edit_rows(self, keep: Tensor, new: Mapping[str, Tensor], parents: Tensor) -> None:
        """Of every per-Gaussian group keep the rows `keep` [M], then append `new[name]` [A, ...].

        A group that `new` does not name appends copies of the rows `parents` [A]; so do the row factors. Moments of
        new rows are zero.
        """
        for name, group in self.groups.items():
            if not group.per_gaussian:
                continue
            old = group.tensor.detach()
            added = new[name] if name in new else old[parents]
            group.tensor = torch.cat([old[keep], added]).requires_grad_()
            for moments in (self.exp_avg, self.exp_avg_sq):
                kept = moments[name]
                moments[name] = torch.cat([kept[keep], kept.new_zeros(added.shape)])
            if group.row_scale is not None:
                group.row_scale = torch.cat([group.row_scale[keep], group.row_scale[parents]])

    @torch.no_grad()
    def overwrite_rows(self, name: str, rows: Tensor, values: Tensor) -> None:
        """Set rows [R] of one group to values [R, ...]."""
        self.groups[name].tensor.detach()[rows] = values

    @torch.no_grad()
    def copy_rows(self, source: Tensor, target: Tensor) -> None:
        """Make rows `target` [R] of every per-Gaussian group, and their row factors, copies of rows `source` [R]."""
        for group in self.groups.values():
            if group.per_gaussian:
                table = group.tensor.detach()
                table[target] = table[source]
                if group.row_scale is not None:
                    group.row_scale[target] = group.row_scale[source]

    @torch.no_grad()
    def forget(self, rows: Tensor | None = None, name: str | None = None) -> None:
        """Zero the moments of `rows` (all when None) of one group (all per-Gaussian groups when None)."""
        names = [n for n, g in self.groups.items() if g.per_gaussian] if name is None else [name]
        for n in names:
            for moments in (self.exp_avg[n], self.exp_avg_sq[n]):
                if rows is None:
                    moments.zero_()
                else:
                    moments[rows] = 0

    @torch.no_grad()
    def widen(self, name: str, size: int) -> None:
        """Grow the second dimension of a group to `size`; the new values and moments are zero."""
        group = self.groups[name]
        group.tensor = _widened(group.tensor.detach(), size).requires_grad_()
        self.exp_avg[name] = _widened(self.exp_avg[name], size)
        self.exp_avg_sq[name] = _widened(self.exp_avg_sq[name], size)

    def state(self) -> dict[str, Tensor]:
        """Every tensor that continuing needs, by a name that says its part."""
        out: dict[str, Tensor] = {}
        for name, group in self.groups.items():
            out[f"value/{name}"] = group.tensor.detach()
            out[f"exp_avg/{name}"] = self.exp_avg[name]
            out[f"exp_avg_sq/{name}"] = self.exp_avg_sq[name]
            if group.row_scale is not None:
                out[f"row_scale/{name}"] = group.row_scale
        return out

    def load_state(self, state: Mapping[str, Tensor], steps_done: int) -> None:
        """Continue from what `state` gave. Raises ValueError when the tensors do not belong together."""
        rows: int | None = None
        for name, group in self.groups.items():
            value = state.get(f"value/{name}")
            moments = state.get(f"exp_avg/{name}"), state.get(f"exp_avg_sq/{name}")
            if value is None or any(m is None or m.shape != value.shape for m in moments):
                raise ValueError(f"the values and moments of '{name}' are missing or of unequal shapes")
            if value.ndim != group.tensor.ndim or value.shape[2:] != group.tensor.shape[2:]:
                raise ValueError(
                    f"'{name}' has shape {tuple(value.shape)}, expected one like {tuple(group.tensor.shape)}"
                )
            row_scale = state.get(f"row_scale/{name}")
            if (row_scale is None) != (group.row_scale is None) or (
                row_scale is not None and row_scale.shape != value.shape[:1]
            ):
                raise ValueError(f"the row factors of '{name}' do not fit its {value.shape[0]} rows")
            expected = (rows if rows is not None else value.shape[0]) if group.per_gaussian else group.tensor.shape[0]
            if value.shape[0] != expected:
                raise ValueError(f"'{name}' has {value.shape[0]} rows, expected {expected}")
            if group.per_gaussian:
                rows = value.shape[0]
        for name, group in self.groups.items():
            device = group.tensor.device
            group.tensor = state[f"value/{name}"].to(device).requires_grad_()
            self.exp_avg[name] = state[f"exp_avg/{name}"].to(device)
            self.exp_avg_sq[name] = state[f"exp_avg_sq/{name}"].to(device)
            if group.row_scale is not None:
                group.row_scale = state[f"row_scale/{name}"].to(device)
        self.steps_done = steps_done


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
    """One Adam update in place; `step` counts from 1. The native kernel on the CPU, PyTorch elsewhere."""
    if param.device.type == "cpu":
        lr_columns = np.full(param.shape[1], lr, np.float32) if isinstance(lr, float | int) else lr.numpy()
        _native.adam_step(
            param.numpy(),
            grad.numpy(),
            exp_avg.numpy(),
            exp_avg_sq.numpy(),
            lr_columns,
            None if row_scale is None else row_scale.numpy(),
            None if visible is None else visible.numpy(),
            beta1,
            beta2,
            epsilon,
            step,
        )
    else:
        _torch_adam_step(param, grad, exp_avg, exp_avg_sq, lr, row_scale, visible, beta1, beta2, epsilon, step)


def _torch_adam_step(
    param: Tensor,
    grad: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    lr: float | Tensor,
    row_scale: Tensor | None,
    visible: Tensor | None,
    beta1: float,
    beta2: float,
    epsilon: float,
    step: int,
) -> None:
    if visible is not None:
        rows = visible.nonzero().squeeze(-1)
        p, m, v = param[rows], exp_avg[rows], exp_avg_sq[rows]
        scale = None if row_scale is None else row_scale[rows]
        _torch_adam_step(p, grad[rows], m, v, lr, scale, None, beta1, beta2, epsilon, step)
        param[rows], exp_avg[rows], exp_avg_sq[rows] = p, m, v
        return
    exp_avg.lerp_(grad, 1 - beta1)
    exp_avg_sq.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
    update = exp_avg / (exp_avg_sq.sqrt().div_((1 - beta2**step) ** 0.5).add_(epsilon))
    update.mul_(lr if isinstance(lr, float | int) else lr.to(update.device)).div_(1 - beta1**step)
    param.sub_(update if row_scale is None else update.mul_(row_scale[:, None]))


def _as_table(tensor: Tensor) -> Tensor:
    """The same memory as [N, D]."""
    return tensor.view(tensor.shape[0], math.prod(tensor.shape[1:]))


def _widened(tensor: Tensor, size: int) -> Tensor:
    """[N, K, ...] -> [N, size, ...] with zeros behind."""
    wide = tensor.new_zeros(tensor.shape[0], size, *tensor.shape[2:])
    wide[:, : tensor.shape[1]] = tensor
    return wide
