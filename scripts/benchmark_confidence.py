"""Confidence of estimated cameras against their errors: how many that are told as sure are wrong.

    python scripts/benchmark_confidence.py DATA... [--subsets 0] [--views 3 8] [--seed 0] [--sure 0.9] [--side 960]

DATA is anything with true cameras, such as the scenes of `make_look_alikes.py`. With `--subsets` so many random choices
of `--views` photographs of each are placed instead of all. A camera is right when its rotation is within 5 degrees and
its centre within a quarter of the scene's radius of the truth, after the alignment that most cameras agree with. It is
refused when it is not placed or its confidence is below `--sure`.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from benchmark_poses import at_size
from fewview.recon.poses import PosesConfig, estimate_poses, pair_errors
from fewview.scene import Capture, FewviewError
from fewview.scene.geometry import align_similarity
from fewview.scene.readers import read_capture
from fewview.scene.run import SURE

RIGHT_DEG, RIGHT_CENTRE = 5.0, 0.25
BINS = (0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 1.0)


def errors(found: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotation errors in degrees and centre errors in scene radii (nan for under three good ones), cam_from_world [N].

    The world is turned as the camera says with which most others agree within 5 degrees; its scale and place are those
    that put most centres where they were.
    """
    # A camera's error in the world of another one is the error of the rotation between the two.
    turned = np.zeros((len(found), len(found)))
    if len(found) > 1:
        first, second = np.triu_indices(len(found), 1)
        turned[first, second] = pair_errors(torch.from_numpy(found), torch.from_numpy(true)).rotation_deg.numpy()
        turned += turned.T
    agreed = min(range(len(found)), key=lambda i: (-(turned[i] < RIGHT_DEG).sum(), np.minimum(turned[i], 20).sum()))
    best = turned[agreed]
    good = np.flatnonzero(best < RIGHT_DEG)
    ours, theirs = (-np.einsum("nji,nj->ni", poses[:, :3, :3], poses[:, :3, 3]) for poses in (found, true))
    ours = ours @ (true[agreed, :3, :3].T @ found[agreed, :3, :3]).T
    radius = float(np.linalg.norm(theirs - theirs.mean(0), axis=1).max())
    if len(good) < 3:
        return best, np.full(len(found), np.nan)
    off, kept = np.full(len(found), np.inf), good[:0]
    for i, j in itertools.combinations(good, 2):  # the scale and the place that most cameras agree with
        apart = float(np.linalg.norm(ours[i] - ours[j]))
        scale = float(np.linalg.norm(theirs[i] - theirs[j])) / apart if apart > 0 else 0.0
        other = np.linalg.norm(theirs[i] + scale * (ours - ours[i]) - theirs, axis=1) / radius
        near = good[other[good] <= RIGHT_CENTRE]
        if (len(near), -other[near].sum()) > (len(kept), -off[kept].sum()):
            off, kept = other, near
    if len(kept) >= 3:
        centres = (torch.from_numpy(np.ascontiguousarray(c)) for c in (theirs[kept], ours[kept]))
        aligned = align_similarity(*centres)(torch.from_numpy(ours)).numpy()
        off = np.linalg.norm(aligned - theirs, axis=1) / radius
    return best, off


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", type=Path)
    parser.add_argument("--subsets", type=int, default=0)
    parser.add_argument("--views", nargs=2, type=int, default=(3, 8))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sure", type=float, default=SURE)
    parser.add_argument("--side", type=int, default=960)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    rows: dict[str, list[tuple[float, bool]]] = defaultdict(list)  # confidence (-1: not placed) and whether right
    for path in args.data:
        capture = read_capture(path)
        capture = replace(capture, frames=tuple(at_size(frame, args.side) for frame in capture.frames))
        kind = path.name.split("_", 1)[-1]
        for _ in range(max(1, args.subsets)):
            chosen = np.arange(len(capture))
            if args.subsets:
                chosen = np.sort(rng.choice(len(capture), int(rng.integers(args.views[0], args.views[1] + 1)), False))
            rows[kind] += judged(capture.subset(chosen.tolist()))
            print(path.name, chosen.tolist() if args.subsets else "", report(rows[kind], args.sure), flush=True)
    every = [row for kind in rows for row in rows[kind]]
    print("\n| kind | photographs | told as sure | of these wrong | right ones refused |\n|---|---|---|---|---|")
    for kind, some in [*sorted(rows.items()), ("all", every)]:
        print(f"| {kind} | {len(some)} | {report(some, args.sure)} |")
    print("\n| confidence | cameras | right |\n|---|---|---|")
    for low, high in itertools.pairwise(BINS):
        inside = [right for confidence, right in every if low <= confidence < high or confidence == high == 1]
        print(f"| {low:g} to {high:g} | {len(inside)} | {np.mean(inside) if inside else 0:.3f} |")


def judged(capture: Capture) -> list[tuple[float, bool]]:
    """Confidence and truth of every photograph; those that are not placed have -1 and are neither right nor wrong."""
    started = time.perf_counter()
    try:
        poses = estimate_poses(replace(capture, cameras=None, points=None), PosesConfig())
    except FewviewError as error:
        print(f"  {error} ({time.perf_counter() - started:.0f} s)")
        return [(-1.0, False)] * len(capture)
    assert capture.cameras is not None
    assert poses.capture.cameras is not None
    true = capture.cameras.cam_from_world.double().numpy()[poses.placed]
    rotation, centre = errors(poses.capture.cameras.cam_from_world.double().numpy(), true)
    right = (rotation <= RIGHT_DEG) & ~(np.nan_to_num(centre) > RIGHT_CENTRE)
    placed = [(float(c or 0.0), bool(r)) for c, r in zip(poses.confidence, right, strict=True)]
    return placed + [(-1.0, False)] * len(poses.unplaced)


def report(rows: list[tuple[float, bool]], sure: float) -> str:
    told = [right for confidence, right in rows if confidence >= sure]
    right = [confidence for confidence, is_right in rows if is_right]
    refused = np.mean([confidence < sure for confidence in right]) if right else 0.0
    wrong = 1 - np.mean(told) if told else 0.0
    return f"{len(told)} | {sum(not r for r in told)} ({wrong:.1%}) | {refused:.1%} of {len(right)}"


if __name__ == "__main__":
    main()
