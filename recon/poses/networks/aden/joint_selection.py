"""Choice of one pose for each of N photographs: each by itself, or all of them so that every pair agrees."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .hypothesis_losses import rotation_distance
from .model import Aden
from .pose_targets import after, between, first_pose

TOP = 10  # hypotheses of each pair that are tried
ROUNDS = 8
# Log-probability below which a pair's opinion counts no less: two photographs without anything in common are certain
# of nothing, and must not outvote those that overlap.
FLOOR = math.log(0.1)
NEAR_DEG = 15.0  # hypotheses within this of the chosen pose are on its side


@dataclass(frozen=True)
class PairProposals:
    """Proposals for every ordered pair (a, b): poses of photograph b relative to a. Row a * N + b; a = b is unused."""

    network: Aden
    count: int  # N
    fused: Tensor  # [N * N, fused]
    poses: Tensor  # [N * N, M, 7]
    log_share: Tensor  # [N * N, M], log softmax over the proposals
    normaliser: Tensor  # [N * N], their log-sum-exp

    def top(self, a: int, b: int, count: int = TOP) -> Tensor:
        """The best [count, 7] poses of b relative to a."""
        row = a * self.count + b
        return self.poses[row, self.log_share[row].topk(min(count, self.log_share.shape[1])).indices]

    def score(self, a: int, b: int, poses: Tensor) -> Tensor:
        """Log-probabilities [c] of poses [c, 7] of b relative to a, over one proposal's even share, with a floor."""
        row = a * self.count + b
        logits = self.network.scorer(self.fused[row][None], poses[None])[0]
        even = logits - self.normaliser[row] + math.log(self.poses.shape[1])
        return torch.logaddexp(even, torch.full_like(even, FLOOR))

    def belief(self, a: int, b: int, pose: Tensor) -> float:
        """Share in [0, 1] of the proposals' probability within 15 degrees of a pose [7] of b relative to a."""
        row = a * self.count + b
        near = rotation_distance(self.poses[row, :, :4], pose[:4]) < math.radians(NEAR_DEG)
        return float(self.log_share[row].exp()[near].sum().clamp(0, 1))


@torch.no_grad()
def propose_pairs(
    network: Aden,
    tokens: Tensor,  # [N, places, channels]
    descriptors: Tensor,  # [N, 3]
    views: Sequence[int] | None = None,
) -> PairProposals:
    """Proposals for the ordered pairs of N photographs: all, or those that have one of `views` in them."""
    count = len(tokens)
    fused = torch.zeros(count * count, network.config.vector)
    poses = torch.zeros(count * count, network.config.hypotheses, 7)
    logits = torch.zeros(count * count, network.config.hypotheses)
    for a in range(count):
        others = [b for b in range(count) if b != a and (views is None or a in views or b in views)]
        if not others:
            continue
        sets = torch.tensor([[a, b] for b in others])
        rows = a * count + torch.tensor(others)
        fused[rows] = network.fusion(tokens[sets], descriptors[sets])[:, 0]
        poses[rows], logits[rows] = network.propose(fused[rows])
    return PairProposals(network, count, fused, poses, logits.log_softmax(-1), logits.logsumexp(-1))


@torch.no_grad()
def independent_poses(
    network: Aden,
    tokens: Tensor,  # [N, places, channels]
    descriptors: Tensor,  # [N, 3]
) -> Tensor:
    """Poses [N, 7] relative to the first photograph: of each other one the best of its proposals (the paper's way)."""
    fused = network.fusion(tokens[None], descriptors[None])[0]
    poses, logits = network.propose(fused)
    best = poses[torch.arange(len(poses)), logits.argmax(1)]
    return torch.cat([first_pose(best)[None], best])


@torch.no_grad()
def joint_poses(pairs: PairProposals) -> Tensor:
    """Poses [N, 7] relative to the first photograph that all pairs together find most likely.

    A spanning tree of the surest pairs, then coordinate ascent on the sum of the pairs' scores, where each photograph
    tries the best proposals of all others (as RelPose++ does with rotations alone).
    """
    placed = _spanning_tree(pairs)
    for _ in range(ROUNDS):
        changed = False
        for view in range(1, pairs.count):
            others = [other for other in range(pairs.count) if other != view]
            tried = [placed[view][None], *(after(pairs.top(other, view), placed[other]) for other in others)]
            candidates = torch.cat(tried)
            best = candidates[_support(pairs, placed, view, candidates, others).argmax()]
            changed = changed or not torch.equal(best, placed[view])
            placed[view] = best
        if not changed:
            break
    return placed


@torch.no_grad()
def pose_of_added(
    pairs: PairProposals,
    placed: Tensor,  # [N - 1, 7] of all photographs but the last, which stay where they are
) -> Tensor:
    """The pose [7] of the last photograph that its pairs with the others find most likely."""
    return ranked_poses_of_added(pairs, placed)[0][0]


@torch.no_grad()
def ranked_poses_of_added(pairs: PairProposals, placed: Tensor) -> tuple[Tensor, Tensor]:
    """Poses [c, 7] that the last photograph's pairs propose for it, and their support [c], the best first."""
    last, others = pairs.count - 1, list(range(pairs.count - 1))
    candidates = torch.cat([after(pairs.top(other, last), placed[other]) for other in others])
    support, order = _support(pairs, placed, last, candidates, others).sort(descending=True, stable=True)
    return candidates[order], support


def _support(pairs: PairProposals, placed: Tensor, view: int, candidates: Tensor, others: list[int]) -> Tensor:
    """Sum of the scores [c] of candidates [c, 7] for a photograph over its pairs with the others, in both orders."""
    total = torch.zeros(len(candidates))
    for other in others:
        total += pairs.score(other, view, between(candidates, placed[other]))
        total += pairs.score(view, other, between(placed[other].expand_as(candidates), candidates))
    return total


def _spanning_tree(pairs: PairProposals) -> Tensor:
    """Poses [N, 7] of one after the other, each by the pair with a placed one whose best proposal is the surest."""
    sure = pairs.log_share.max(1).values.view(pairs.count, pairs.count)
    placed = first_pose(pairs.poses).repeat(pairs.count, 1)
    inside, outside = [0], list(range(1, pairs.count))
    while outside:
        _, a, b = max((float(sure[a, b]), a, b) for a in inside for b in outside)
        placed[b] = after(pairs.top(a, b, 1)[0], placed[a])
        inside.append(b)
        outside.remove(b)
    return placed
