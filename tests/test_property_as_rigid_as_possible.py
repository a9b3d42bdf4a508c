"""The deformation of control points: what is held is reached, what is rigid stays rigid, and what is apart stays so."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from fewview.scene.edit.as_rigid_as_possible import AsRigidAsPossible, Deformation, stretch
from fewview.scene.edit.control_graph import ControlGraph, euclidean_graph, ring_graph, rings, trajectory_graph
from fewview.scene.errors import BadInputError
from fewview.scene.fitted_rotations import fitted_rotations
from fewview.scene.geometry import so3_exp
from support.dragged_scenes import ELBOW, LENGTH, bent, crossing_balls, tube

TURN = so3_exp(torch.tensor([0.5, -0.9, 0.7], dtype=torch.float64))
SHIFT = torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64)


@pytest.fixture
def points() -> torch.Tensor:
    return tube(8, 24).double()


def solver_on(points: torch.Tensor, held: torch.Tensor, graph: ControlGraph | None = None) -> AsRigidAsPossible:
    graph = euclidean_graph(points) if graph is None else graph
    return AsRigidAsPossible(points, graph.index, graph.weights, held)


def dense_weights(graph: ControlGraph) -> torch.Tensor:
    return torch.zeros(len(graph), len(graph), dtype=torch.float64).scatter_add(1, graph.index, graph.weights)


def plain_solve(points, weights, held, places, iterations=3):
    """The definition with dense matrices and loops, from the rest: an oracle that shares no code with the solver."""
    size = len(points)
    free = [i for i in range(size) if i not in held.tolist()]
    operator = torch.eye(size, dtype=torch.float64) - weights
    both = weights + weights.T
    system = both.sum(1).diag() - both

    x = torch.zeros_like(points)
    x[held] = places
    right = operator @ points - operator[:, held] @ places
    x[free] = torch.linalg.lstsq(operator[:, free], right, driver="gelsd").solution
    for _ in range(iterations):
        r = []
        for i in range(size):
            spread = sum(weights[i, j] * torch.outer(x[i] - x[j], points[i] - points[j]) for j in range(size))
            u, _, vt = torch.linalg.svd(spread)
            r.append(u @ torch.diag(torch.tensor([1, 1, float(torch.det(u @ vt))], dtype=torch.float64)) @ vt)
        b = [
            sum((weights[i, j] * r[i] + weights[j, i] * r[j]) @ (points[i] - points[j]) for j in range(size))
            for i in range(size)
        ]
        right = torch.stack(b) - system[:, held] @ places
        x[free] = torch.linalg.solve(system[free][:, free], right[free])
    return x


def test_it_is_the_definition_written_out() -> None:
    points = tube(6, 12).double()
    graph = euclidean_graph(points, 8)
    held = torch.tensor([0, 2, 4, 68, 70])
    places = points[held] + torch.tensor([0.0, 0.3, -0.1], dtype=torch.float64) * (held > 10)[:, None]
    ours = solver_on(points, held, graph).solve(places).points
    # The solver's ridge is 1e-9 of the system, whose conditioning on so few points is below 1e4.
    torch.testing.assert_close(ours, plain_solve(points, dense_weights(graph), held, places), rtol=0, atol=1e-5)


def test_handles_at_rest_leave_all_at_rest(points) -> None:
    held = torch.tensor([0, 5, 100, 191])
    for start in (None, points):
        found = solver_on(points, held).solve(points[held], start)
        torch.testing.assert_close(found.points, points, rtol=0, atol=1e-9)  # double precision through three solves
        torch.testing.assert_close(found.rotations, torch.eye(3).double().expand_as(found.rotations), rtol=0, atol=1e-6)


def test_handles_are_reached_exactly(points) -> None:
    held = torch.tensor([7, 3, 180])  # in no order
    places = points[held] + SHIFT
    places[0] += 0.2
    found = solver_on(points, held).solve(places, points)
    assert torch.equal(found.points[held], places)


def test_a_rigid_motion_of_three_groups_moves_all_rigidly(points) -> None:
    near = ring_graph(points)
    held = torch.cat([rings(near, torch.tensor([c]), 1) for c in (0, 92, 188)])
    expected = points @ TURN.T + SHIFT
    solver = solver_on(points, held)
    found = Deformation.at_rest(points)
    for i in range(1, 11):  # as a hand would drag it
        step = so3_exp(i / 10 * torch.tensor([0.5, -0.9, 0.7], dtype=torch.float64))
        found = solver.solve(points[held] @ step.T + i / 10 * SHIFT, found.points)
    for _ in range(300):  # iterations go on while it is held
        found = solver.solve(expected[held], found.points)
    # Each solve takes a constant share off the error; after 300 of them only rounding and the ridge are left.
    torch.testing.assert_close(found.points, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.rotations, TURN.expand_as(found.rotations), rtol=0, atol=1e-4)
    assert solver.energy(found) < 1e-9


def symmetric(graph: ControlGraph) -> tuple[torch.Tensor, torch.Tensor]:
    """(index, weights) of the graph's weights made symmetric and doubly stochastic."""
    weights = dense_weights(graph)
    weights = weights + weights.T
    for _ in range(2000):  # Sinkhorn, the same factor for rows and columns
        scale = weights.sum(1).rsqrt()
        weights = scale[:, None] * weights * scale
    return torch.arange(len(graph)).expand(len(graph), -1), (weights + weights.T) / 2


@pytest.mark.parametrize("weights", ["symmetric", "directed"])
@pytest.mark.parametrize("mode", ["from_init", "iterative"])
@pytest.mark.parametrize("angle", [0.3, 2.0])
def test_the_energy_does_not_rise_over_the_iterations(points, weights, mode, angle) -> None:
    graph = euclidean_graph(points)
    index, weights = symmetric(graph) if weights == "symmetric" else (graph.index, graph.weights)
    held = ((points[:, 2] < 0.3) | (points[:, 2] > 1.7)).nonzero()[:, 0]
    places = bent(points.float(), angle)[0].double()[held]
    solver = AsRigidAsPossible(points, index, weights, held)
    start = points if mode == "iterative" else None
    energies = [solver.energy(solver.solve(places, start, n)) for n in range(10)]
    # Held points enter float32 places, and the ridge adds 1e-9: far below a millionth.
    assert all(b <= a * (1 + 1e-6) for a, b in itertools.pairwise(energies)), energies
    assert energies[-1] < energies[0]


def test_a_global_step_is_the_one_of_the_paper_where_weights_are_symmetric(points) -> None:
    index, weights = symmetric(euclidean_graph(points))
    held = torch.tensor([0, 50, 191])
    places = points[held] + torch.tensor([[0.0, 0, 0], [0.1, 0, 0], [0.0, 0.2, 0.1]], dtype=torch.float64)
    solver = AsRigidAsPossible(points, index, weights, held)
    before = solver.solve(places, points, 1)
    found = solver.solve(places, before.points, 1).points
    r = before.rotations
    edges = points[:, None] - points[None]
    b = torch.einsum("ij,ijab,ijb->ia", weights, (r[:, None] + r[None]) / 2, edges)
    free = torch.ones(len(points), dtype=torch.bool)
    free[held] = False
    left = (torch.eye(len(points), dtype=torch.float64) - weights) @ found - b
    torch.testing.assert_close(left[free], torch.zeros_like(left[free]), rtol=0, atol=1e-8)


def test_a_bent_limb_keeps_the_length_of_its_edges(points) -> None:
    """The tube's lower part rests and its end is turned by 45 degrees: edges change by less than 5 % on average."""
    graph = euclidean_graph(points)
    low, high = (points[:, 2] < 0.5).nonzero()[:, 0], (points[:, 2] > 1.7).nonzero()[:, 0]
    held = torch.cat([low, high])
    solver = solver_on(points, held, graph)
    found = Deformation.at_rest(points)
    for i in range(1, 10):
        led, _ = bent(points.float(), i / 9 * math.pi / 4)
        found = solver.solve(torch.cat([points[low], led[high].double()]), found.points)
    naive = points.clone()
    naive[held] = found.points[held]
    pairs = graph.edges()
    mean, most = stretch(points, found.points, pairs)
    torn_mean, torn = stretch(points, naive, pairs)
    assert mean < 0.05
    assert most < torn / 5  # without the solve the end is torn off
    assert mean < torn_mean


def test_a_reflection_is_no_rigid_motion(points) -> None:
    mirror = torch.diag(torch.tensor([-1.0, 1, 1], dtype=torch.float64))
    solver = solver_on(points, torch.tensor([0]))
    mirrored = points @ mirror
    rotations = solver.rotations(mirrored)
    torch.testing.assert_close(torch.linalg.det(rotations), torch.ones(len(points), dtype=torch.float64))
    assert (
        solver.energy(Deformation(mirrored, rotations)) > 0.01
    )  # rows sum to one: about (edge length)^2 for each point
    moved = points @ TURN.T
    assert solver.energy(Deformation(moved, solver.rotations(moved))) < 1e-12


def test_what_lies_on_a_line_turns_without_a_twist() -> None:
    line = torch.arange(1, 5, dtype=torch.float64)[:, None] * torch.tensor([1.0, 0, 0], dtype=torch.float64)
    for angle in (0.0, 0.4, 2.5):
        turn = so3_exp(angle * torch.tensor([0.0, 0, 1], dtype=torch.float64))
        found = fitted_rotations(line[None], (line @ turn.T)[None], torch.ones(1, 4, dtype=torch.float64))[0]
        torch.testing.assert_close(found, turn, rtol=0, atol=1e-4)  # the prior is 1e-9, its root where it alone decides
    none = fitted_rotations(torch.zeros(1, 4, 3).double(), torch.zeros(1, 4, 3).double(), torch.ones(1, 4).double())
    torch.testing.assert_close(none[0], torch.eye(3).double())


def test_a_part_that_nothing_holds_stays_where_it_is(points) -> None:
    far = torch.cat([points, points + 100])
    held = torch.tensor([0, 191])
    places = far[held] + torch.tensor([[0.0, 0, 0], [0.0, 0.3, 0]], dtype=torch.float64)
    found = solver_on(far, held).solve(places, far)
    # Rounding of coordinates of 100, 1e-14, over the ridge of 1e-9, for each of some solves.
    torch.testing.assert_close(found.points[192:], far[192:], rtol=0, atol=1e-4)
    assert float((found.points[:192] - far[:192]).norm(dim=-1).max()) > 0.2


def test_from_the_start_the_way_does_not_matter_and_going_on_it_does(points) -> None:
    held = ((points[:, 2] < 0.3) | (points[:, 2] > 1.7)).nonzero()[:, 0]
    places = [bent(points.float(), angle)[0].double()[held] for angle in (0.5, 1.5, 0.5)]
    solver = solver_on(points, held)
    first = solver.solve(places[0])
    solver.solve(places[1])
    assert torch.equal(solver.solve(places[2]).points, first.points)
    went = Deformation.at_rest(points)
    visited = []
    for target in places:
        went = solver.solve(target, went.points)
        visited.append(went.points)
    assert float((visited[2] - visited[0]).norm(dim=-1).max()) > 1e-3  # a thousandth of the limb's radius is 2e-4


# -- the graph ----------------------------------------------------------------------------------------------------


def test_balls_that_cross_are_not_joined_and_in_space_alone_they_are() -> None:
    motion = crossing_balls().motion
    trajectories = torch.stack([motion.points_at(t) for t in torch.linspace(0, 1, 16).tolist()])
    middle = motion.points_at(0.5)
    half = len(middle) // 2
    of = torch.arange(len(middle)) // half
    pairs = trajectory_graph(trajectories, middle).edges()
    assert len(pairs) > 100
    assert bool((of[pairs[:, 0]] == of[pairs[:, 1]]).all())
    pairs = euclidean_graph(middle).edges()
    assert int((of[pairs[:, 0]] != of[pairs[:, 1]]).sum()) > 50


def test_neighbours_beyond_the_ball_go_but_for_three() -> None:
    cluster = 0.01 * torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    points = torch.cat([cluster, torch.tensor([[10.0, 0, 0]])])
    graph = euclidean_graph(points)
    assert int((graph.weights[-1] > 0).sum()) == 3
    torch.testing.assert_close(graph.weights.sum(-1), torch.ones(21, dtype=torch.float64))
    assert bool(graph.weights.isfinite().all())
    assert 20 not in graph.index[:-1][graph.weights[:-1] > 0].tolist()


def test_rows_are_the_formula() -> None:
    points = torch.rand(30, 3, generator=torch.Generator().manual_seed(3)) / torch.tensor([1.0, 20, 20])
    graph = euclidean_graph(points, 5)
    square = torch.cdist(points.double(), points.double())[4].square().sort().values[1:6]
    kept = square.sqrt() <= float((points.amax(0) - points.amin(0)).norm()) / 8
    kept[:3] = True
    expected = torch.where(kept, (-square / square[kept].mean()).exp(), 0.0)
    torch.testing.assert_close(graph.weights[4], expected / expected.sum())


def test_rings_grow_step_by_step() -> None:
    line = torch.stack([torch.arange(30.0), torch.zeros(30), torch.zeros(30)], dim=-1)
    near = ring_graph(line)
    assert rings(near, torch.tensor([15]), 0).tolist() == [15]
    assert rings(near, torch.tensor([15]), 1).tolist() == [13, 14, 15, 16, 17]
    assert rings(near, torch.tensor([15]), 2).tolist() == list(range(11, 20))
    assert rings(near, torch.tensor([3, 20]), 0).tolist() == [3, 20]


def test_copies_of_a_point_are_neighbours_and_never_ones_own() -> None:
    points = torch.zeros(6, 3)
    points[5] = 1
    graph = euclidean_graph(points)
    assert not bool((graph.index == torch.arange(6)[:, None]).any())
    assert bool(graph.weights.isfinite().all())


@pytest.mark.parametrize(
    ("points", "sentence"),
    [
        (torch.zeros(1, 3), "1 control points"),
        (torch.zeros(5, 3), "in one place"),
        (torch.full((5, 3), torch.nan), "no finite place"),
        (torch.rand(5001, 3), "5,001 control points"),
    ],
)
def test_points_without_a_graph_are_one_sentence(points, sentence) -> None:
    with pytest.raises(BadInputError, match=sentence):
        euclidean_graph(points)


def test_the_elbow_of_the_fixture_is_in_the_middle() -> None:
    assert ELBOW == LENGTH / 2
