"""`Strategy`: the calls that a trainer written for gsplat makes around its backward pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .parameter_rows import Optimizers, Parameters, check_parameters


@dataclass
class Strategy:
    """Densification between the steps of a trainer that keeps its own parameters and optimisers."""

    def check_sanity(self, params: Parameters, optimizers: Optimizers) -> None:
        """Raises BadInputError unless all names are there and each trained parameter has one optimiser of one group."""
        check_parameters(params, optimizers)

    def step_pre_backward(self, *args: Any, **kwargs: Any) -> None:
        """Does nothing."""

    def step_post_backward(self, *args: Any, **kwargs: Any) -> None:
        """Does nothing."""
