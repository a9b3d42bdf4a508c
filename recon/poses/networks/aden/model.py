"""The ADen network on tokens of a frozen backbone: a generator of poses and a discriminator between them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .....scene.geometry import rotation_from_quat
from .config import TURN, AdenConfig
from .hypothesis_losses import rotation_distance
from .place_matching import Places
from .pose_evidence import NUMBERS, PoseEvidence
from .view_fusion import ViewFusion, encode_octaves

POSE_OCTAVES = 8
SMOOTH_OCTAVES = 3
MOST_LEANING = 4.0
START_WEIGHT = 0.3  # of each number of evidence, all of which speak for a pose
POSE_NUMBERS = 12  # of a rotation matrix and a translation


@dataclass(frozen=True)
class Proposals:
    """A step's view of the poses that the network proposes for V photographs, and of the true ones."""

    winners: Tensor  # [V, k, 7] the proposals nearest to the truth in rotation, the nearest first; with gradient
    truth: Tensor  # [V, 7]
    poses: Tensor  # [V, m, 7] all that were proposed, without gradient
    candidates: Tensor  # [V, c (+ others), 7] those that were judged, and poses by chance
    logits: Tensor  # [V, 1 + c (+ others)] of the truth and of the candidates
    winning_query: Tensor  # [V] int64
    places: Places | None  # that the poses were read from


@dataclass(frozen=True)
class Chance:
    """Chance and width of one training step, drawn by the training."""

    queries: Tensor  # [m] int64, which of the M take part
    noise: Tensor  # [V, m, query_width] added to them
    winners: int  # k
    others: Tensor | None  # [V, o, 7] further negatives
    judged: int | None = None  # c, how many of the proposals the discriminator judges, a third of them the nearest

    def to(self, device: torch.device) -> Chance:
        others = None if self.others is None else self.others.to(device)
        return Chance(self.queries.to(device), self.noise.to(device), self.winners, others, self.judged)


class Aden(nn.Module):
    """Fusion, generator and discriminator; the backbone is not part of it, so that its tokens can be kept."""

    def __init__(self, config: AdenConfig, channels: int) -> None:
        super().__init__()
        self.config = config
        self.fusion = ViewFusion(config, channels)
        self.generator = Generator(config)
        self.scorer = PoseScorer(
            config.vector, config.scorer_width, has_turn=config.trunk > 0, has_evidence=config.trunk > 0
        )

    def forward(
        self,
        tokens: Tensor,  # [B, N, grid * grid, channels]
        descriptors: Tensor,  # [B, N, 3]
        truth: Tensor,  # [B, N - 1, 7]
        chance: Chance,  # with V = B * (N - 1)
    ) -> Proposals:
        """Proposals for V = B * (N - 1) photographs; only the winners are made with gradient."""
        fused, places = self.fusion.with_places(tokens, descriptors)
        evidence = None if places is None else PoseEvidence.of(places)
        with torch.autocast(tokens.device.type, enabled=False):  # the octaves of poses need float32
            return self._proposals(fused.flatten(0, 1), truth.flatten(0, 1), chance, places, evidence)

    def _proposals(
        self, fused: Tensor, truth: Tensor, chance: Chance, places: Places | None, evidence: PoseEvidence | None
    ) -> Proposals:
        with torch.no_grad():
            poses = self.generator(fused, chance.queries, chance.noise)
            distance = rotation_distance(poses[..., :4], truth[:, None, :4])
            nearest = distance.topk(chance.winners, dim=1, largest=False).indices
            judged = poses if chance.judged is None else _hard_and_any(poses, distance, chance.judged)
        views = torch.arange(len(fused), device=fused.device)[:, None]
        queries, noise = chance.queries[nearest], chance.noise[views, nearest]
        winners = self.generator(fused, queries, noise)
        candidates = judged if chance.others is None else torch.cat([judged, chance.others], dim=1)
        logits = self.scorer(fused, torch.cat([truth[:, None], candidates], dim=1), evidence)
        return Proposals(winners, truth, poses, candidates, logits, queries[:, 0], places)

    def propose(
        self,
        fused: Tensor,  # [V, vector]
        evidence: PoseEvidence | None = None,  # of the same pairs, where the network takes it
    ) -> tuple[Tensor, Tensor]:
        """All poses [V, M, 7] without noise and their logits [V, M]; the same every time."""
        queries = torch.arange(self.config.hypotheses, device=fused.device)
        poses = self.generator(fused, queries, None)
        return poses, self.scorer(fused, poses, evidence)


def _hard_and_any(poses: Tensor, distance: Tensor, count: int) -> Tensor:
    """Some [V, count, 7] of poses [V, m, 7]: a third are the nearest to the truth, the others the first ones of all.

    Which queries come first is chance, and a pose says nothing about which of the two it was chosen by.
    """
    near = distance.topk(count // 3, dim=1, largest=False).indices
    hard = poses.gather(1, near[..., None].expand(-1, -1, poses.shape[-1]))
    return torch.cat([hard, poses[:, : count - count // 3]], dim=1)


class Generator(nn.Module):
    """Queries and a photograph's vector in, poses out."""

    def __init__(self, config: AdenConfig) -> None:
        super().__init__()
        width = config.generator_width
        self.queries = nn.Parameter(torch.randn(config.hypotheses, config.query_width))
        # Each query starts at a pose of its own, or most of them would never be the nearest to anything.
        self.base = nn.Parameter(torch.cat([torch.randn(config.hypotheses, 4), torch.zeros(config.hypotheses, 3)], 1))
        self.from_query = nn.Linear(config.query_width, width)
        self.from_view = nn.Linear(config.vector, 2 * width)
        self.hidden = nn.Sequential(nn.GELU(), nn.Linear(width, width), nn.GELU())
        self.out = nn.Linear(width, 7)
        # How much a query leans on the turn that the matches give: half of them not at all, at first, others nearly so.
        self.lean, self.more_lean = None, None
        if config.trunk:
            start = torch.linspace(-MOST_LEANING, MOST_LEANING, config.hypotheses).clamp_min(0)
            self.lean, self.more_lean = nn.Parameter(start), nn.Linear(width, 1)
        with torch.no_grad():
            self.base[:, :4] /= self.base[:, :4].norm(dim=1, keepdim=True)
            self.base[:, 6] = 1
            self.out.weight.mul_(0.5)
            self.out.bias.zero_()

    @torch.no_grad()
    def start_at(self, poses: Tensor) -> None:
        """Set the poses [M, 7] from which the queries start, such as ones drawn from the training data."""
        self.base.copy_(poses)

    def forward(
        self,
        fused: Tensor,  # [V, vector]
        queries: Tensor,  # [m] or [V, m] int64
        noise: Tensor | None,  # [V, m, query_width]
    ) -> Tensor:
        """Poses [V, m, 7] with unit quaternions."""
        embedded = self.queries[queries]
        embedded = embedded if noise is None else embedded + noise
        scale, shift = self.from_view(fused)[:, None].chunk(2, dim=-1)
        hidden = self.hidden(self.from_query(embedded) * (1 + scale) + shift)
        base = self.base[queries]
        found = base + self.out(hidden)
        quats = found[..., :4]
        if self.lean is not None and self.more_lean is not None:
            turn = fused[:, None, -TURN : 4 - TURN]
            turn = turn * torch.where((turn * base[..., :4]).sum(-1, keepdim=True) < 0, -1.0, 1.0)
            quats = quats + turn * (self.lean[queries][..., None] + self.more_lean(hidden))
        return torch.cat([quats / quats.norm(dim=-1, keepdim=True).clamp_min(1e-6), found[..., 4:]], dim=-1)


class PoseScorer(nn.Module):
    """Logits of poses for a photograph, as RelPose++ scores rotations; the same for a quaternion and its negative."""

    def __init__(
        self,
        fused: int,
        width: int,
        numbers: int = POSE_NUMBERS,
        has_turn: bool = False,
        has_evidence: bool = False,
    ) -> None:
        super().__init__()
        # A rotation is also told from the turn that the matches give, which the vectors end with.
        self.has_turn = has_turn
        numbers = numbers + 9 if has_turn else numbers
        self.from_view = nn.Linear(fused, width)
        self.from_pose = nn.Linear(2 * numbers * POSE_OCTAVES, width)
        self.hidden = nn.Sequential(nn.GELU(), nn.Linear(width, width), nn.GELU())
        self.out = nn.Linear(width, 1)
        # Beside RelPose++'s network, the log-density of an exponential family in the low octaves: it learns at once.
        self.smooth = nn.Linear(fused, 2 * numbers * SMOOTH_OCTAVES)
        nn.init.zeros_(self.smooth.weight)
        nn.init.zeros_(self.smooth.bias)
        # What the places of both photographs say about a pose, and how much that weighs.
        self.from_evidence = self.weigh = None
        if has_evidence:
            self.from_evidence = nn.Sequential(nn.Linear(NUMBERS, width // 2), nn.GELU(), nn.Linear(width // 2, width))
            self.weigh = nn.Linear(fused, NUMBERS)
            nn.init.zeros_(self.weigh.weight)
            nn.init.constant_(self.weigh.bias, START_WEIGHT)
        nn.init.zeros_(self.out.weight)  # no pose is better than another before training: the loss begins at ln(M + 1)

    def forward(
        self,
        fused: Tensor,  # [V, vector]
        poses: Tensor,  # [V, m, 7], or [m, 4] of rotations alone for all photographs
        evidence: PoseEvidence | None = None,  # of the same pairs, where the scorer takes it
    ) -> Tensor:
        """Logits [V, m]."""
        rotation = rotation_from_quat(poses[..., :4])
        numbers = torch.cat([rotation.flatten(-2), poses[..., 4:]], dim=-1)
        if self.has_turn:
            turn = rotation_from_quat(fused[..., -TURN : 4 - TURN])
            beyond = (rotation @ turn[:, None].transpose(-1, -2)).flatten(-2)
            numbers = torch.cat([beyond, numbers.expand(*beyond.shape[:-1], -1)], dim=-1)
        encoded = encode_octaves(numbers, POSE_OCTAVES)
        read = self.from_view(fused)[:, None] + self.from_pose(encoded)
        smooth = self.smooth(fused)
        logits = (encoded[..., : smooth.shape[-1]] @ smooth[..., None])[..., 0]
        if self.from_evidence is not None and self.weigh is not None:
            assert evidence is not None
            told = evidence.numbers(rotation.expand(len(fused), *rotation.shape[-3:]))
            read = read + self.from_evidence(told)
            logits = logits + (told @ self.weigh(fused)[..., None])[..., 0]
        return logits + self.out(self.hidden(read))[..., 0]
