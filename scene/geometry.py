"""Rotations, rigid motions and similarities as plain tensors.

Quaternions are (w, x, y, z), Hamilton, scalar first. Transforms are read right to left: `a_from_b @ b_point`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


def rotation_from_quat(quats: Tensor) -> Tensor:
    """Rotation matrices [..., 3, 3] of quaternions [..., 4] (wxyz), normalised here.

    A zero quaternion gives the identity, so that damaged files never produce NaN.
    """
    norm = quats.norm(dim=-1, keepdim=True)
    identity = torch.zeros_like(quats)
    identity[..., 0] = 1
    q = torch.where(norm > 0, quats / norm.clamp_min(torch.finfo(quats.dtype).tiny), identity)
    w, x, y, z = q.unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def quat_from_rotation(rotations: Tensor) -> Tensor:
    """Unit quaternions [..., 4] (wxyz, w >= 0) of rotation matrices [..., 3, 3].

    Of the four equivalent formulas the one with the largest divisor is taken for each matrix, so that half
    turns are as exact as the identity.
    """
    m = rotations
    m00, m11, m22 = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    one = torch.ones_like(m00)
    # Row i is 4 * q_i * (w, x, y, z).
    candidates = torch.stack(
        [
            torch.stack(
                [
                    one + m00 + m11 + m22,
                    m[..., 2, 1] - m[..., 1, 2],
                    m[..., 0, 2] - m[..., 2, 0],
                    m[..., 1, 0] - m[..., 0, 1],
                ],
                -1,
            ),
            torch.stack(
                [
                    m[..., 2, 1] - m[..., 1, 2],
                    one + m00 - m11 - m22,
                    m[..., 1, 0] + m[..., 0, 1],
                    m[..., 0, 2] + m[..., 2, 0],
                ],
                -1,
            ),
            torch.stack(
                [
                    m[..., 0, 2] - m[..., 2, 0],
                    m[..., 1, 0] + m[..., 0, 1],
                    one - m00 + m11 - m22,
                    m[..., 2, 1] + m[..., 1, 2],
                ],
                -1,
            ),
            torch.stack(
                [
                    m[..., 1, 0] - m[..., 0, 1],
                    m[..., 0, 2] + m[..., 2, 0],
                    m[..., 2, 1] + m[..., 1, 2],
                    one - m00 - m11 + m22,
                ],
                -1,
            ),
        ],
        dim=-2,
    )
    best = candidates.diagonal(dim1=-2, dim2=-1).argmax(-1)
    q = torch.gather(candidates, -2, best[..., None, None].expand(*best.shape, 1, 4)).squeeze(-2)
    q = q / q.norm(dim=-1, keepdim=True)
    return torch.where(q[..., :1] < 0, -q, q)


def quat_multiply(a: Tensor, b: Tensor) -> Tensor:
    """Hamilton product a * b of quaternions [..., 4] (wxyz): the rotation b first, then a."""
    aw, ax, ay, az = a.unbind(-1)
    bw, bx, by, bz = b.unbind(-1)
    return torch.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        dim=-1,
    )


def quat_exp(rotvec: Tensor) -> Tensor:
    """Unit quaternions [..., 4] (wxyz) of rotation vectors [..., 3] in radians, smooth at zero."""
    half_sq = (rotvec * rotvec).sum(-1, keepdim=True) / 4
    small = half_sq < 1e-8
    half = torch.where(small, torch.ones_like(half_sq), half_sq).sqrt()
    w = torch.where(small, 1 - half_sq / 2, half.cos())
    return torch.cat([w, rotvec * torch.where(small, 0.5 - half_sq / 12, half.sin() / (2 * half))], dim=-1)


def quat_log(quats: Tensor) -> Tensor:
    """Rotation vectors [..., 3] in radians, angle in [0, pi], of unit quaternions [..., 4] (wxyz), smooth at unity."""
    w, v = torch.where(quats[..., :1] < 0, -quats, quats).split([1, 3], dim=-1)
    sin_sq = (v * v).sum(-1, keepdim=True)
    small = sin_sq < 1e-8
    sin = torch.where(small, torch.ones_like(sin_sq), sin_sq).sqrt()
    return v * torch.where(small, 2 * (1 + sin_sq / 6), 2 * torch.atan2(sin, w) / sin)


def skew(v: Tensor) -> Tensor:
    """Cross-product matrices [..., 3, 3] of vectors [..., 3]."""
    zero = torch.zeros_like(v[..., 0])
    x, y, z = v.unbind(-1)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))


def so3_exp(rotvec: Tensor) -> Tensor:
    """Rotation matrices [..., 3, 3] of rotation vectors [..., 3] in radians (Rodrigues), smooth at zero."""
    angle_sq = (rotvec * rotvec).sum(-1)[..., None, None]
    small = angle_sq < 1e-8
    safe = torch.where(small, torch.ones_like(angle_sq), angle_sq)
    angle = safe.sqrt()
    a = torch.where(small, 1 - angle_sq / 6, angle.sin() / angle)
    b = torch.where(small, 0.5 - angle_sq / 24, (1 - angle.cos()) / safe)
    k = skew(rotvec)
    eye = torch.eye(3, dtype=rotvec.dtype, device=rotvec.device)
    return eye + a * k + b * (k @ k)


def so3_log(rotations: Tensor) -> Tensor:
    """Rotation vectors [..., 3] in radians, angle in [0, pi], of rotation matrices [..., 3, 3]."""
    q = quat_from_rotation(rotations)
    w, v = q[..., :1], q[..., 1:]
    sin_half = v.norm(dim=-1, keepdim=True)
    angle = 2 * torch.atan2(sin_half, w)
    scale = torch.where(sin_half < 1e-6, 2 / w.clamp_min(1e-6), angle / sin_half.clamp_min(1e-12))
    return v * scale


def rotation_angle(rotations: Tensor) -> Tensor:
    """Angle in radians [...] of rotation matrices [..., 3, 3]."""
    return so3_log(rotations).norm(dim=-1)


def se3_from(rotation: Tensor, translation: Tensor) -> Tensor:
    """Rigid motion [..., 4, 4] from rotation [..., 3, 3] and translation [..., 3]."""
    top = torch.cat([rotation, translation[..., None]], dim=-1)
    bottom = torch.zeros_like(top[..., :1, :])
    bottom[..., 0, 3] = 1
    return torch.cat([top, bottom], dim=-2)


def se3_inverse(a_from_b: Tensor) -> Tensor:
    """b_from_a [..., 4, 4] of a rigid motion a_from_b [..., 4, 4]."""
    rotation_t = a_from_b[..., :3, :3].transpose(-1, -2)
    return se3_from(rotation_t, -(rotation_t @ a_from_b[..., :3, 3:]).squeeze(-1))


def se3_exp(twist: Tensor) -> Tensor:
    """Rigid motion [..., 4, 4] of (rotation vector, translation) [..., 6].

    The translation is taken as it is, not through the left Jacobian: the two parts then have their own units
    and learning rates, which is what a pose optimiser wants.
    """
    return se3_from(so3_exp(twist[..., :3]), twist[..., 3:])


def transform_points(a_from_b: Tensor, points_b: Tensor) -> Tensor:
    """Points [..., N, 3] moved by [..., 4, 4]."""
    return points_b @ a_from_b[..., :3, :3].transpose(-1, -2) + a_from_b[..., None, :3, 3]


@dataclass(frozen=True)
class Similarity:
    """a = scale * rotation @ b + translation."""

    scale: Tensor  # []
    rotation: Tensor  # [3, 3]
    translation: Tensor  # [3]

    def __call__(self, points_b: Tensor) -> Tensor:
        """Points [..., 3] of frame b in frame a."""
        return self.scale * points_b @ self.rotation.T + self.translation

    def __matmul__(self, b_from_c: Similarity) -> Similarity:
        """a_from_c: `b_from_c` first, then this one."""
        return Similarity(self.scale * b_from_c.scale, self.rotation @ b_from_c.rotation, self(b_from_c.translation))

    @classmethod
    def identity(cls) -> Similarity:
        """In double precision, as long chains of edits want it."""
        eye = torch.eye(3, dtype=torch.float64)
        return cls(torch.ones((), dtype=torch.float64), eye, torch.zeros(3, dtype=torch.float64))

    def double(self) -> Similarity:
        return Similarity(self.scale.double(), self.rotation.double(), self.translation.double())

    def inverse(self) -> Similarity:
        rotation = self.rotation.T
        return Similarity(1 / self.scale, rotation, -(rotation @ self.translation) / self.scale)


def align_similarity(
    points_a: Tensor,  # [N, 3]
    points_b: Tensor,  # [N, 3]
    weights: Tensor | None = None,  # [N]
    with_scale: bool = True,
) -> Similarity:
    """The similarity that takes points_b to points_a with the least weighted squared error (Umeyama 1991).

    Raises ValueError when the shapes differ or fewer than three points are given.
    """
    if points_a.shape != points_b.shape or points_a.ndim != 2 or points_a.shape[0] < 3:
        raise ValueError(
            f"expected two equal point lists [N >= 3, 3], found {tuple(points_a.shape)} and {tuple(points_b.shape)}"
        )
    w = torch.ones_like(points_a[:, 0]) if weights is None else weights
    w = (w / w.sum())[:, None]
    mean_a, mean_b = (w * points_a).sum(0), (w * points_b).sum(0)
    a, b = points_a - mean_a, points_b - mean_b
    u, s, vt = torch.linalg.svd(a.T @ (w * b))
    sign = torch.ones_like(s)
    sign[-1] = torch.det(u) * torch.det(vt)
    rotation = u @ torch.diag(sign) @ vt
    variance_b = (w * b * b).sum()
    scale = (s * sign).sum() / variance_b.clamp_min(1e-20) if with_scale else torch.ones_like(variance_b)
    return Similarity(scale, rotation, mean_a - scale * rotation @ mean_b)
