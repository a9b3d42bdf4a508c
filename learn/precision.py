"""Mixed precision: bfloat16 where the device has it, float16 with a scaled loss on older GPUs, float32 elsewhere."""

from __future__ import annotations

import torch

from .. import _native
from ..scene.errors import BadInputError


def require_mixed_precision(device: torch.device) -> None:
    """Raises BadInputError unless the device computes faster in 16 bits: a GPU, or a processor with AVX512_BF16."""
    if device.type == "cpu" and not _native.has_bf16():
        raise BadInputError(
            "--mixed-precision cannot be used: this processor has no instructions for bfloat16 (AVX512_BF16); leave it "
            "out."
        )


def mixed_type(device: torch.device) -> torch.dtype:
    """bfloat16, and float16 on GPUs that only emulate it (before Ampere)."""
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.float16
    return torch.bfloat16


def loss_scaler(device: torch.device, mixed_precision: bool) -> torch.amp.GradScaler:
    """Keeps small gradients from vanishing in float16; of no effect in bfloat16, whose range is float32's."""
    return torch.amp.GradScaler(device.type, enabled=mixed_precision and mixed_type(device) == torch.float16)


def mixed(device: torch.device, enabled: bool) -> torch.autocast:
    """The context in which a network computes in the device's 16 bits where it is `enabled`."""
    return torch.autocast(device.type, mixed_type(device) if enabled else torch.bfloat16, enabled=enabled)
