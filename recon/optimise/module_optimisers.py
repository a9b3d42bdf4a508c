"""Optimisers of the networks in a model: PyTorch's own Adam and AdamW, one for each group that a stage names."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from .adam import Optimiser

_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


class ModuleOptimiser:
    """Adam or AdamW over the parameters of one module whose names begin with a prefix."""

    def __init__(self, module: nn.Module, prefix: str, optimiser: Optimiser) -> None:
        """Raises ValueError where no parameter has such a name."""
        self.settings = optimiser
        self.named = {n: p for n, p in module.named_parameters() if not prefix or f"{n}.".startswith(f"{prefix}.")}
        if not self.named:
            raise ValueError(f"no parameter of the module is named '{prefix}'")
        self._fused = all(p.is_cuda for p in self.named.values())
        kind = torch.optim.AdamW if optimiser.kind == "adamw" else torch.optim.Adam
        self._torch = kind(
            list(self.named.values()),
            lr=0.0,
            betas=optimiser.betas,
            eps=optimiser.epsilon,
            weight_decay=optimiser.weight_decay,
            fused=self._fused or None,  # None: PyTorch's choice
        )

    def update(self, step: int) -> None:
        """Apply and drop the gradients at a step of the stage."""
        self._torch.param_groups[0]["lr"] = float(self.settings.rate(step))
        self._torch.step()
        self._torch.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Tensor]:
        """The moments of every parameter that has some, as PARAMETER/MOMENT."""
        found = {name: self._torch.state.get(parameter, {}) for name, parameter in self.named.items()}
        return {f"{name}/{moment}": values[moment] for name, values in found.items() for moment in values}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Continue from what `state` gave. Raises ValueError when it is of other parameters."""
        for key, tensor in state.items():
            name, _, moment = key.rpartition("/")
            parameter = self.named.get(name)
            if parameter is None or moment not in _MOMENTS or (moment != "step" and tensor.shape != parameter.shape):
                raise ValueError(f"the moments '{key}' of shape {tuple(tensor.shape)} belong to no parameter")
            device = "cpu" if moment == "step" and not self._fused else parameter.device
            self._torch.state[parameter][moment] = tensor.to(device)
