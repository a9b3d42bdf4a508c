"""Options of every command that runs a detector's network."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..learn.precision import require_bfloat16
from ..learn.processes import network_device
from .device import set_threads
from .options import Common


@dataclass(frozen=True, kw_only=True)
class NetworkOptions(Common):
    """Options with the same meaning wherever a network is trained or run."""

    # Compute in bfloat16 where that is safe: about twice as fast on a GPU; also on processors with AVX512_BF16.
    mixed_precision: bool = False

    def begin(self) -> torch.device:
        """Set threads and seed, and return the device. Raises BadInputError where it, or bfloat16, cannot be had."""
        device = network_device(self.device)
        if self.mixed_precision:
            require_bfloat16(device)
        set_threads(self.threads)
        torch.manual_seed(self.seed)
        return device
