"""`FrameMotion`: every Gaussian's place, rotation and size at each of some moments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from .gaussians import Gaussians
from .geometry import Similarity, quat_from_rotation, quat_multiply
from .motion import at_place, check_times, place_in_time


@dataclass(frozen=True)
class FrameMotion:
    """Values at T moments, linear in between (rotations by normalised interpolation)."""

    kind: ClassVar[str] = "frames"

    times_s: Tensor  # [T] increasing
    means: Tensor  # [T, N, 3]
    quats: Tensor  # [T, N, 4] wxyz
    log_scales: Tensor | None = None  # [T, N, 3]; None where sizes stay as the canonical ones

    def __post_init__(self) -> None:
        moments, count = self.means.shape[:2] if self.means.ndim == 3 else (-1, -1)
        if self.means.shape != (moments, count, 3):
            raise ValueError(f"expected means [T, N, 3], found {tuple(self.means.shape)}")
        check_times(self.times_s, moments)
        if self.quats.shape != (moments, count, 4):
            raise ValueError(f"expected quats {(moments, count, 4)}, found {tuple(self.quats.shape)}")
        if self.log_scales is not None and self.log_scales.shape != (moments, count, 3):
            raise ValueError(f"expected log_scales {(moments, count, 3)}, found {tuple(self.log_scales.shape)}")

    @property
    def time_range_s(self) -> tuple[float, float]:
        return float(self.times_s[0]), float(self.times_s[-1])

    def at(self, canonical: Gaussians, time_s: float) -> Gaussians:
        place = before, share = place_in_time(self.times_s, time_s)
        quats = self.quats[before]
        if share > 0:
            after = self.quats[before + 1]
            near = torch.where((quats * after).sum(-1, keepdim=True) < 0, -after, after)  # q and -q are one rotation
            quats = torch.nn.functional.normalize(torch.lerp(quats, near, share), dim=-1)
        log_scales = canonical.log_scales if self.log_scales is None else at_place(self.log_scales, place)
        return replace(canonical, means=at_place(self.means, place), quats=quats, log_scales=log_scales)

    def to(self, device: torch.device | str) -> FrameMotion:
        moved = {name: t.to(device) for name, t in self.tensors().items() if name != "times_s"}
        return FrameMotion(self.times_s, **moved)

    def rows(self, index: Tensor) -> FrameMotion:
        return FrameMotion(self.times_s, **{n: t[:, index] for n, t in self.tensors().items() if n != "times_s"})

    def moved(self, new_from_old: Similarity) -> FrameMotion:
        turn = quat_from_rotation(new_from_old.rotation.double()).to(self.quats.device)
        means = new_from_old.double()(self.means.double()).to(self.means)
        sizes = None if self.log_scales is None else self.log_scales + new_from_old.scale.log().to(self.log_scales)
        return FrameMotion(self.times_s, means, quat_multiply(turn, self.quats.double()).to(self.quats), sizes)

    def tensors(self) -> dict[str, Tensor]:
        sizes = {} if self.log_scales is None else {"log_scales": self.log_scales}
        return {"times_s": self.times_s, "means": self.means, "quats": self.quats} | sizes

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], count: int) -> FrameMotion:
        try:
            times_s, means, quats = tensors["times_s"].double(), tensors["means"].float(), tensors["quats"].float()
        except KeyError as error:
            raise ValueError(f"the tensor {error} is missing") from error
        motion = cls(times_s, means, quats, tensors["log_scales"].float() if "log_scales" in tensors else None)
        if motion.means.shape[1] != count:
            raise ValueError(f"it moves {motion.means.shape[1]} Gaussians, and there are {count}")
        return motion
