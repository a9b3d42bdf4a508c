"""Pose accuracy of ADen on pictures of objects that training never saw, beside simpler heads on the same features.

    python scripts/train_priors/object_pictures.py test -o build/objects/test
    python scripts/benchmark_aden.py build/objects/test --weights build/aden/aden.safetensors \\
        [--tokens build/aden/tokens --rivals 600]

The protocol of RelPose++ and RayDiffusion: for each sequence some orders by chance, of each the first N photographs;
rotation accuracy over all pairs, camera centres after alignment within 0.1 of the scene's scale; means over sequences.
`--rivals` trains the other heads for so many steps on the frozen fused features of the training tokens, ADen's own
heads anew among them, so that all had the same training.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import safetensors.numpy
import torch
from fewview.recon.poses import center_errors, pair_errors, true_scene_scale
from fewview.recon.poses.networks.aden.aden_estimator import seen_object
from fewview.recon.poses.networks.aden.aden_training import AdenSchedule, AdenTraining, TokenSet, starting_poses
from fewview.recon.poses.networks.aden.aden_weights import load_aden
from fewview.recon.poses.networks.aden.grid_scorer import RELPOSE_GRID, GridScorer, spread_rotations
from fewview.recon.poses.networks.aden.hypothesis_losses import (
    rotation_distance,
    soft_contrastive_loss,
    winner_loss,
)
from fewview.recon.poses.networks.aden.image_encoder import ImageEncoder
from fewview.recon.poses.networks.aden.joint_selection import independent_poses, joint_poses, propose_pairs
from fewview.recon.poses.networks.aden.model import Aden, Generator, PoseScorer
from fewview.recon.poses.networks.aden.object_crops import normalised
from fewview.recon.poses.networks.aden.pose_evidence import PoseEvidence
from fewview.recon.poses.networks.aden.pose_targets import between, cameras_of, relative_poses
from fewview.scene.readers import read_capture
from torch import Tensor, nn

THRESHOLDS = (5, 15, 30)
PAIRS = 8  # of a sequence, for the heads
DISTINCT = 0.015  # `turn_distance` from which on an object has distinct sides; see train_priors/object_symmetry.py


@dataclass(frozen=True)
class Sequence:
    name: str
    tokens: Tensor  # [F, places, channels]
    descriptors: Tensor  # [F, 3]
    cam_from_world: Tensor  # [F, 4, 4]
    turn_distance: float | None  # how far its shape is from looking the same after a turn, where that is known


def load_sequences(folder: Path, encoder: ImageEncoder, side_px: int, grid: int) -> list[Sequence]:
    """Every sequence of a folder of folders with a transforms.json, encoded."""
    found = []
    for path in sorted(folder.glob("*/transforms.json")):
        capture = read_capture(path.parent)
        seen = [seen_object(frame, side_px) for frame in capture.frames]
        keep = [i for i, item in enumerate(seen) if not isinstance(item, str)]
        items = [item for item in seen if not isinstance(item, str)]
        tokens = encoder(normalised(np.stack([item.crop for item in items])), grid)
        poses = capture.cameras.cam_from_world[keep]
        descriptors, symmetry = torch.stack([item.descriptor for item in items]), path.parent / "symmetry.json"
        distance = json.loads(symmetry.read_text())["turn_distance"] if symmetry.exists() else None
        found.append(Sequence(path.parent.name, tokens, descriptors, poses, distance))
    return found


def measure(sequences: list[Sequence], network: Aden, views: int, orders: int, by_name: bool) -> None:
    """Print the accuracy of N photographs, each by itself and all together, and how good the confidence is."""
    figures: dict[str, dict[str, list[float]]] = {k: defaultdict(list) for k in ("independent", "joint")}
    beliefs: list[tuple[float, float]] = []
    seconds = []
    turns: list[tuple[float, float]] = []  # true turn of a pair and how wrong it is
    for number, sequence in enumerate(sequences):
        rng = np.random.default_rng([11, number])
        scale = true_scene_scale(sequence.cam_from_world)
        pooled: dict[str, dict[str, list[float]]] = {k: defaultdict(list) for k in figures}
        for _ in range(orders):
            chosen = torch.from_numpy(rng.permutation(len(sequence.tokens))[:views])
            tokens, descriptors = sequence.tokens[chosen], sequence.descriptors[chosen]
            true = sequence.cam_from_world[chosen]
            started = time.process_time()
            pairs = propose_pairs(network, tokens, descriptors)
            joint = joint_poses(pairs)
            seconds.append(time.process_time() - started)
            best = {"independent": independent_poses(network, tokens, descriptors), "joint": joint}
            target = relative_poses(true.double()).float()
            for view in range(1, views):
                wrong = math.degrees(float(rotation_distance(joint[view, :4], target[view, :4])))
                share = [pairs.belief(k, view, between(joint[view], joint[k])) for k in range(views) if k != view]
                beliefs.append((float(np.mean(share)), wrong))
            for kind, poses in best.items():
                errors = pair_errors(cameras_of(poses), true)
                if kind == "joint":
                    still = pair_errors(torch.eye(4).expand(len(true), 4, 4), true)
                    turns += zip(still.rotation_deg.tolist(), errors.rotation_deg.tolist(), strict=True)
                centers = center_errors(cameras_of(poses), true, scale)
                pooled[kind]["rotation"] += errors.rotation_deg.tolist()
                pooled[kind]["center"] += centers.tolist()
        for kind, pool in pooled.items():
            rotation, center = np.array(pool["rotation"]), np.array(pool["center"])
            for threshold in THRESHOLDS:
                figures[kind][f"R@{threshold}"].append(float((rotation < threshold).mean()))
            figures[kind]["CC@0.1"].append(float((center < 0.1).mean()))
            figures[kind]["median deg"].append(float(np.median(rotation)))
            if by_name and kind == "joint":
                print(f"    {sequence.name}: R@15 {(rotation < 15).mean():.2f} median {np.median(rotation):.0f} deg")
    distinct = [i for i, s in enumerate(sequences) if s.turn_distance is not None and s.turn_distance >= DISTINCT]
    for kind, table in figures.items():
        print(f"N={views} {kind}: " + "  ".join(f"{k} {np.mean(v):.3f}" for k, v in table.items()), flush=True)
        if distinct:
            means = "  ".join(f"{k} {np.mean(np.array(v)[distinct]):.3f}" for k, v in table.items())
            print(f"    of the {len(distinct)} objects with distinct sides: {means}", flush=True)
    turn, off = np.array(turns).T
    for low, high in ((0, 45), (45, 90), (90, 180.1)):
        inside = (turn >= low) & (turn < high)
        if inside.any():
            right = "  ".join(f"R@{t} {(off[inside] < t).mean():.3f}" for t in THRESHOLDS)
            print(f"    pairs turned by {low} to {high:.0f} degrees: {inside.sum()}, {right}", flush=True)
    print(f"N={views} joint choice: {1e3 * np.median(seconds):.0f} ms a set", flush=True)
    belief, wrong = np.array(beliefs).T
    for low, high in ((0, 0.1), (0.1, 0.3), (0.3, 0.6), (0.6, 1.01)):
        inside = (belief >= low) & (belief < high)
        if inside.any():
            print(f"    confidence {low}-{min(high, 1)}: {inside.sum()} views, {(wrong[inside] < 15).mean():.2f} right")


@dataclass(frozen=True)
class Pairs:
    """Fused features of pairs and their true poses."""

    fused: Tensor  # [V, fused]
    truth: Tensor  # [V, 7]
    evidence: PoseEvidence


@torch.no_grad()
def pairs_of(sequences: list[Sequence], network: Aden) -> Pairs:
    """Eight pairs by chance of each sequence."""
    fused, truth, evidence = [], [], []
    for number, sequence in enumerate(sequences):
        rng = np.random.default_rng([12, number])
        sets = torch.from_numpy(np.stack([rng.permutation(len(sequence.tokens))[:2] for _ in range(PAIRS)]))
        vectors, places = network.fusion.with_places(sequence.tokens[sets], sequence.descriptors[sets])
        fused.append(vectors[:, 0])
        evidence.append(PoseEvidence.of(places))
        truth.append(relative_poses(sequence.cam_from_world[sets].double())[:, 1].float())
    return Pairs(torch.cat(fused), torch.cat(truth), PoseEvidence.cat(evidence))


def print_rotations(name: str, rotations: Tensor, truth: Tensor) -> None:
    wrong = torch.rad2deg(rotation_distance(rotations, truth[:, :4]))
    print(f"{name}: " + "  ".join(f"R@{t} {float((wrong < t).float().mean()):.3f}" for t in THRESHOLDS), flush=True)


@torch.no_grad()
def measure_hypotheses(pairs: Pairs, generator: Generator, scorer: PoseScorer, count: int) -> None:
    """Print the chosen pose, the best of M for growing M, and the time of a pair."""
    started = time.process_time()
    poses = torch.cat([generator(part, torch.arange(count), None) for part in pairs.fused.split(64)])
    parts = [slice(first, first + 64) for first in range(0, len(poses), 64)]
    logits = torch.cat([scorer(pairs.fused[part], poses[part], pairs.evidence[part]) for part in parts])
    each = (time.process_time() - started) / len(poses)
    rows = torch.arange(len(poses))
    print_rotations("generator and discriminator", poses[rows, logits.argmax(1), :4], pairs.truth)
    wrong = torch.rad2deg(rotation_distance(poses[..., :4], pairs.truth[:, None, :4]))
    print_rotations("generator, one of them by chance", poses[rows, rows % count, :4], pairs.truth)
    medoid = torch.stack([rotation_distance(p[:, None, :4], p[None, :, :4]).mean(1).argmin() for p in poses])
    print_rotations("generator, the one nearest to all others", poses[rows, medoid, :4], pairs.truth)
    for few in (1, 10, 50, 100, count):
        best = wrong[:, :few].min(1).values
        print(f"    best of {few}: median {float(best.median()):.1f} deg, R@15 {float((best < 15).float().mean()):.3f}")
    share = logits.softmax(1)
    entropy = float(-(share * share.clamp_min(1e-12).log()).sum(1).mean())
    print(f"    entropy of the discriminator {entropy:.2f} of {math.log(count):.2f}; {1e3 * each:.2f} ms a pair")


class Heads(nn.Module):
    """All heads that are compared, on given fused features."""

    def __init__(self, network: Aden) -> None:
        super().__init__()
        config = network.config
        self.generator = Generator(config)
        has_turn = config.trunk > 0
        self.scorer = PoseScorer(config.vector, config.scorer_width, has_turn=has_turn, has_evidence=has_turn)
        self.plain = PoseScorer(config.vector, config.scorer_width, has_turn=has_turn)
        self.regression = Generator(replace(config, hypotheses=1))
        self.grid = GridScorer(config.vector, config.scorer_width, has_turn=has_turn)


def train_rivals(data: TokenSet, network: Aden, steps: int) -> Heads:
    """Heads trained on the network's frozen fused features; every one sees the same photographs."""
    torch.manual_seed(5)
    heads = Heads(network)
    heads.generator.start_at(starting_poses(data.cam_from_world, network.config.hypotheses))
    task = AdenTraining(data, network, AdenSchedule(steps=steps, photographs=64, seed=9))
    optimizer = task.optimizer(heads)
    for step in range(steps):
        task.set_rates(optimizer, step)
        batch = task.batch(step)
        with torch.no_grad():
            fused, places = network.fusion.with_places(batch.tokens, batch.descriptors)
            fused, evidence = fused.flatten(0, 1), PoseEvidence.of(places)
        truth, chance = batch.truth.flatten(0, 1), batch.chance
        with torch.no_grad():
            poses = heads.generator(fused, chance.queries, chance.noise)
            distance = rotation_distance(poses[..., :4], truth[:, None, :4])
            nearest = distance.topk(chance.winners, 1, largest=False).indices
        noise = chance.noise[torch.arange(len(fused))[:, None], nearest]
        winners = heads.generator(fused, chance.queries[nearest], noise)
        loss = winner_loss(winners, truth, 0.5 * math.log2(max(1, chance.winners)) / 4)
        candidates = poses if chance.others is None else torch.cat([poses, chance.others], 1)
        loss = loss + soft_contrastive_loss(heads.scorer(fused, candidates, evidence), truth, candidates)
        loss = loss + soft_contrastive_loss(heads.plain(fused, candidates), truth, candidates)
        loss = loss + winner_loss(heads.regression(fused, torch.zeros(1, dtype=torch.int64), None), truth)
        grid = nn.functional.normalize(torch.randn(512, 4, generator=torch.Generator().manual_seed(step)), dim=1)
        loss = loss + heads.grid.loss(fused, truth[:, :4], grid)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return heads.eval().requires_grad_(False)


def compare(pairs: Pairs, heads: Heads, count: int, grids: dict[int, int]) -> None:
    """Print what the heads reach on pairs; `grids` says on how many of them a grid of so many rotations is tried."""
    alone = heads.regression(pairs.fused, torch.zeros(1, dtype=torch.int64), None)
    print_rotations("regression, M = 1", alone[:, 0, :4], pairs.truth)
    measure_hypotheses(pairs, heads.generator, heads.scorer, count)
    poses = heads.generator(pairs.fused, torch.arange(count), None)
    best = heads.plain(pairs.fused, poses).argmax(1)
    print_rotations("discriminator without evidence", poses[torch.arange(len(poses)), best, :4], pairs.truth)
    for size, most in grids.items():
        grid, some = spread_rotations(size), min(len(pairs.fused), most)
        started = time.process_time()
        best = heads.grid.best(pairs.fused[:some], grid)
        each = (time.process_time() - started) / some
        print_rotations(f"grid of {size} rotations ({some} pairs, {1e3 * each:.1f} ms each)", best, pairs.truth[:some])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("objects", type=Path)
    parser.add_argument("--weights", type=Path, required=True, help="of scripts/train_priors/aden.py")
    parser.add_argument("--views", type=int, nargs="*", default=[2, 5, 8])
    parser.add_argument("--orders", type=int, nargs="*", default=[8, 1, 1], help="for each number of views")
    parser.add_argument("--by-name", action="store_true", help="also the figures of each sequence")
    parser.add_argument("--tokens", type=Path, help="folder of training tokens of scripts/train_priors/aden.py")
    parser.add_argument("--rivals", type=int, default=0, help="steps of training of the other heads")
    parser.add_argument("--grids", type=int, nargs="*", default=[RELPOSE_GRID, 500_000])
    parser.add_argument("--grid-pairs", type=int, nargs="*", default=[280, 12], help="that are scored, for each grid")
    options = parser.parse_args()
    encoder, network = load_aden(options.weights)
    started = time.process_time()
    sequences = load_sequences(options.objects, encoder, network.config.side_px, network.config.grid)
    photographs = sum(len(s.tokens) for s in sequences)
    each = 1e3 * (time.process_time() - started) / photographs
    print(f"{len(sequences)} sequences, {photographs} photographs, {each:.0f} ms each to read and encode", flush=True)
    for views, orders in zip(options.views, options.orders, strict=True):
        measure(sequences, network, views, orders, options.by_name)
    pairs = pairs_of(sequences, network)
    print(f"heads as they are trained, {len(pairs.fused)} pairs:")
    measure_hypotheses(pairs, network.generator, network.scorer, network.config.hypotheses)
    if options.rivals:
        known = safetensors.numpy.load_file(options.tokens / "cameras.safetensors")
        tokens = torch.from_numpy(np.load(options.tokens / "tokens.npy", mmap_mode="r+"))
        data = TokenSet(tokens, *(torch.from_numpy(known[k]) for k in ("descriptors", "cameras", "surface")))
        print(f"heads trained anew for {options.rivals} steps:")
        compare(
            pairs,
            train_rivals(data, network, options.rivals),
            network.config.hypotheses,
            dict(zip(options.grids, options.grid_pairs, strict=True)),
        )


if __name__ == "__main__":
    main()
