"""`Motion`: where canonical Gaussians are at a moment. The kinds that are stored are listed in `MOTIONS`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from .gaussians import Gaussians
from .geometry import Similarity, quat_from_rotation, quat_multiply


class Motion(Protocol):
    """A rule that moves N canonical Gaussians; differentiable in its tensors."""

    kind: ClassVar[str]  # its name in files

    @property
    def time_range_s(self) -> tuple[float, float]:
        """First and last moment."""
        ...

    def at(self, canonical: Gaussians, time_s: float) -> Gaussians:
        """The Gaussians at a moment within the range."""
        ...

    def to(self, device: torch.device | str) -> Motion: ...

    def rows(self, index: Tensor) -> Motion:
        """The motion of some of the Gaussians: indices, or a mask [N]."""
        ...

    def moved(self, new_from_old: Similarity) -> Motion:
        """The same motion in another world frame."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """All that a file has to keep, by name."""
        ...

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], count: int) -> Motion:
        """The motion of `count` Gaussians that `tensors` gave. Raises ValueError where they do not fit together."""
        ...


@dataclass(frozen=True)
class FrameMotion:
    """Positions and rotations at T moments, linear in between (rotations by normalised interpolation)."""

    kind: ClassVar[str] = "frames"

    times_s: Tensor  # [T] increasing
    means: Tensor  # [T, N, 3]
    quats: Tensor  # [T, N, 4] wxyz

    def __post_init__(self) -> None:
        moments, count = self.means.shape[:2] if self.means.ndim == 3 else (-1, -1)
        if self.times_s.shape != (moments,) or moments < 1 or self.means.shape[2] != 3:
            raise ValueError(
                f"expected times_s [T] and means [T, N, 3], found {tuple(self.times_s.shape)} and "
                f"{tuple(self.means.shape)}"
            )
        if self.quats.shape != (moments, count, 4):
            raise ValueError(f"expected quats {(moments, count, 4)}, found {tuple(self.quats.shape)}")
        if not bool((self.times_s[1:] > self.times_s[:-1]).all()) or not bool(self.times_s.isfinite().all()):
            raise ValueError("times_s should be finite and increase from each moment to the next")

    @property
    def time_range_s(self) -> tuple[float, float]:
        return float(self.times_s[0]), float(self.times_s[-1])

    def at(self, canonical: Gaussians, time_s: float) -> Gaussians:
        before, share = self._place(time_s)
        means, quats = self.means[before], self.quats[before]
        if share > 0:
            after = self.quats[before + 1]
            near = torch.where((quats * after).sum(-1, keepdim=True) < 0, -after, after)  # q and -q are one rotation
            means = torch.lerp(means, self.means[before + 1], share)
            quats = torch.nn.functional.normalize(torch.lerp(quats, near, share), dim=-1)
        return replace(canonical, means=means, quats=quats)

    def _place(self, time_s: float) -> tuple[int, float]:
        """The last moment that is not after `time_s`, and the share of the way to the next."""
        times = self.times_s.tolist()
        before = max(0, min(len(times) - 1, sum(t <= time_s for t in times) - 1))
        if before + 1 == len(times):
            return before, 0.0
        return before, min(1.0, max(0.0, (time_s - times[before]) / (times[before + 1] - times[before])))

    def to(self, device: torch.device | str) -> FrameMotion:
        return FrameMotion(self.times_s, self.means.to(device), self.quats.to(device))

    def rows(self, index: Tensor) -> FrameMotion:
        return FrameMotion(self.times_s, self.means[:, index], self.quats[:, index])

    def moved(self, new_from_old: Similarity) -> FrameMotion:
        turn = quat_from_rotation(new_from_old.rotation.double()).to(self.quats.device)
        means = new_from_old.double()(self.means.double()).to(self.means)
        return FrameMotion(self.times_s, means, quat_multiply(turn, self.quats.double()).to(self.quats))

    def tensors(self) -> dict[str, Tensor]:
        return {"times_s": self.times_s, "means": self.means, "quats": self.quats}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], count: int) -> FrameMotion:
        try:
            motion = cls(tensors["times_s"].double(), tensors["means"].float(), tensors["quats"].float())
        except KeyError as error:
            raise ValueError(f"the tensor {error} is missing") from error
        if motion.means.shape[1] != count:
            raise ValueError(f"it moves {motion.means.shape[1]} Gaussians, and there are {count}")
        return motion


MOTIONS: dict[str, type[Motion]] = {FrameMotion.kind: FrameMotion}
