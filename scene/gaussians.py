"""`Gaussians`: a splat, as the raw values that optimisers and PLY files keep."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from .geometry import Similarity, quat_from_rotation, quat_multiply
from .spherical_harmonics import turned_sh

SH_C0 = 0.28209479177387814  # the constant spherical harmonic, 1 / (2 sqrt(pi))


@dataclass(frozen=True)
class Gaussians:
    """N Gaussians in the world frame. The raw values are stored; activations are properties.

    >>> one = Gaussians(
    ...     means=torch.zeros(1, 3),
    ...     quats=torch.tensor([[1.0, 0, 0, 0]]),
    ...     log_scales=torch.tensor([[0.1, 0.2, 0.3]]).log(),
    ...     opacity_logits=torch.zeros(1),
    ...     sh=torch.zeros(1, 4, 3),
    ... )
    >>> len(one), one.sh_degree, one.opacities.tolist(), one.base_colors.tolist()
    (1, 1, [0.5], [[0.5, 0.5, 0.5]])
    """

    means: Tensor  # [N, 3]
    quats: Tensor  # [N, 4] wxyz, not necessarily unit
    log_scales: Tensor  # [N, 3] ln of the standard deviation along each local axis
    opacity_logits: Tensor  # [N]
    sh: Tensor  # [N, K, 3] real spherical harmonics, coefficient-major, K = (degree + 1)^2

    def __post_init__(self) -> None:
        n = self.means.shape[0]
        expected = ((n, 3), (n, 4), (n, 3), (n,), (n, self.sh.shape[1] if self.sh.ndim == 3 else -1, 3))
        for field, shape in zip(fields(self), expected, strict=True):
            found = tuple(getattr(self, field.name).shape)
            if found != shape:
                raise ValueError(f"{field.name}: expected shape {shape}, found {found}")
        if (self.sh_degree + 1) ** 2 != self.sh.shape[1]:
            raise ValueError(f"sh: expected 1, 4, 9, 16 or 25 coefficients, found {self.sh.shape[1]}")

    def __len__(self) -> int:
        return self.means.shape[0]

    def __getitem__(self, index: Any) -> Gaussians:
        return Gaussians(*(getattr(self, f.name)[index] for f in fields(self)))

    def to(self, device: torch.device | str) -> Gaussians:
        return Gaussians(*(getattr(self, f.name).to(device) for f in fields(self)))

    def detach(self) -> Gaussians:
        return Gaussians(*(getattr(self, f.name).detach() for f in fields(self)))

    @property
    def sh_degree(self) -> int:
        return max(0, round(self.sh.shape[1] ** 0.5) - 1)

    @property
    def scales(self) -> Tensor:
        """Standard deviations [N, 3] in world units."""
        return self.log_scales.exp()

    @property
    def opacities(self) -> Tensor:
        """[N] in (0, 1)"""
        return self.opacity_logits.sigmoid()

    @property
    def base_colors(self) -> Tensor:
        """Display-referred sRGB [N, 3] of the constant term; not clamped."""
        return 0.5 + SH_C0 * self.sh[:, 0]

    def moved(self, new_from_old: Similarity) -> Gaussians:
        """The same splat in another frame: positions, sizes, rotations and view-dependent colours follow.

        All passes through double precision, so that a scene far from its origin can be brought back to it, and one that
        was turned into the frame of a file is the same but for rounding.
        """
        like = self.means
        scale, rotation, translation = (t.to(like.device, torch.float64) for t in vars(new_from_old).values())
        # A zero quaternion is drawn as no rotation at all, so it has to turn like one.
        zero = self.quats.norm(dim=-1, keepdim=True) == 0
        quats = torch.where(zero, self.quats.new_tensor([1.0, 0, 0, 0]), self.quats)
        return Gaussians(
            Similarity(scale, rotation, translation)(self.means.double()).to(like),
            quat_multiply(quat_from_rotation(rotation), quats.double()).to(like),
            self.log_scales + scale.log().to(like),
            self.opacity_logits,
            turned_sh(self.sh, rotation),
        )

    @classmethod
    def cat(cls, parts: list[Gaussians]) -> Gaussians:
        return cls(*(torch.cat([getattr(p, f.name) for p in parts]) for f in fields(cls)))
