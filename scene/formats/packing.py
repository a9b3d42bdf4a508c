"""Shared parts of the packed formats: normalised quaternions, levels of 8 and more bits, and sentences about losses."""

from __future__ import annotations

import numpy as np

from ..errors import BadInputError
from ..gaussians import SH_C0, Gaussians
from ..splat import StaticSplat

MIN_ALPHA = 1e-6  # an 8-bit opacity of 0 or 1 becomes this or 1 - this where the format's readers keep logits finite


def unit_quats(quats: np.ndarray) -> np.ndarray:
    """Quaternions [N, 4] of length 1; the identity where the length is zero."""
    norm = np.linalg.norm(quats.astype(np.float64), axis=1, keepdims=True)
    unit = quats / np.where(norm > 0, norm, 1)
    unit[norm[:, 0] == 0] = (1, 0, 0, 0)
    return unit


def levels(values: np.ndarray, highest: int) -> np.ndarray:
    """The nearest whole numbers 0 .. highest, halves up, as uint32; infinities go to the ends."""
    return np.floor(np.clip(values, 0, highest) + 0.5).astype(np.uint32)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """float64, 0 and 1 at the infinities."""
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-logits.astype(np.float64)))


def logit(alpha: np.ndarray) -> np.ndarray:
    """float32, infinite at 0 and 1, no number outside."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return (np.log(alpha) - np.log1p(-alpha)).astype(np.float32)


def srgb(linear: np.ndarray) -> np.ndarray:
    """sRGB of linear light (IEC 61966-2-1), both 0 to 1; below 0 it goes on as a line."""
    with np.errstate(invalid="ignore"):
        return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear.clip(0) ** (1 / 2.4) - 0.055)


def linear_light(srgb_values: np.ndarray) -> np.ndarray:
    """Linear light of sRGB, both 0 to 1, float64: the inverse of `srgb`."""
    values = srgb_values.astype(np.float64)
    return np.where(values <= 0.04045, values / 12.92, ((values.clip(0) + 0.055) / 1.055) ** 2.4)


def constant_in_srgb(constant: np.ndarray) -> np.ndarray:
    """Constant coefficients [..., 3] of colours in sRGB, of those in linear light: right for each Gaussian alone, as
    blending and the coefficients for directions stay in their light."""
    return ((srgb(0.5 + SH_C0 * constant.astype(np.float64)) - 0.5) / SH_C0).astype(np.float32)


def byte_table(decode: np.ndarray) -> np.ndarray:
    """float32 [256]: what each byte stands for, for decoding by look-up."""
    return np.ascontiguousarray(decode, np.float32)


BYTES = np.arange(256, dtype=np.float64)
FINITE_LOGIT = byte_table(logit(np.clip(BYTES / 255, MIN_ALPHA, 1 - MIN_ALPHA)))  # [256]


def lowered(splat: StaticSplat, degree: int, format_name: str) -> tuple[Gaussians, tuple[str, ...]]:
    """The Gaussians with spherical harmonics of at most `degree`, and a note when some were dropped."""
    g = splat.gaussians
    if g.sh_degree <= degree:
        return g, ()
    note = f"{format_name} has spherical harmonics of degree {degree} at most; degree {g.sh_degree} was cut down to it."
    if degree == 0:
        note = (
            f"{format_name} has one colour for all directions; spherical harmonics of degree {g.sh_degree} were lost."
        )
    return Gaussians(g.means, g.quats, g.log_scales, g.opacity_logits, g.sh[:, : (degree + 1) ** 2]), (note,)


def clamped_note(what: str, outside: np.ndarray, limits: str) -> tuple[str, ...]:
    """A note when some of the Gaussians (`outside` [N] or [N, ...]) had values beyond the limits."""
    count = int(outside.reshape(len(outside), -1).any(1).sum()) if outside.size else 0
    if count == 0:
        return ()
    return (f"{what} of {count} of {len(outside)} Gaussians were clamped to {limits}.",)


def refuse_empty(splat: StaticSplat, format_name: str) -> None:
    if len(splat.gaussians) == 0:
        raise BadInputError(f"The splat has no Gaussians, and {format_name} cannot hold none; save it as .ply.")
