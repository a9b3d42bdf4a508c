"""`ControlPointMotion`: sparse points that move, and carry the Gaussians near them (SC-GS, Huang et al. 2024)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import ClassVar

import torch
from torch import Tensor

from .carry import blended_turns, carry
from .gaussians import Gaussians
from .geometry import Similarity, quat_from_rotation, quat_multiply
from .motion import at_place, check_times, place_in_time

RESIDUALS = {"quat_residuals": 4, "scale_residuals": 3, "opacity_residuals": 1, "color_residuals": 3}  # channels
LEAST_SCALE = 1e-7  # world units; a residual can take no Gaussian below it
LEAST_OPACITY = 1e-6  # and none beyond this, or one minus it


@dataclass(frozen=True)
class ControlPointMotion:
    """M control points at T moments, linear in between, and N Gaussians that K of them each carry.

    A Gaussian at m with points p_k, weights w_k, turns R_k(t) and shifts d_k(t) is at
    m + sum_k w_k (R_k (m - p_k) + p_k + d_k - m) (linear blend skinning; SC-GS, equation 4). Weights that sum to less
    than one hold it back, so that 0 is what stands still. Its rotation is turned by the blended R_k, or, with
    `quat_residuals`, has their blend added to the unit canonical quaternion (as released).
    """

    kind: ClassVar[str] = "control_points"

    times_s: Tensor  # [T] increasing
    points: Tensor  # [M, 3] canonical
    shifts: Tensor  # [T, M, 3]
    turns: Tensor  # [T, M, 4] wxyz, not necessarily unit
    neighbours: Tensor  # [N, K] int32, below M
    weights: Tensor  # [N, K] at least 0
    quat_residuals: Tensor | None = None  # [T, M, 4]; None where Gaussians turn with their control points
    scale_residuals: Tensor | None = None  # [T, M, 3] added to the standard deviations; world units
    opacity_residuals: Tensor | None = None  # [T, M, 1] added to the opacities
    color_residuals: Tensor | None = None  # [T, M, 3] added to the constant harmonic

    def __post_init__(self) -> None:
        moments, points = self.shifts.shape[:2] if self.shifts.ndim == 3 else (-1, -1)
        count, near = self.neighbours.shape if self.neighbours.ndim == 2 else (-1, -1)
        expected = {
            "points": (points, 3), "shifts": (moments, points, 3), "turns": (moments, points, 4),
            "neighbours": (count, near), "weights": (count, near),
        }  # fmt: skip
        expected |= {name: (moments, points, channels) for name, channels in RESIDUALS.items()}
        for name, shape in expected.items():
            tensor = getattr(self, name)
            if tensor is not None and tuple(tensor.shape) != shape:
                raise ValueError(f"{name}: expected shape {shape}, found {tuple(tensor.shape)}")
        check_times(self.times_s, moments)
        if count > 0 and not (int(self.neighbours.min()) >= 0 and int(self.neighbours.max()) < points):
            raise ValueError(f"neighbours should lie below the {points} control points")

    def __len__(self) -> int:
        """Number of control points."""
        return self.points.shape[0]

    @property
    def time_range_s(self) -> tuple[float, float]:
        return float(self.times_s[0]), float(self.times_s[-1])

    def points_at(self, time_s: float) -> Tensor:
        """Places [M, 3] of the control points at a moment."""
        return self.points + at_place(self.shifts, place_in_time(self.times_s, time_s))

    def at(self, canonical: Gaussians, time_s: float) -> Gaussians:
        place = place_in_time(self.times_s, time_s)
        turns, shifts = at_place(self.turns, place), at_place(self.shifts, place)
        kept = {name: at_place(values, place) for name, values in self.residuals().items()}
        values = torch.cat([*kept.values(), shifts[:, :0]], dim=-1)
        moved, blend = carry(canonical.means, self.points, turns, shifts, values, self.neighbours, self.weights)
        if self.quat_residuals is None:
            turned = blended_turns(turns, self.neighbours, self.weights)
            canonical = replace(canonical, quats=quat_multiply(turned, canonical.quats))
        blended = dict(zip(kept, blend.split([RESIDUALS[name] for name in kept], dim=-1), strict=True))
        return with_residuals(replace(canonical, means=moved), blended)

    def residuals(self) -> dict[str, Tensor]:
        """Values that are blended and added, by name [T, M, C]."""
        return {name: getattr(self, name) for name in RESIDUALS if getattr(self, name) is not None}

    def to(self, device: torch.device | str) -> ControlPointMotion:
        return ControlPointMotion(
            self.times_s, **{n: t.to(device) for n, t in self.tensors().items() if n != "times_s"}
        )

    def rows(self, index: Tensor) -> ControlPointMotion:
        return replace(self, neighbours=self.neighbours[index], weights=self.weights[index])

    def of_used_points(self) -> ControlPointMotion:
        """The same motion without the control points that carry nothing, one at least."""
        used = torch.zeros(len(self), dtype=torch.bool, device=self.neighbours.device)
        used[self.neighbours[self.weights != 0].long()] = True
        if not bool(used.any()):
            used[:1] = True
        number = (used.cumsum(0) - 1).clamp_min(0).to(self.neighbours.dtype)
        kept: dict[str, Tensor] = {name: values[:, used] for name, values in self.residuals().items()}
        return replace(
            self,
            points=self.points[used],
            shifts=self.shifts[:, used],
            turns=self.turns[:, used],
            neighbours=number[self.neighbours.long()],
            **kept,
        )

    def moved(self, new_from_old: Similarity) -> ControlPointMotion:
        move = new_from_old.double()
        turn = quat_from_rotation(move.rotation).to(self.points.device)
        flat = replace(new_from_old, translation=torch.zeros_like(new_from_old.translation)).double()
        turned = quat_multiply(quat_multiply(turn, self.turns.double()), turn * turn.new_tensor([1.0, -1, -1, -1]))
        residuals, sizes = self.quat_residuals, self.scale_residuals
        return replace(
            self,
            points=move(self.points.double()).to(self.points),
            shifts=flat(self.shifts.double()).to(self.shifts),
            turns=turned.to(self.turns),
            quat_residuals=None if residuals is None else quat_multiply(turn, residuals.double()).to(residuals),
            scale_residuals=None if sizes is None else sizes * new_from_old.scale.to(sizes),
        )

    def tensors(self) -> dict[str, Tensor]:
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) is not None}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], count: int) -> ControlPointMotion:
        known = [f.name for f in fields(cls)]
        if absent := [name for name in known[:6] if name not in tensors]:
            raise ValueError(f"the tensor '{absent[0]}' is missing")
        types = {"times_s": torch.float64, "neighbours": torch.int32}
        motion = cls(**{n: tensors[n].to(types.get(n, torch.float32)) for n in known if n in tensors})
        if len(motion.neighbours) != count:
            raise ValueError(f"it moves {len(motion.neighbours)} Gaussians, and there are {count}")
        return motion


def with_residuals(gaussians: Gaussians, blended: Mapping[str, Tensor]) -> Gaussians:
    """Gaussians with residuals [N, C] by their names in `RESIDUALS` (SC-GS, as released; Deformable 3DGS).

    They are added to unit quaternions, standard deviations, opacities and the constant harmonic.
    """
    quats, log_scales = gaussians.quats, gaussians.log_scales
    opacity_logits, sh = gaussians.opacity_logits, gaussians.sh
    if "quat_residuals" in blended:
        quats = torch.nn.functional.normalize(quats, dim=-1) + blended["quat_residuals"]
    if "scale_residuals" in blended:
        log_scales = (gaussians.scales + blended["scale_residuals"]).clamp_min(LEAST_SCALE).log()
    if "opacity_residuals" in blended:
        opacity_logits = torch.logit(gaussians.opacities + blended["opacity_residuals"][:, 0], eps=LEAST_OPACITY)
    if "color_residuals" in blended:
        sh = torch.cat([sh[:, :1] + blended["color_residuals"][:, None], sh[:, 1:]], dim=1)
    return Gaussians(gaussians.means, quats, log_scales, opacity_logits, sh)
