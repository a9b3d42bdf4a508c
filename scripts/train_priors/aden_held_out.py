"""Rotations that a network in training finds on pairs of photographs, by how far they are turned."""

from __future__ import annotations

import torch
from fewview.recon.poses.networks.aden.aden_training import TokenSet
from fewview.recon.poses.networks.aden.config import TURN
from fewview.recon.poses.networks.aden.hypothesis_losses import rotation_distance
from fewview.recon.poses.networks.aden.model import Aden
from fewview.recon.poses.networks.aden.pose_evidence import PoseEvidence
from fewview.recon.poses.networks.aden.pose_targets import first_pose, relative_poses
from torch import Tensor

RIGHT_DEG = 15.0
TURNS_DEG = ((0, 45), (45, 90), (90, 180))


def part_of(data: TokenSet, rows: slice) -> TokenSet:
    """Some sequences of a set; maps of files stay maps."""
    return TokenSet(*(None if value is None else value[rows] for value in vars(data).values()))


@torch.no_grad()
def right_by_turn(network: Aden, data: TokenSet, pairs: int = 8) -> str:
    """For each range of turns: shares of pairs whose chosen pose, best pose and turn of matches are within 15 degrees.

    Pairs are drawn the same way every time. Leaves the network in training mode, and PyTorch's own chance as it was.
    """
    network.eval()
    generator = torch.Generator().manual_seed(0)
    found: list[Tensor] = []
    for tokens, descriptors, cameras in zip(data.tokens, data.descriptors, data.cam_from_world, strict=True):
        sets = torch.stack([torch.randperm(len(tokens), generator=generator)[:2] for _ in range(pairs)])
        fused, places = network.fusion.with_places(tokens[sets], descriptors[sets])
        poses, logits = network.propose(fused[:, 0], None if places is None else PoseEvidence.of(places))
        truth = relative_poses(cameras[sets].double())[:, 1].float()
        wrong = torch.rad2deg(rotation_distance(poses[..., :4], truth[:, None, :4]))
        still = torch.rad2deg(rotation_distance(first_pose(truth)[None, :4], truth[:, :4]))
        turn = torch.rad2deg(rotation_distance(fused[:, 0, -TURN : 4 - TURN], truth[:, :4]))
        chosen = wrong.gather(1, logits.argmax(1, keepdim=True))[:, 0]
        found.append(torch.stack([still, chosen, wrong.min(1).values, turn], 1))
    network.train()
    return "; ".join(_shares(torch.cat(found), low, high) for low, high in TURNS_DEG)


def _shares(found: Tensor, low: float, high: float) -> str:
    rows = found[(found[:, 0] >= low) & (found[:, 0] < high)]
    right = (rows[:, 1:] < RIGHT_DEG).float().mean(0).tolist()
    return f"{low}-{high} degrees ({len(rows)}) " + " ".join(f"{share:.2f}" for share in right)
