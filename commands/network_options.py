"""Options of every command that runs a detector's network."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import torch

from ..detect.sparse.gpu import compiles_at_first_use
from ..learn.precision import require_mixed_precision
from ..learn.processes import network_device
from .device import set_threads
from .options import Common


@dataclass(frozen=True, kw_only=True)
class NetworkOptions(Common):
    """Options with the same meaning wherever a network is trained or run."""

    # Compute in bfloat16 where that is safe: about twice as fast on a GPU (float16 on those before Ampere, with a
    # scaled loss); also on processors with AVX512_BF16.
    mixed_precision: bool = False

    def begin(self) -> torch.device:
        """Set threads and seed, and return the device. Raises BadInputError where it, or 16 bits, cannot be had."""
        device = network_device(self.device)
        if self.mixed_precision:
            require_mixed_precision(device)
        if device.type == "cuda" and not self.quiet and compiles_at_first_use():
            print("spconv-triton compiles and tunes its kernels at first use, for a minute or two.", file=sys.stderr)
        set_threads(self.threads)
        torch.manual_seed(self.seed)
        return device
