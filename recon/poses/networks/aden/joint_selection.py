"""Choice of one pose for each of N photographs: each by itself, or all of them so that every pair agrees."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .hypothesis_losses import rotation_distance
from .model import Aden
from .pose_evidence import PoseEvidence
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
    # Of each row in use; empty where the network takes none.
    evidence: Mapping[int, PoseEvidence] = field(default_factory=dict)

    def top(self, a: int, b: int, count: int = TOP) -> Tensor:
        """The best [count, 7] poses of b relative to a."""
        row = a * self.count + b
        return self.poses[row, self.log_share[row].topk(min(count, self.log_share.shape[1])).indices]

    def scores(
        self,
        pairs: Sequence[tuple[int, int]],  # k pairs (a, b)
        poses: Tensor,  # [k, c, 7] of b relative to a
    ) -> Tensor:
        """Log-probabilities [k, c] of poses of each pair, over one proposal's even share, with a floor."""
        rows = [a * self.count + b for a, b in pairs]
        told = PoseEvidence.cat([self.evidence[row] for row in rows]) if self.evidence else None
        logits = self.network.scorer(self.fused[rows], poses, told)
        even = logits - self.normaliser[rows][:, None] + math.log(self.poses.shape[1])
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
    evidence: dict[int, PoseEvidence] = {}
    features = network.fusion.features(tokens[None])[0]
    for a in range(count):
        others = [b for b in range(count) if b != a and (views is None or a in views or b in views)]
        if not others:
            continue
        sets = torch.tensor([[a, b] for b in others])
        rows = a * count + torch.tensor(others)
        vectors, places = network.fusion.compare(features[sets], descriptors[sets])
        fused[rows] = vectors[:, 0]
        told = None if places is None else PoseEvidence.of(places)
        poses[rows], logits[rows] = network.propose(fused[rows], told)
        if told is not None:
            evidence |= {int(row): told[number : number + 1] for number, row in enumerate(rows)}
    return PairProposals(network, count, fused, poses, logits.log_softmax(-1), logits.logsumexp(-1), evidence)


@torch.no_grad()
def independent_poses(
    network: Aden,
    tokens: Tensor,  # [N, places, channels]
    descriptors: Tensor,  # [N, 3]
) -> Tensor:
    """Poses [N, 7] relative to the first photograph: of each other one the best of its proposals (the paper's way)."""
    fused, places = network.fusion.with_places(tokens[None], descriptors[None])
    poses, logits = network.propose(fused[0], None if places is None else PoseEvidence.of(places))
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
    there = [between(candidates, placed[other]) for other in others]
    back = [between(placed[other].expand_as(candidates), candidates) for other in others]
    rows = [*((other, view) for other in others), *((view, other) for other in others)]
    return pairs.scores(rows, torch.stack([*there, *back])).sum(0)


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
