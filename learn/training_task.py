"""`TrainingTask`: the answers that the loop needs to train a network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

Forward = Callable[..., Any]  # the network, called as the module is: in its precision, and in all processes


class Batch(Protocol):
    """Input and truth of one step. A tensor is one; others are dataclasses with this method."""

    def to(self, device: torch.device) -> Any: ...


class TrainingTask(Protocol):
    """A training of one network. Its answers depend on the seed and the step alone, so that resuming is exact.

    Whatever else a run has to remember, such as a running error, belongs into a buffer of the network, and chance into
    PyTorch's own generators: both are in the checkpoints.
    """

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        ...

    @property
    def max_gradient_norm(self) -> float | None:
        """Limit of the L2 norm over all parameters, to which larger gradients are scaled down; None for no limit."""
        ...

    @property
    def fingerprint(self) -> str:
        """Digest of the data: a checkpoint of other data is refused."""
        ...

    def settings(self) -> Mapping[str, Any]:
        """Everything that decides the result, as JSON has it: a checkpoint with other settings is refused."""
        ...

    def batches(self, first_step: int) -> Iterable[Batch]:
        """One batch for each step from `first_step` to the last, those of this process."""
        ...

    def loss(self, forward: Forward, batch: Any) -> Mapping[str, Tensor]:
        """Weighted losses [] by name, whose sum is minimised. `forward` is called once; the rest is in float32."""
        ...

    def optimizer(self, network: nn.Module) -> Optimizer:
        """The optimiser of a network on its device. Its state consists of tensors, as that of PyTorch's own does."""
        ...

    def set_rates(self, optimizer: Optimizer, step: int) -> None:
        """Set what changes with the step, such as learning rates, before the step with this number (from 0)."""
        ...
