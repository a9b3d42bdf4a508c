"""Mixed precision: bfloat16 where that is safe, float32 elsewhere."""

from __future__ import annotations

import torch

from .. import _native
from ..scene.errors import BadInputError


def require_bfloat16(device: torch.device) -> None:
    """Raises BadInputError unless the device has instructions for bfloat16: a GPU, or AVX512_BF16 of a processor."""
    if device.type == "cpu" and not _native.has_bf16():
        raise BadInputError(
            "--mixed-precision cannot be used: this processor has no instructions for bfloat16 (AVX512_BF16); leave it "
            "out."
        )
