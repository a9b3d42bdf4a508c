"""The rows of a file that are Gaussians: one rule for all formats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ..gaussians import Gaussians


def usable(
    means: np.ndarray,  # [N, 3]
    quats: np.ndarray,  # [N, 4] wxyz
    log_scales: np.ndarray,  # [N, 3]
    opacity_logits: np.ndarray,  # [N]
    sh: np.ndarray,  # [N, K, 3]
) -> np.ndarray:
    """bool [N]: False for NaN anywhere, and for an infinite position, rotation, colour or size.

    An opacity of +-Inf, a log-scale of -Inf and a zero quaternion can be rendered, and cleaned files hold them.
    """
    keep = np.isfinite(means).all(1) & np.isfinite(quats).all(1) & np.isfinite(sh).all((1, 2))
    return keep & ~np.isnan(opacity_logits) & ~np.isnan(log_scales).any(1) & ~np.isposinf(log_scales).any(1)


def usable_gaussians(path: Path, *columns: np.ndarray) -> tuple[Gaussians, tuple[str, ...]]:
    """The Gaussians of a file from float32 arrays in the order of `usable`, and a note when some rows are none."""
    keep = usable(*columns)
    if keep.all():
        return Gaussians(*(torch.from_numpy(column) for column in columns)), ()
    note = f"{path.name}: {int((~keep).sum())} of {len(keep)} Gaussians are not numbers and were left out."
    return Gaussians(*(torch.from_numpy(column[keep]) for column in columns)), (note,)


def arrays(gaussians: Gaussians) -> tuple[np.ndarray, ...]:
    """float32 arrays on the CPU in the order of `usable`: means, quats, log_scales, opacity_logits, sh."""
    return tuple(value.detach().cpu().float().contiguous().numpy() for value in vars(gaussians).values())
