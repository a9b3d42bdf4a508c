"""Evidence of a rotation in places, against plain loops, and on an object that is known all round."""

from __future__ import annotations

import math

import numpy as np
import torch
from fewview.recon.poses.networks.aden import pose_evidence
from fewview.recon.poses.networks.aden.place_matching import Places, centres
from fewview.recon.poses.networks.aden.pose_evidence import NUMBERS, PoseEvidence
from fewview.scene.geometry import so3_exp
from support.threads import one_torch_thread as one_torch_thread
from torch import Tensor

GRID = 8
COUNT = GRID * GRID


def places_of(points: Tensor, solid: Tensor, similar: Tensor, nowhere: float = 1.0) -> Places:
    """Places [1, 2, COUNT] of given points, logits of being solid, and logits of matches [COUNT, COUNT]."""
    similar, out = similar[None, None], torch.tensor(nowhere)
    there = torch.logaddexp(similar.logsumexp(-1, keepdim=True), out)
    back = torch.logaddexp(similar.logsumexp(-2, keepdim=True), out)
    return Places(points[None], solid[None], similar, there, back, out)


def some_places(seed: int = 0) -> Places:
    g = torch.Generator().manual_seed(seed)
    points = torch.cat([centres(GRID).expand(2, COUNT, 2), torch.zeros(2, COUNT, 1)], -1)
    points = points + 0.3 * torch.randn(2, COUNT, 3, generator=g)
    return places_of(points, torch.randn(2, COUNT, generator=g), 3 * torch.randn(COUNT, COUNT, generator=g))


def plain_numbers(places: Places, rotation: np.ndarray) -> list[float]:
    """The nine numbers of one rotation by loops over matches and places, in float64."""
    points = places.points[0].double().numpy()
    solid = places.solid[0].double().sigmoid().numpy()
    sure = places.sure[0, 0].double().numpy()
    surest = sorted(np.ndindex(COUNT, COUNT), key=lambda pair: -sure[pair])[: pose_evidence.MATCHES]
    weights = np.array([sure[pair] for pair in surest])
    apart = np.array([points[1, other] - rotation @ points[0, first] for other, first in surest])
    shift = (weights[:, None] * apart).sum(0) / (weights.sum() + pose_evidence.ANCHOR)
    for _ in range(pose_evidence.ROUNDS):
        w = weights / (1 + ((apart - shift) ** 2).sum(1) / pose_evidence.FAR**2) ** 2
        shift = (w[:, None] * apart).sum(0) / (w.sum() + pose_evidence.ANCHOR)
    off = ((apart - shift) ** 2).sum(1)
    found = [
        (weights / (1 + off / limit**2) ** 2).sum() / weights.sum() for limit in (pose_evidence.NEAR, pose_evidence.FAR)
    ]
    found.append(math.log1p(weights.sum()) / 3)
    for source, turn, move in ((0, rotation, shift), (1, rotation.T, -rotation.T @ shift)):
        there = 1 - source
        z, at = points[there, :, 2:], centres(GRID).double().numpy()
        lever = z * at * solid[there][:, None]
        bend = ((points[there, :, :2] - at) * lever * solid[there][:, None]).sum() / max((lever**2).sum(), 1e-3)
        bend = min(max(bend, 0.0), pose_evidence.MOST_PERSPECTIVE)
        mass = fallen = seen = alike = 0.0
        for place in range(COUNT):
            if (place // GRID + place % GRID) % 2:
                continue
            mass += solid[source, place]
            x, y, z_there = turn @ points[source, place] + move
            near = 1 / max(1 + bend * z_there, 0.2)
            column, row = (math.floor((v * near + 1) * GRID / 2) for v in (x, y))
            if not (0 <= column < GRID and 0 <= row < GRID):
                continue
            target = row * GRID + column
            hit = solid[source, place] * solid[there, target]
            visible = hit * math.exp(-(((points[there, target, 2] - z_there) / pose_evidence.DEEP) ** 2))
            first, other = (place, target) if source == 0 else (target, place)
            odds = float(places.similar[0, 0, other, first]) - float(places.nowhere)
            fallen += hit
            seen += visible
            alike += visible * min(max(odds / pose_evidence.MOST_ALIKE, -1), 1)
        found += [fallen / mass, seen / mass, 2 * alike / mass]
    return [number * (1 if index == 2 else pose_evidence.TENTHS) for index, number in enumerate(found)]


def test_numbers_are_those_of_plain_loops() -> None:
    places = some_places()
    turns = so3_exp(torch.randn(5, 3, generator=torch.Generator().manual_seed(3)))
    found = PoseEvidence.of(places).numbers(turns[None])[0]
    assert found.shape == (5, NUMBERS)
    for row, turn in zip(found, turns, strict=True):
        # A place on the border of two cells may fall on either in float32; none of these does.
        assert np.allclose(row.numpy(), plain_numbers(places, turn.double().numpy()), atol=2e-3)


def ball_seen_from(turn: Tensor) -> tuple[Tensor, Tensor]:
    """Points [COUNT, 3] in the camera's axes of a ball that fills the crop, and in the ball's own; NaN for none."""
    at = centres(GRID)
    inside = at.square().sum(1) < 0.85
    depth = -(1 - at.square().sum(1)).clamp_min(0).sqrt()
    seen = torch.cat([at, depth[:, None]], 1)
    return seen, torch.where(inside[:, None], seen @ turn, torch.nan)


def test_true_matches_of_a_ball_tell_the_turn_from_others() -> None:
    first, turn = torch.eye(3), so3_exp(torch.tensor([0.1, 0.6, -0.1]))
    (seen_a, own_a), (seen_b, own_b) = ball_seen_from(first), ball_seen_from(turn)
    apart = torch.cdist(own_b.nan_to_num(9.0), own_a.nan_to_num(-9.0))
    similar = 6.0 - 25 * apart.clamp(max=0.6)
    solid = torch.stack([~own_a[:, 0].isnan(), ~own_b[:, 0].isnan()]).float() * 20 - 10
    evidence = PoseEvidence.of(places_of(torch.stack([seen_a, seen_b]), solid, similar))
    others = so3_exp(torch.tensor([[0.1, 0.1, -0.1], [0.1, 1.2, -0.1], [0.7, 0.6, -0.1], [0.1, -0.6, 0.1]]))
    near, far, _, *of_places = evidence.numbers(torch.cat([turn[None], others])[None])[0].T
    for number in (near, far, of_places[2], of_places[5]):
        assert bool((number[0] > number[1:] + 0.5).all()), number


def test_pairs_do_not_change_each_other_and_can_be_taken_apart() -> None:
    a, b = PoseEvidence.of(some_places(0)), PoseEvidence.of(some_places(1))
    both = PoseEvidence.cat([a, b])
    turns = so3_exp(torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(5)))
    together = both.numbers(turns)
    assert torch.allclose(together[1:], b.numbers(turns[1:]), atol=1e-6)
    assert torch.allclose(both[:1].numbers(turns[:1]), together[:1], atol=1e-6)
