"""Time our nuScenes evaluation against the official devkit's on the same submission.

    python scripts/benchmark_nuscenes_metric.py DATA DEVKIT_PYTHON [--boxes 200]

DATA is an annotated folder in the nuScenes format, e.g. of make_nuscenes_like.py. The submission has moved true boxes
and strays. "Metric" is the evaluation alone (the devkit's own `eval_time`); "all" includes reading tables and file.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from fewview.detect.metrics.devkit import largest_difference, run_devkit
from fewview.detect.metrics.nuscenes_metric import evaluate
from fewview.detect.metrics.nuscenes_submission import read_submission, write_submission
from fewview.detect.metrics.nuscenes_truth import Truth
from fewview.scene.boxes import Boxes
from fewview.scene.datasets.nuscenes_classes import as_detection_classes
from fewview.scene.datasets.nuscenes_log import NuScenes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("devkit_python", type=Path)
    parser.add_argument("--boxes", type=int, default=200, help="predictions for each sample (%(default)s)")
    args = parser.parse_args()
    torch.manual_seed(0)
    data = NuScenes(args.data)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "submission.json"
        results = {token: _predictions(data.boxes(token), args.boxes) for token in data.tokens}
        write_submission(path, results, data.tokens, ())
        start = time.perf_counter()
        truth = Truth.of(NuScenes(args.data))
        read = read_submission(path, truth.tokens)
        reading_s = time.perf_counter() - start
        found = [evaluate(truth, read) for _ in range(5)]
        ours_s = min(one.eval_time_s for one in found)
        start = time.perf_counter()
        official = run_devkit(args.devkit_python, data, path, data.tokens, "all", Path(folder) / "out", plots=False)
        devkit_s = time.perf_counter() - start
        difference = largest_difference(found[0].summary(), official)
    many = sum(map(len, results.values()))
    print(f"{len(data)} samples, {len(truth.boxes)} true boxes that count, {many} predictions")
    print(f"{'':<8}{'ours (s)':>10}{'devkit (s)':>12}{'times faster':>14}")
    print(f"{'metric':<8}{ours_s:>10.3f}{official['eval_time']:>12.1f}{official['eval_time'] / ours_s:>14.0f}")
    print(f"{'all':<8}{reading_s + ours_s:>10.1f}{devkit_s:>12.1f}{devkit_s / (reading_s + ours_s):>14.1f}")
    print(f"largest difference of any number {difference:.1e}; load average {os.getloadavg()[0]:.1f}")


def _predictions(boxes: Boxes, count: int) -> Boxes:
    boxes = as_detection_classes(boxes)
    boxes = boxes[boxes.labels >= 0]
    many = boxes[torch.arange(count) % len(boxes)]
    spread_m = torch.where(torch.arange(count) < len(boxes), 0.4, 8.0)[:, None]
    moved = many.centers + spread_m * torch.randn(count, 3).double() * torch.tensor([1.0, 1.0, 0.0])
    return replace(many, centers=moved, scores=torch.rand(count).double())


if __name__ == "__main__":
    main()
