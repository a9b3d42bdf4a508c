"""Axioms of rotations, rigid motions and similarities."""

from __future__ import annotations

import math

import pytest
import torch
from fewview.scene.geometry import (
    Similarity,
    align_similarity,
    quat_from_rotation,
    quat_multiply,
    rotation_angle,
    rotation_from_quat,
    se3_exp,
    se3_from,
    se3_inverse,
    skew,
    so3_exp,
    so3_log,
    transform_points,
)
from torch import Tensor

DTYPES = [torch.float32, torch.float64]
BATCHES = [(), (7,), (2, 3)]
# A dozen roundings of numbers of size 1 to 10.
TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-12}


def _quats(batch: tuple[int, ...], dtype: torch.dtype, seed: int = 0) -> Tensor:
    q = torch.randn(*batch, 4, dtype=dtype, generator=torch.Generator().manual_seed(seed))
    return q / q.norm(dim=-1, keepdim=True)


def _motions(batch: tuple[int, ...], dtype: torch.dtype, seed: int = 0) -> Tensor:
    translation = torch.randn(*batch, 3, dtype=dtype, generator=torch.Generator().manual_seed(seed + 100))
    return se3_from(rotation_from_quat(_quats(batch, dtype, seed)), translation)


def _close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b.expand_as(a), rtol=0, atol=TOLERANCE[a.dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", BATCHES)
class TestAxioms:
    def test_rotations_are_closed(self, batch: tuple[int, ...], dtype: torch.dtype) -> None:
        r = rotation_from_quat(_quats(batch, dtype)) @ rotation_from_quat(_quats(batch, dtype, 1))
        _close(r @ r.mT, torch.eye(3, dtype=dtype))
        _close(torch.linalg.det(r), torch.ones((), dtype=dtype))

    def test_quaternion_product_is_composition(self, batch: tuple[int, ...], dtype: torch.dtype) -> None:
        a, b = _quats(batch, dtype), _quats(batch, dtype, 1)
        _close(rotation_from_quat(quat_multiply(a, b)), rotation_from_quat(a) @ rotation_from_quat(b))

    def test_quaternion_and_rotation_are_bijective(self, batch: tuple[int, ...], dtype: torch.dtype) -> None:
        q = _quats(batch, dtype)
        _close(quat_from_rotation(rotation_from_quat(q)), torch.where(q[..., :1] < 0, -q, q))

    def test_log_undoes_exp(self, batch: tuple[int, ...], dtype: torch.dtype) -> None:
        direction = _quats(batch, dtype)[..., 1:]
        rotvec = 3.0 * direction / direction.norm(dim=-1, keepdim=True)  # below pi, where log is unique
        _close(so3_log(so3_exp(rotvec)), rotvec)

    def test_inverse(self, batch: tuple[int, ...], dtype: torch.dtype) -> None:
        a_from_b = _motions(batch, dtype)
        _close(se3_inverse(a_from_b) @ a_from_b, torch.eye(4, dtype=dtype))

    def test_composition_moves_points_in_turn(self, batch: tuple[int, ...], dtype: torch.dtype) -> None:
        a_from_b, b_from_c = _motions(batch, dtype), _motions(batch, dtype, 1)
        points = torch.randn(*batch, 5, 3, dtype=dtype, generator=torch.Generator().manual_seed(3))
        _close(
            transform_points(a_from_b @ b_from_c, points),
            transform_points(a_from_b, transform_points(b_from_c, points)),
        )


def test_half_turns_are_exact() -> None:
    for axis in torch.eye(3, dtype=torch.float64):
        r = so3_exp(math.pi * axis)
        _close(rotation_from_quat(quat_from_rotation(r)), r)
        assert abs(float(rotation_angle(r)) - math.pi) < 1e-7  # acos-free, but sin(pi) is 1e-16 and its root 1e-8


def test_a_zero_quaternion_is_the_identity() -> None:
    assert torch.equal(rotation_from_quat(torch.zeros(2, 4)), torch.eye(3).expand(2, 3, 3))


def test_exp_at_zero_has_the_right_gradient() -> None:
    rotvec = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    jacobian = torch.autograd.functional.jacobian(so3_exp, rotvec)
    for i, axis in enumerate(torch.eye(3, dtype=torch.float64)):
        _close(jacobian[..., i], skew(axis))
    assert torch.equal(se3_exp(torch.zeros(6)), torch.eye(4))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weighted", [False, True])
def test_alignment_recovers_a_similarity(dtype: torch.dtype, weighted: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(20, 3, dtype=dtype, generator=generator)
    truth = Similarity(
        torch.tensor(2.5, dtype=dtype),
        so3_exp(torch.tensor([0.3, -1.0, 0.5], dtype=dtype)),
        torch.tensor([1.0, 2.0, -3.0], dtype=dtype),
    )
    weights = torch.rand(20, dtype=dtype, generator=generator) + 0.1 if weighted else None
    found = align_similarity(truth(points), points, weights)
    for field in ("scale", "rotation", "translation"):
        _close(getattr(found, field), getattr(truth, field))
    _close(found.inverse()(truth(points)), points)


def test_alignment_never_mirrors() -> None:
    points = torch.randn(10, 3, generator=torch.Generator().manual_seed(1))
    found = align_similarity(points * torch.tensor([1.0, 1.0, -1.0]), points)
    assert torch.linalg.det(found.rotation) > 0.999  # a rotation up to rounding, whatever the data ask for


def test_alignment_ignores_points_of_no_weight() -> None:
    points = torch.randn(10, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    moved = points + 1.0
    moved[0] += 100
    weights = torch.ones(10, dtype=torch.float64)
    weights[0] = 0
    _close(align_similarity(moved, points, weights, with_scale=False).translation, torch.ones(3, dtype=torch.float64))


@pytest.mark.parametrize("n", [0, 2])
def test_alignment_needs_three_points(n: int) -> None:
    with pytest.raises(ValueError, match="N >= 3"):
        align_similarity(torch.zeros(n, 3), torch.zeros(n, 3))
