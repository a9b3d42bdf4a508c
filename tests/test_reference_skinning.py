"""Skinning by the native kernel against plain PyTorch and finite differences, and its known shapes."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from fewview.scene.geometry import quat_exp, quat_log, rotation_from_quat, so3_exp, so3_log
from fewview.scene.skinning import node_transforms, reference_skin, skin, symmetric
from support.native import isa as isa
from support.native import keep_threads as keep_threads
from torch import Tensor

COUNTS = [(1, 1, 1), (5, 3, 2), (67, 9, 4), (5000, 40, 4)]  # vertices, nodes, neighbours


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


def links(vertices: int, nodes: int, near: int) -> tuple[Tensor, Tensor]:
    """Random (index, weights); the weights of a vertex differ, so that its heaviest node is plain."""
    index = torch.stack(
        [torch.randperm(nodes, generator=torch.Generator().manual_seed(i))[:near] for i in range(vertices)]
    )
    weights = drawn(vertices, near, seed=2).abs() + torch.arange(near)
    return index.int(), weights / weights.sum(1, keepdim=True)


def inputs_of(vertices: int, nodes: int, near: int, channels: int) -> list[Tensor]:
    """Vertices, affine, duals, shares, values: turns of any size, so that antipodal quaternions meet."""
    affine, duals = node_transforms(drawn(nodes, 4), drawn(nodes, 3), 0.2 * drawn(nodes, 6), drawn(nodes, 3, seed=4))
    return [drawn(vertices, 3), affine, duals, drawn(nodes).sigmoid(), drawn(nodes, channels)]


def with_gradients(function, leaves: list[Tensor], dtype: torch.dtype, *fixed: Tensor, **options):
    """Outputs, and the gradients of a fixed mixture of them, in float64."""
    leaves = [t.to(dtype).clone().requires_grad_() for t in leaves]
    index, weights = fixed
    outputs = function(*leaves, index, weights.to(dtype), **options)
    sum((o * drawn(*o.shape, seed=9).to(o)).sum() for o in outputs).backward()
    return [o.detach().double() for o in outputs], [t.grad.double() for t in leaves]


@pytest.mark.parametrize("counts", COUNTS, ids=str)
@pytest.mark.parametrize(("channels", "offset", "antipodal"), [(0, 0.0, True), (3, 0.4, True), (2, 0.0, False)])
def test_reference_and_kernel_agree(
    isa: str, counts: tuple[int, int, int], channels: int, offset: float, antipodal: bool
) -> None:
    fixed = links(*counts)
    leaves = inputs_of(*counts, channels)
    options = {"offset": offset, "antipodal": antipodal}
    fast = with_gradients(skin, leaves, torch.float32, *fixed, **options)
    exact = with_gradients(reference_skin, leaves, torch.float64, *fixed, **options)
    for a, b in zip([*fast[0], *fast[1]], [*exact[0], *exact[1]], strict=True):
        # Sums of float32 products, divided by the squared length of a blended quaternion, which may be short: the
        # largest value bounds what rounding makes of all others.
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4 * max(1.0, float(b.abs().max()) if b.numel() else 1.0))


@pytest.mark.parametrize(("offset", "antipodal"), [(0.0, True), (0.4, True), (0.0, False)])
def test_gradient_by_finite_differences(offset: float, antipodal: bool) -> None:
    index, weights = links(6, 4, 3)
    leaves = [t.double().requires_grad_() for t in inputs_of(6, 4, 3, 2)]
    assert torch.autograd.gradcheck(
        lambda *t: reference_skin(*t, index, weights.double(), offset=offset, antipodal=antipodal), leaves
    )
    quats, shifts, strains = (drawn(3, n).double().requires_grad_() for n in (4, 3, 6))
    pivots = drawn(3, 3, seed=7).double()
    assert torch.autograd.gradcheck(lambda *t: node_transforms(*t, pivots), (quats, shifts, strains))


def test_reference_rotation_vectors() -> None:
    rotvec = torch.cat([3.0 * torch.nn.functional.normalize(drawn(20, 3).double(), dim=1), 1e-5 * drawn(5, 3).double()])
    torch.testing.assert_close(rotation_from_quat(quat_exp(rotvec)), so3_exp(rotvec), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(quat_log(quat_exp(rotvec)), rotvec, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(quat_log(-quat_exp(rotvec)), so3_log(so3_exp(rotvec)), rtol=1e-6, atol=1e-9)
    at_rest = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda r: quat_log(quat_exp(r)), at_rest)


SHARES = {"lbs": 1.0, "half": 0.5, "dqs": 0.0}


@pytest.mark.parametrize("share", SHARES.values(), ids=SHARES.keys())
@pytest.mark.parametrize("about_nodes", [False, True])
def test_property_one_rigid_motion_of_all_nodes_moves_all_alike(share: float, about_nodes: bool) -> None:
    index, weights = links(50, 8, 4)
    turn, shift = quat_exp(torch.tensor([0.4, -1.9, 0.8])), torch.tensor([0.3, -0.2, 1.1])
    pivots = drawn(8, 3) if about_nodes else None
    rotation = rotation_from_quat(turn)
    own = shift.expand(8, 3) if pivots is None else (pivots @ rotation.T + shift) - pivots
    affine, duals = node_transforms(turn.expand(8, 4), own, None, pivots)
    vertices = drawn(50, 3)
    moved, turns = skin(vertices, affine, duals, torch.full((8,), share), quat_log(turn).expand(8, 3), index, weights)
    torch.testing.assert_close(moved, vertices @ rotation.T + shift, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(so3_exp(turns), rotation.expand(50, 3, 3), rtol=1e-4, atol=1e-5)


def test_property_antipodal_quaternions_are_one_rotation() -> None:
    """The same motions with any signs of their quaternions; the released code tears what lies between two signs."""
    index, weights = links(60, 9, 4)
    turn = quat_exp(0.3 * drawn(9, 3))
    flipped = torch.where(torch.arange(9)[:, None] % 2 == 0, turn, -turn)
    rest = [drawn(9).sigmoid(), drawn(9, 2), index, weights]
    moved = {}
    for name, quats in (("as they are", turn), ("flipped", flipped)):
        affine, duals = node_transforms(quats, drawn(9, 3))
        moved[name] = skin(drawn(60, 3), affine, duals, *rest)[0]
        moved[f"{name}, released"] = skin(drawn(60, 3), affine, duals, *rest, antipodal=False)[0]
    torch.testing.assert_close(moved["flipped"], moved["as they are"], rtol=1e-4, atol=1e-5)
    assert float((moved["flipped, released"] - moved["as they are"]).abs().max()) > 0.5


def tube(angle: float, axis: int, shares: float, count: int = 41) -> tuple[Tensor, Tensor]:
    """(rest, moved) rings [count, 16, 3] along x from 0 to 1, carried by a node at each end, linearly.

    The node at 1 is turned by the angle about an axis through the tube's middle, the other stands.
    """
    x = torch.linspace(0, 1, count).double()
    around = torch.linspace(0, 2 * math.pi, 17)[:-1].double()
    ring = 0.1 * torch.stack([torch.zeros(16), around.cos(), around.sin()], dim=-1)
    rest = torch.stack([x, 0 * x, 0 * x], dim=-1)[:, None] + ring
    turns = torch.zeros(2, 3).double()
    turns[1, axis] = angle
    pivots = torch.tensor([[0.5, 0.0, 0.0]]).double().expand(2, 3)
    affine, duals = node_transforms(quat_exp(turns), torch.zeros(2, 3).double(), None, pivots)
    weights = torch.stack([1 - x, x], dim=1).repeat_interleave(16, 0)
    index = torch.tensor([[0, 1]]).int().expand(len(weights), 2)
    share = torch.full((2,), shares).double()
    moved, _ = skin(rest.reshape(-1, 3), affine, duals, share, turns[:, :0], index, weights)
    return rest, moved.reshape(rest.shape)


def test_property_twisted_tubes_collapse_by_linear_blending_alone() -> None:
    def radius(share: float) -> float:
        _, moved = tube(math.pi * 0.999, 0, share)  # at half a turn itself both ways round are as short
        return float(moved[20][:, 1:].norm(dim=1).mean())

    radii = [radius(share) for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert abs(radii[0] - 0.1) < 0.001  # dual quaternions keep it within 1 %
    assert radii[-1] < 0.01 * 0.1
    assert all(a > b for a, b in itertools.pairwise(radii))


def test_property_bent_tubes_bulge_by_dual_quaternions() -> None:
    """Outside of the joint dual quaternions lie farther out than linear blending, and the blend between them."""
    out = []
    for share in (1.0, 0.5, 0.0):
        _, moved = tube(math.pi / 2, 2, share)
        # The second half is turned towards +y about the middle, so the outside of the joint is -y and +x of it.
        direction = torch.tensor([1.0, -1.0, 0.0]).double() / math.sqrt(2)
        out.append(float(((moved[20] - torch.tensor([0.5, 0.0, 0.0])) @ direction).max()))
    assert out[0] < out[1] < out[2]


def test_property_dual_quaternions_move_each_vertex_rigidly() -> None:
    index, weights = (t[:1] for t in links(5, 6, 4))
    vertices, affine, duals, shares, values = (t.double() for t in inputs_of(1, 6, 4, 0))
    jacobian = torch.autograd.functional.jacobian(
        lambda v: reference_skin(v, affine, duals, 0 * shares, values, index, weights.double())[0][0], vertices
    )[:, 0]
    torch.testing.assert_close(jacobian @ jacobian.T, torch.eye(3).double(), rtol=1e-9, atol=1e-9)
    assert abs(float(torch.det(jacobian)) - 1) < 1e-9


def test_property_strain_stretches_what_is_blended_linearly() -> None:
    index, weights = links(30, 5, 3)
    strain = torch.tensor([0.2, 0, 0, 0, 0, 0]).expand(5, 6)
    unmoved = torch.tensor([1.0, 0, 0, 0]).expand(5, 4)
    affine, duals = node_transforms(unmoved, torch.zeros(5, 3), strain)
    vertices = drawn(30, 3)
    rest = (torch.zeros(5, 0), index, weights)
    stretched, _ = skin(vertices, affine, duals, torch.ones(5), *rest)
    torch.testing.assert_close(stretched, vertices * torch.tensor([1.2, 1, 1]), rtol=1e-5, atol=1e-6)
    rigid, _ = skin(vertices, affine, duals, torch.zeros(5), *rest)
    torch.testing.assert_close(rigid, vertices, rtol=1e-5, atol=1e-6)
    six = torch.arange(6.0)
    assert torch.equal(symmetric(six), torch.tensor([[0.0, 3, 4], [3, 1, 5], [4, 5, 2]]))


def test_property_the_share_is_cut_at_one_and_learns_below_it() -> None:
    index, weights = links(20, 4, 2)
    for shares, learns in ((0.9, False), (0.2, True)):
        leaves = [t.requires_grad_() for t in inputs_of(20, 4, 2, 0)[:3]]
        share = torch.full((4,), shares, requires_grad=True)
        moved, _ = skin(*leaves, share, torch.zeros(4, 0), index, weights, offset=0.4)
        moved.square().sum().backward()
        assert share.grad is not None
        assert bool((share.grad != 0).any()) == learns


def test_malformed_links_are_refused_before_anything_is_read() -> None:
    index, weights = links(5, 4, 2)
    leaves = inputs_of(5, 4, 2, 1)
    with pytest.raises(ValueError, match="from 0 to 3, found 4"):
        skin(*leaves, torch.where(index == 3, 4, index).int(), weights)
    with pytest.raises(ValueError, match=r"expected shape \[4, 8\]"):
        skin(*leaves[:2], leaves[2][:, :7], *leaves[3:], index, weights)
