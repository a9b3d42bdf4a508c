"""Pose errors and times of a pose estimator on real photographs.

    python scripts/benchmark_poses.py DATA... [--views 3 6 12] [--side 960] [--features auto] [--stereo WEIGHTS]

DATA is anything that `fewview.scene.readers.read_capture` reads. Where it has cameras of its own they are taken as the
truth, and every 8th photograph in name order is left out before `--views` evenly spaced ones are chosen, as in the
few-view evaluation of reconstructions. Times are wall and processor seconds, memory is the largest that the process has
had so far; one table row is one run, and from the second row on the last line says with which power of the number of
photographs the processor seconds grew from the first to the last.
"""

from __future__ import annotations

import argparse
import math
import platform
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from fewview.recon.poses import PoseEstimator, PosesConfig, pose_errors
from fewview.recon.poses.choose_estimator import estimator_for
from fewview.scene import Capture, FewviewError, Frame
from fewview.scene.capture import evenly_spaced, fit_size
from fewview.scene.readers import read_capture
from fewview.scene.run import SURE

COLUMNS = (
    "| data | views | placed | rotation mean / max (deg) | AUC@5 | AUC@30 | ATE | error (px) | points | sure "
    "| pairs matched, verified | features | stages (s) | wall (s) | cpu (s) | memory (GB) |"
)


def at_size(frame: Frame, max_side: int) -> Frame:
    """The frame as if its photograph had been taken at this size."""
    width, height = fit_size(frame.width, frame.height, max_side)

    def load() -> np.ndarray:
        return cv2.resize(frame.load(), (width, height), interpolation=cv2.INTER_AREA)

    focal_px = None if frame.focal_px is None else frame.focal_px * width / frame.width
    return Frame(frame.name, width, height, load, focal_px)


def chosen(capture: Capture, views: int | None) -> Capture:
    """`views` evenly spaced photographs of those that are not held out; all when None."""
    if views is None:
        return capture
    train, _ = capture.split()
    by_name = sorted(train, key=lambda i: capture.frames[i].name)
    return capture.subset(evenly_spaced(by_name, views))


def row(name: str, capture: Capture, estimator: PoseEstimator) -> tuple[str, float]:
    """A row of the table, and the processor seconds."""
    import resource  # which Windows lacks

    wall, cpu = time.perf_counter(), time.process_time()
    try:
        poses = estimator.place(replace(capture, cameras=None, points=None))
    except FewviewError as error:
        return f"| {name} | {len(capture)} | 0 | {error} |", time.process_time() - cpu
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    quality = "| | | | "
    if capture.cameras is not None and len(poses.placed) >= 2:
        true = capture.cameras.cam_from_world[poses.placed]
        errors = pose_errors(poses.capture.cameras.cam_from_world, true).summary()
        quality = (
            f"| {errors['rotation_mean_deg']:.2f} / {errors['rotation_max_deg']:.2f} | {errors['auc_5']:.3f} "
            f"| {errors['auc_30']:.3f} | {errors['ate']:.4f} "
        )
    stats = poses.stats
    error_px = f"{stats['error_px']:.2f}" if "error_px" in stats else ""
    stages = " / ".join(f"{stage} {seconds:.1f}" for stage, seconds in poses.seconds.items())
    sure = sum(belief is not None and belief >= SURE for belief in poses.confidence)
    memory_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    text = (
        f"| {name} | {len(capture)} | {len(poses.placed)} {quality}| {error_px} | {stats['points']} | {sure} "
        f"| {stats.get('pairs', '')}, {stats.get('verified_pairs', '')} | {stats.get('features', estimator.name)} "
        f"| {stages} | {wall:.1f} | {cpu:.1f} | {memory_gb:.1f} |"
    )
    return text, cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", type=Path)
    parser.add_argument("--views", nargs="*", type=int, default=[], help="numbers of views; none: all photographs")
    parser.add_argument("--first", nargs="*", type=int, default=[], help="numbers of photographs, the first in order")
    parser.add_argument("--side", type=int, default=960, help="longer side of the photographs, pixels")
    parser.add_argument("--features", default="auto", choices=["auto", "aliked", "xfeat", "sift"])
    parser.add_argument("--stereo", type=Path, help="weights of a pointmap network, which then places them")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    here = Path(__file__).parent
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=here, capture_output=True, text=True)
    print(f"commit {commit.stdout.strip()}, {platform.processor() or platform.machine()}, "
          f"{torch.get_num_threads()} threads, photographs of at most {args.side} px\n")  # fmt: skip
    print(COLUMNS + "\n" + "|---" * (COLUMNS.count("|") - 1) + "|", flush=True)
    estimator = estimator_for(args.stereo, PosesConfig(features=args.features, seed=args.seed))
    rows: list[tuple[int, float]] = []
    for path in args.data:
        capture = read_capture(path)
        capture = replace(capture, frames=tuple(at_size(frame, args.side) for frame in capture.frames))
        name = path.resolve().parent.name if path.name == "images" else path.name
        first = [capture.subset(list(range(min(count, len(capture))))) for count in args.first]
        for some in first or [chosen(capture, views) for views in args.views or [None]]:
            text, cpu = row(name, some, estimator)
            print(text, flush=True)
            rows.append((len(some), cpu))
    (n, cpu), (m, more) = rows[0], rows[-1]
    if n != m:
        power = math.log(more / cpu) / math.log(m / n)
        print(f"\nprocessor seconds grow with the photographs to the power of {power:.2f}")


if __name__ == "__main__":
    main()
