"""Parameters and optimisers as gsplat's trainers keep them, seen as a `Table` whose rows our densifiers edit."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping

import torch
from torch import Tensor, nn

from ..recon.optimise.table import Column, Table
from ..scene.errors import BadInputError

Parameters = MutableMapping[str, nn.Parameter] | nn.ParameterDict
Optimizers = Mapping[str, torch.optim.Optimizer]

NAMES = {"scales": "log_scales", "opacities": "opacity_logits"}  # ours, where gsplat's say less
MOMENTS = ("exp_avg", "exp_avg_sq")


class ParameterColumn(Column):
    """One parameter with the moments of its own optimiser. Row edits put a new parameter in the place of the old."""

    def __init__(self, name: str, params: Parameters, optimizer: torch.optim.Optimizer | None) -> None:
        self._name, self._params, self._optimizer = name, params, optimizer
        self.row_scale = None
        others = {k for k, v in self._state().items() if k not in (*MOMENTS, "step") and isinstance(v, Tensor)}
        if others:
            raise BadInputError(
                f"The optimiser of '{name}' keeps {', '.join(sorted(others))} beside Adam's moments; "
                "use Adam without amsgrad, SparseAdam or SelectiveAdam."
            )

    @property
    def tensor(self) -> Tensor:  # type: ignore[override]
        """[N, ...]; opacities [N, 1] are seen as [N]."""
        return self._viewed(self._params[self._name])

    @property
    def exp_avg(self) -> Tensor:  # type: ignore[override]
        return self._moment(MOMENTS[0])

    @property
    def exp_avg_sq(self) -> Tensor:  # type: ignore[override]
        return self._moment(MOMENTS[1])

    def _set(self, value: Tensor, exp_avg: Tensor, exp_avg_sq: Tensor) -> None:
        old = self._params[self._name]
        shape = (len(value), *old.shape[1:])
        new = nn.Parameter(value.reshape(shape), requires_grad=old.requires_grad)
        state = self._state()
        self._params[self._name] = new
        if self._optimizer is None:
            return
        self._optimizer.state.pop(old, None)
        self._optimizer.param_groups[0]["params"] = [new]
        if state:
            moments = dict(zip(MOMENTS, (m.reshape(shape) for m in (exp_avg, exp_avg_sq)), strict=True))
            self._optimizer.state[new] = {**state, **moments}

    def _state(self) -> dict[str, Tensor]:
        """State of the optimiser, empty before its first step."""
        return {} if self._optimizer is None else self._optimizer.state.get(self._params[self._name], {})

    def _moment(self, name: str) -> Tensor:
        state = self._state()
        # Without moments, zeros that are thrown away: there is nothing to forget or to keep.
        return self._viewed(state[name]) if state else torch.zeros_like(self.tensor.detach())

    def _viewed(self, tensor: Tensor) -> Tensor:
        return tensor.reshape(-1) if self._name == "opacities" else tensor


def table_of(params: Parameters, optimizers: Optimizers) -> Table:
    """The parameters, under our names, as columns of one table; it must not outlive the call it is made for."""
    return Table({NAMES.get(k, k): ParameterColumn(k, params, optimizers.get(k)) for k in params})


def check_parameters(params: Parameters, optimizers: Optimizers) -> None:
    """Raises BadInputError where a trainer's parameters and optimisers do not fit gsplat's conventions."""
    for name in ("means", "scales", "quats", "opacities"):
        if name not in params:
            raise BadInputError(f"The parameters have no '{name}'; there are: {', '.join(params) or 'none'}.")
    trained = {name for name, param in params.items() if param.requires_grad}
    if trained != set(optimizers):
        raise BadInputError(
            f"There are optimisers for {sorted(optimizers)}, but the parameters to train are {sorted(trained)}; "
            "expected one for each."
        )
    for name, optimizer in optimizers.items():
        if len(optimizer.param_groups) != 1:
            raise BadInputError(
                f"The optimiser of '{name}' has {len(optimizer.param_groups)} groups of parameters; expected one."
            )
