"""PLY files with scales and opacities as they are drawn, where logarithms and logits are expected.

Some exporters apply the activations of 3DGS before they write. Nothing in the file says so, but the values do: all
opacities are between 0 and 1, no scale is negative and most are small.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..errors import BadInputError
from ..gaussians import Gaussians

MIN_COUNT = 16  # of fewer Gaussians values prove nothing
# A trained splat always has logits below 0 or above 1, as these are opacities from 0.5 to 0.73. Logarithms of scales
# that are all positive are those of a scene in small units, but not mostly below this: sizes from 1 to 1.6.
MAX_MEDIAN_SCALE = 0.5


def linear_parts(g: Gaussians) -> tuple[str, ...]:
    """Those of "scales" and "opacities" whose values look as if they were activated already."""
    if len(g) < MIN_COUNT:
        return ()
    scales, opacities = g.log_scales[:, :2], g.opacity_logits  # the third scale of a 2DGS file is ours
    found = []
    if float(scales.min()) >= 0 and float(scales.median()) < MAX_MEDIAN_SCALE:
        found.append("scales")
    if float(opacities.min()) >= 0 and float(opacities.max()) <= 1 and float(opacities.max() - opacities.min()) > 0.01:
        found.append("opacities")
    return tuple(found)


def linear_note(path: Path, parts: tuple[str, ...]) -> tuple[str, ...]:
    """A sentence that says what looks linear, and how to have it taken so; nothing where nothing does."""
    if not parts:
        return ()
    return (
        f"{path.name}: its {' and '.join(parts)} look linear, as if logarithm and logit had been undone, but were "
        f"taken as the format has them. If it looks wrong, `fewview convert --linear {path.name} NEW.ply` mends it.",
    )


def from_linear(path: Path, g: Gaussians) -> Gaussians:
    """The Gaussians whose stored scales and opacities were linear, those that look so.

    Raises BadInputError where neither does.
    """
    parts = linear_parts(g)
    if not parts:
        raise BadInputError(
            f"{path} does not look linear: opacities from 0 to 1 or scales without negative ones are expected, in "
            f"{MIN_COUNT} Gaussians or more; leave out --linear."
        )
    if "scales" in parts:
        g = replace(g, log_scales=g.log_scales.clamp_min(0).log())
    if "opacities" in parts:
        g = replace(g, opacity_logits=g.opacity_logits.double().logit().float())
    return g
