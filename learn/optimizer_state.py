"""The state of an optimiser as named tensors, and back: `KEY/PARAMETER`, such as `exp_avg/layers.0.weight`."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn
from torch.optim import Optimizer

from .checkpoint import Checkpoint

ON_CPU = "step"  # PyTorch keeps the count of steps there unless told otherwise


def optimizer_state(optimizer: Optimizer, network: nn.Module) -> dict[str, Tensor]:
    """The tensors that the optimiser keeps for each parameter of the network that it has moved."""
    return {
        f"{key}/{name}": value
        for parameter, name in _learned(optimizer, network)
        for key, value in optimizer.state.get(parameter, {}).items()
        if value is not None  # SGD without momentum
    }


def load_optimizer_state(optimizer: Optimizer, network: nn.Module, checkpoint: Checkpoint) -> None:
    """Take up what `optimizer_state` gave. Tensors move to their parameter's device."""
    names = {name: parameter for parameter, name in _learned(optimizer, network)}
    for full_name, value in checkpoint.tensors.items():
        key, _, name = full_name.partition("/")
        if key not in ("model", "generator", "loss_scaler") and name in names:
            parameter = names[name]
            optimizer.state[parameter][key] = value if key == ON_CPU else value.to(parameter.device)


def _learned(optimizer: Optimizer, network: nn.Module) -> Iterator[tuple[nn.Parameter, str]]:
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            yield parameter, names[id(parameter)]
