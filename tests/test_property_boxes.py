"""Boxes: corners, frames, containment and indexing obey what they are."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from fewview.scene.boxes import EDGES, Boxes
from fewview.scene.geometry import Similarity, se3_from, se3_inverse, so3_exp, transform_points
from hypothesis import given, settings
from hypothesis import strategies as st

NAMES = ("car", "person")


def _boxes(n: int = 5, seed: int = 0) -> Boxes:
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    return Boxes(
        20 * normal(n, 3),
        0.5 + 4 * torch.rand(n, 3, generator=g, dtype=torch.float64),
        torch.nn.functional.normalize(normal(n, 4), dim=-1),
        torch.randint(-1, 2, (n,), generator=g),
        NAMES,
        scores=torch.rand(n, generator=g, dtype=torch.float64),
        velocities=normal(n, 3),
        point_counts=torch.randint(0, 9, (n, 2), generator=g),
        attributes=tuple(f"a{i}" for i in range(n)),
        tokens=tuple(f"t{i}" for i in range(n)),
    )


def _motion(seed: int) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    return se3_from(
        so3_exp(torch.randn(3, generator=g, dtype=torch.float64)),
        10 * torch.randn(3, generator=g, dtype=torch.float64),
    )


def test_a_hand_made_box_has_its_corners_where_they_belong() -> None:
    """4 m long, 2 wide, 1 high, heading +y: its front is at larger y, its left at smaller x."""
    box = Boxes.upright(
        torch.tensor([[10.0, 20, 30]]),
        torch.tensor([[4.0, 2, 1]]),
        torch.tensor([math.pi / 2]),
        torch.tensor([0]),
        NAMES,
    )
    front_left_top, front_right_top, front_right_bottom = box.corners[0, :3]
    torch.testing.assert_close(front_left_top, torch.tensor([9.0, 22, 30.5]))
    torch.testing.assert_close(front_right_top, torch.tensor([11.0, 22, 30.5]))
    torch.testing.assert_close(front_right_bottom, torch.tensor([11.0, 22, 29.5]))
    torch.testing.assert_close(box.corners[0].mean(dim=0), box.centers[0])
    torch.testing.assert_close(box.segments[0, 12], torch.tensor([[10.0, 20, 29.5], [10.0, 22, 29.5]]))


def test_the_twelve_edges_are_four_of_each_size_and_all_different() -> None:
    boxes = _boxes()
    lengths = (boxes.segments[:, :12, 0] - boxes.segments[:, :12, 1]).norm(dim=-1).sort(dim=1).values
    torch.testing.assert_close(lengths, boxes.sizes.sort(dim=1).values.repeat_interleave(4, dim=1))
    assert len({frozenset(edge) for edge in EDGES}) == 12


@settings(max_examples=25, deadline=None)
@given(st.floats(-math.pi + 1e-6, math.pi))
def test_yaw_is_the_heading_from_x_to_y(yaw: float) -> None:
    one = torch.ones(1, 3, dtype=torch.float64)
    boxes = Boxes.upright(one, one, torch.tensor([yaw], dtype=torch.float64), torch.tensor([0]), NAMES)
    torch.testing.assert_close(boxes.yaws, torch.tensor([yaw], dtype=torch.float64), atol=1e-12, rtol=0)
    heading = torch.tensor([math.cos(yaw), math.sin(yaw), 0], dtype=torch.float64)
    torch.testing.assert_close(boxes.rotations[0, :, 0], heading)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_moving_moves_corners_and_velocities_and_comes_back(seed: int) -> None:
    boxes, a_from_b = _boxes(seed=seed), _motion(seed)
    moved = boxes.moved(a_from_b)
    expected = transform_points(a_from_b, boxes.corners.reshape(-1, 3)).reshape(-1, 8, 3)
    torch.testing.assert_close(moved.corners, expected, atol=1e-9, rtol=0)
    assert moved.velocities is not None
    torch.testing.assert_close(moved.velocities, boxes.velocities @ a_from_b[:3, :3].T)
    back = moved.moved(se3_inverse(a_from_b))
    torch.testing.assert_close(back.corners, boxes.corners, atol=1e-9, rtol=0)
    torch.testing.assert_close(back.velocities, boxes.velocities)


def test_a_similarity_scales_boxes_too() -> None:
    boxes, motion = _boxes(), _motion(3)
    similarity = Similarity(torch.tensor(2.5, dtype=torch.float64), motion[:3, :3], motion[:3, 3])
    moved = boxes.moved(similarity)
    torch.testing.assert_close(moved.corners, similarity(boxes.corners))
    torch.testing.assert_close(moved.sizes, 2.5 * boxes.sizes)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_contains_what_lies_between_the_faces(seed: int) -> None:
    boxes = _boxes(3, seed)
    g = torch.Generator().manual_seed(seed + 1)
    share = 4 * torch.rand(3, 20, 3, generator=g, dtype=torch.float64) - 2  # of the half sizes
    local = share * boxes.sizes[:, None] / 2
    for i in range(3):
        points = local[i] @ boxes.rotations[i].T + boxes.centers[i]
        assert boxes.contains(points)[i].tolist() == (share[i].abs() <= 1).all(dim=-1).tolist()
    assert boxes.contains(torch.zeros(0, 3)).shape == (3, 0)


def test_indexing_keeps_all_columns_together() -> None:
    boxes = _boxes()
    for index, rows in (
        (slice(1, 4), [1, 2, 3]),
        (torch.tensor([True, False, True, False, False]), [0, 2]),
        (torch.tensor([4, 0]), [4, 0]),
        (2, [2]),
        (np.array([3, 3]), [3, 3]),
    ):
        taken = boxes[index]
        assert taken.tokens == tuple(f"t{i}" for i in rows)
        assert taken.attributes == tuple(f"a{i}" for i in rows)
        for name in ("centers", "sizes", "quats", "labels", "scores", "velocities", "point_counts"):
            assert torch.equal(getattr(taken, name), getattr(boxes, name)[rows]), name


def test_cat_joins_and_drops_what_one_side_lacks() -> None:
    boxes = _boxes()
    joined = Boxes.cat([boxes[:2], boxes[2:]])
    assert joined.tokens == boxes.tokens
    assert torch.equal(joined.corners, boxes.corners)
    assert torch.equal(joined.point_counts, boxes.point_counts)
    bare = Boxes.empty(NAMES, torch.float64)
    assert Boxes.cat([boxes, bare]).scores is None
    assert len(Boxes.cat([boxes, bare])) == 5
    with pytest.raises(ValueError, match="equal class names"):
        Boxes.cat([boxes, Boxes.empty(("bus",))])


def test_dtype_changes_numbers_and_not_labels() -> None:
    small = _boxes().to(torch.float32)
    assert small.centers.dtype == small.velocities.dtype == torch.float32
    assert small.labels.dtype == small.point_counts.dtype == torch.int64


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sizes", torch.zeros(4, 3)),
        ("quats", torch.zeros(5, 3)),
        ("labels", torch.tensor([0, 0, 0, 0, 2])),
        ("labels", torch.tensor([0, 0, 0, 0, -2])),
        ("velocities", torch.zeros(5, 2)),
        ("tokens", ("a",)),
    ],
)
def test_columns_that_do_not_fit_are_refused(name: str, value: object) -> None:
    columns = {f: getattr(_boxes(), f) for f in Boxes.__dataclass_fields__}
    with pytest.raises(ValueError, match=name):
        Boxes(**{**columns, name: value})
