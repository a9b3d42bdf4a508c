"""Analysis by synthesis from disturbed cameras: pose errors before and after, outliers found and corrected, seconds.

    python scripts/benchmark_synthesis.py DATA... [--views 8] [--noise 5 10 15] [--outliers 0 1 2] [--sequences 4]

DATA are captures of one object each with true cameras and a transparent background. A sequence is --views photographs,
drawn at random from those that are not held out. Each camera is turned about the point that all of them look at, by a
rotation vector of independent normal numbers whose root mean square angle is --noise degrees: estimators place an
object that is cropped in the picture where the crop shows it, so that their errors are turns about it, roll among
them. Outliers are turned by 60 to 180 degrees about a random axis instead. R@5 and R@15 are shares of pairs of views
whose relative rotation is off by less; CC@0.1 is the share of cameras within a tenth of the scene's size of their true
place after the best similarity, the size being the largest distance of any of the capture's cameras from their mean. An
outlier is corrected when it is within 15 degrees of its true rotation relative to the other views.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from fewview.recon.optimise.dataset import Dataset
from fewview.recon.pipeline.synthesis.look_at_frame import look_at_from_world
from fewview.recon.pipeline.synthesis.object_views import object_views, with_cameras
from fewview.recon.pipeline.synthesis.synthesis_config import SynthesisConfig
from fewview.recon.pipeline.synthesis.synthesise import Synthesis, synthesise
from fewview.recon.poses import align_cameras, pair_errors
from fewview.scene import Capture
from fewview.scene.geometry import rotation_angle, se3_exp
from fewview.scene.readers import read_capture
from torch import Tensor

GROSS_DEG = (60.0, 180.0)  # turn of an outlier
CORRECTED_DEG = 15.0
COLUMNS = (
    "| noise | outliers | sequences | R@5 | R@15 | CC@0.1 | median | found first | wrongly removed | corrected "
    "| wall s | cpu s |"
)


@dataclass(frozen=True)
class Case:
    """A sequence with its true cameras in the look-at frame, and what was done to them."""

    views: Dataset  # with disturbed cameras
    true: Tensor  # [N, 4, 4]
    outliers: list[int]
    size: float  # of the scene, in units of the true cameras


def case(capture: Capture, n: int, side_px: int, noise_deg: float, n_outliers: int, seed: int) -> Case:
    generator = torch.Generator().manual_seed(seed)
    train = capture.split()[0] if capture.test is not None else list(range(len(capture)))
    assert capture.cameras is not None
    chosen = sorted(train[int(i)] for i in torch.randperm(len(train), generator=generator)[:n])
    views = object_views(capture.subset(chosen), side_px)
    frame = look_at_from_world(views.cameras)
    views = views.transformed(frame)
    centers = capture.cameras[torch.tensor(train)].transformed(frame).centers
    turns = torch.randn(n, 3, generator=generator) * math.radians(noise_deg) / math.sqrt(3)
    outliers = sorted(torch.randperm(n, generator=generator)[:n_outliers].tolist())
    for view in outliers:
        axis = torch.nn.functional.normalize(torch.randn(3, generator=generator), dim=0)
        low, high = (math.radians(degrees) for degrees in GROSS_DEG)
        turns[view] = axis * (low + (high - low) * torch.rand((), generator=generator))
    true = views.cameras.cam_from_world
    disturbed = true @ se3_exp(torch.cat([turns, torch.zeros(n, 3)], dim=1))
    return Case(with_cameras(views, disturbed), true, outliers, float((centers - centers.mean(0)).norm(dim=1).max()))


def accuracies(cam_from_world: Tensor, made: Case) -> tuple[float, float, float, float]:
    """R@5, R@15, CC@0.1 and the median rotation error of pairs in degrees."""
    pairs = pair_errors(cam_from_world, made.true)
    cameras, true = (replace(made.views.cameras, cam_from_world=p.double()) for p in (cam_from_world, made.true))
    apart = (align_cameras(cam_from_world, made.true)(cameras.centers) - true.centers).norm(dim=1) / made.size
    return (
        pairs.rotation_accuracy(5),
        pairs.rotation_accuracy(15),
        float((apart < 0.1).double().mean()),
        float(pairs.rotation_deg.median()),
    )


def outlier_errors(cam_from_world: Tensor, made: Case) -> list[float]:
    """Rotation errors of the outliers in degrees, in the frame that the other views agree on."""
    good = [view for view in range(len(made.true)) if view not in made.outliers]
    to_true = align_cameras(cam_from_world[good], made.true[good]).rotation.float()
    errors = []
    for view in made.outliers:
        off = cam_from_world[view, :3, :3] @ to_true.T @ made.true[view, :3, :3].T
        errors.append(math.degrees(float(rotation_angle(off))))
    return errors


def figures(made: Case, config: SynthesisConfig) -> dict[str, object]:
    wall, cpu = time.perf_counter(), time.process_time()
    result: Synthesis = synthesise(made.views, (), config)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    before = accuracies(made.views.cameras.cam_from_world, made)
    return {
        "before": before,
        "after": accuracies(result.cam_from_world, made),
        "outliers": made.outliers,
        "removed": result.removed,
        "corrected_by_search": result.corrected,
        "tried": [(r.view, r.before, r.after) for r in result.tried],
        "outlier_errors": outlier_errors(result.cam_from_world, made),
        "distances": result.distances.tolist(),
        "seconds": result.seconds,
        "wall": wall,
        "cpu": cpu,
    }


def row(noise: float, n_outliers: int, runs: list[dict]) -> str:
    def mean(key: str, index: int) -> float:
        return sum(run[key][index] for run in runs) / len(runs)

    pairs = [f"{mean('before', i):.2f} → {mean('after', i):.2f}" for i in range(3)]
    pairs.append(f"{mean('before', 3):.1f}° → {mean('after', 3):.1f}°")
    first = sum(run["removed"][0] in run["outliers"] for run in runs if run["outliers"] and run["removed"])
    wrong = sum(view not in run["outliers"] for run in runs for view in run["removed"])
    errors = [error for run in runs for error in run["outlier_errors"]]
    corrected = sum(error < CORRECTED_DEG for error in errors)
    found = f"{first} of {len(runs)}" if n_outliers else ""
    mended = f"{corrected} of {len(errors)}" if n_outliers else ""
    wall, cpu = (sorted(run[key] for run in runs)[len(runs) // 2] for key in ("wall", "cpu"))
    return (
        f"| {noise:g}° | {n_outliers} | {len(runs)} | {' | '.join(pairs)} | {found} | {wrong} | {mended} "
        f"| {wall:.0f} | {cpu:.0f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", type=Path)
    parser.add_argument("--views", type=int, default=8)
    parser.add_argument("--noise", nargs="+", type=float, default=[5.0, 10.0, 15.0], help="degrees")
    parser.add_argument("--outliers", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--sequences", type=int, default=4, help="of each capture, for each row")
    parser.add_argument("--first", type=int, default=0, help="seed of the first sequence")
    parser.add_argument("--side", type=int, default=SynthesisConfig.side_px, help="pixels")
    parser.add_argument("--log", type=Path, help="a file to which a line of JSON is added for each sequence")
    args = parser.parse_args()
    captures = {path.name: read_capture(path) for path in args.data}
    config = SynthesisConfig(side_px=args.side, left_out_scores=False)
    print(f"{platform.processor() or platform.machine()}, {', '.join(captures)}, {args.views} views\n")
    print(COLUMNS + "\n" + "|---" * (COLUMNS.count("|") - 1) + "|", flush=True)
    for noise in args.noise:
        for n_outliers in args.outliers:
            runs = []
            for number, (name, capture) in enumerate(captures.items()):
                for sequence in range(args.sequences):
                    seed = args.first + sequence * len(captures) + number
                    made = case(capture, args.views, args.side, noise, n_outliers, seed)
                    found = figures(made, config)
                    runs.append(found)
                    if args.log is not None:
                        entry = {"data": name, "seed": seed, "noise": noise, **found}
                        with args.log.open("a", encoding="utf-8") as log:
                            log.write(json.dumps(entry) + "\n")
            print(row(noise, n_outliers, runs), flush=True)


if __name__ == "__main__":
    main()
