"""`ControlPointMotion`: sparse points that move, and carry the Gaussians near them (SC-GS, Huang et al. 2024)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import ClassVar

import torch
from torch import Tensor

from .gaussians import Gaussians
from .geometry import Similarity, quat_from_rotation, quat_multiply, rotation_from_quat
from .motion import check_times, place_in_time


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

    def __post_init__(self) -> None:
        moments, points = self.shifts.shape[:2] if self.shifts.ndim == 3 else (-1, -1)
        count, near = self.neighbours.shape if self.neighbours.ndim == 2 else (-1, -1)
        expected = {
            "points": (points, 3), "shifts": (moments, points, 3), "turns": (moments, points, 4),
            "neighbours": (count, near), "weights": (count, near),
            "quat_residuals": (moments, points, 4), "scale_residuals": (moments, points, 3),
        }  # fmt: skip
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
        return self.points + self._between(self.shifts, time_s)

    def at(self, canonical: Gaussians, time_s: float) -> Gaussians:
        turns, shifts = self._between(self.turns, time_s), self._between(self.shifts, time_s)
        index = self.neighbours.long()
        means = canonical.means
        moved = carried(means, self.points, rotation_from_quat(turns), shifts, index, self.weights)
        if self.quat_residuals is None:
            quats = quat_multiply(blended_turns(turns, index, self.weights), canonical.quats)
        else:
            unit = torch.nn.functional.normalize(canonical.quats, dim=-1)
            quats = unit + blended(self._between(self.quat_residuals, time_s), index, self.weights)
        log_scales = canonical.log_scales
        if self.scale_residuals is not None:
            grown = canonical.scales + blended(self._between(self.scale_residuals, time_s), index, self.weights)
            log_scales = grown.clamp_min(LEAST_SCALE).log()
        return replace(canonical, means=moved, quats=quats, log_scales=log_scales)

    def _between(self, values: Tensor, time_s: float) -> Tensor:
        before, share = place_in_time(self.times_s, time_s)
        return torch.lerp(values[before], values[before + 1], share) if share > 0 else values[before]

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
        residuals, sizes = self.quat_residuals, self.scale_residuals
        return replace(
            self,
            points=self.points[used],
            shifts=self.shifts[:, used],
            turns=self.turns[:, used],
            neighbours=number[self.neighbours.long()],
            quat_residuals=None if residuals is None else residuals[:, used],
            scale_residuals=None if sizes is None else sizes[:, used],
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


LEAST_SCALE = 1e-7  # world units; a residual can take no Gaussian below it


def carried(
    means: Tensor,  # [N, 3]
    points: Tensor,  # [M, 3]
    rotations: Tensor,  # [M, 3, 3]
    shifts: Tensor,  # [M, 3]
    index: Tensor,  # [N, K] int64
    weights: Tensor,  # [N, K]
) -> Tensor:
    """Places [N, 3] of Gaussians that control points carry; the reference implementation, differentiable in all."""
    offsets = means[:, None] - points[index]
    places = (rotations[index] @ offsets[..., None])[..., 0] + points[index] + shifts[index]
    return means + (weights[..., None] * (places - means[:, None])).sum(1)


def blended(values: Tensor, index: Tensor, weights: Tensor) -> Tensor:
    """Weighted sums [N, C] of the control points' values [M, C]."""
    return (weights[..., None] * values[index]).sum(1)


def blended_turns(turns: Tensor, index: Tensor, weights: Tensor) -> Tensor:
    """Weighted sums [N, 4] of rotations [M, 4] wxyz; what the weights leave to one is no rotation at all."""
    near = torch.nn.functional.normalize(turns, dim=-1)[index]
    near = torch.where((near * near[:, :1]).sum(-1, keepdim=True) < 0, -near, near)  # q and -q are one rotation
    left = near.new_tensor([1.0, 0, 0, 0]) * (1 - weights.sum(-1, keepdim=True)).clamp_min(0)
    return (weights[..., None] * near).sum(1) + torch.where(near[:, 0, :1] < 0, -left, left)
