"""Figures of ImGeoNet: boxes found in held-out rooms against the number of photographs, occupancy, and speed.

    python scripts/benchmark_indoor.py accuracy ROOMS RUN ...    mAP at 10, 20 and 50 views, occupancy at the same
    python scripts/benchmark_indoor.py speed ROOMS --preset paper --views 50

ROOMS is a folder of scenes in ScanNet's files (`make_rooms.py` makes some), RUN one of `fewview detect train --task
indoor`. The speed is that of one room with random weights.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fewview.detect.imgeonet.config import ImGeoNetConfig, preset
from fewview.detect.imgeonet.imgeonet_detector import ImGeoNetDetector
from fewview.detect.imgeonet.imgeonet_weights import load_imgeonet
from fewview.detect.imgeonet.model import ImGeoNet
from fewview.detect.imgeonet.room_losses import true_occupancy
from fewview.detect.imgeonet.room_preparation import RoomPreparation
from fewview.detect.measure import Predictor
from fewview.detect.metrics.indoor_metric import IndoorMetric
from fewview.detect.tasks.indoor_samples import open_rooms
from fewview.detect.tasks.room_sample import RoomSample
from fewview.learn.processes import peak_memory_gb
from torch import Tensor

CPU = torch.device("cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    accuracy = commands.add_parser("accuracy")
    accuracy.add_argument("rooms", type=Path)
    accuracy.add_argument("runs", type=Path, nargs="+")
    accuracy.add_argument("--split", default="val")
    accuracy.add_argument("--views", type=int, nargs="+", default=(10, 20, 50))
    speed = commands.add_parser("speed")
    speed.add_argument("rooms", type=Path)
    speed.add_argument("--preset", default="paper")
    speed.add_argument("--views", type=int, default=50)
    for command in (accuracy, speed):
        command.add_argument("--bfloat16", action="store_true")
    options = parser.parse_args()
    if options.command == "speed":
        measure_speed(options.rooms, options.preset, options.views, options.bfloat16)
        return
    print("| run | views | mAP@0.25 | mAP@0.5 | occupancy right | share free |\n|---|---|---|---|---|---|")
    for run in options.runs:
        for row in accuracy_rows(options.rooms, options.split, run, options.views, options.bfloat16):
            print(row, flush=True)


def accuracy_rows(rooms: Path, split: str, run: Path, view_counts: Sequence[int], bfloat16: bool) -> Iterator[str]:
    """A row for each number of views: mean average precision, and how many voxels are told right."""
    network = load_imgeonet(run).eval()
    config = network.config
    source = open_rooms(rooms, config.classes, split)
    samples = [source[i] for i in range(len(source))]
    metric = IndoorMetric({sample.token: sample.boxes for sample in samples if sample.boxes is not None}, config.yaw)
    truths = [occupancy_of(sample, config) for sample in samples] if config.geometry else []
    for views in view_counts:
        network.config = replace(config, test_views=views)
        detector = ImGeoNetDetector(network)
        found, right, free, count = {}, 0, 0, 0
        for i, sample in enumerate(samples):
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                output = network(Predictor(detector, CPU).batch(sample))
            found[sample.token] = metric.submitted(sample, detector.decode(output)[0])
            if output.occupancy is not None:
                seen = output.seen
                right += int(((output.occupancy > 0) == truths[i])[seen].sum())
                free += int((~truths[i])[seen].sum())
                count += int(seen.sum())
        summary = metric.evaluate(found).summary()
        numbers = [f"{summary[name]:.3f}" for name in ("mAP@0.25", "mAP@0.5")]
        numbers += [f"{right / count:.3f}", f"{free / count:.3f}"] if count else ["-", "-"]
        yield f"| {' | '.join((run.name, str(views), *numbers))} |"


def occupancy_of(sample: RoomSample, config: ImGeoNetConfig) -> Tensor:
    """bool [1, nx, ny, nz]: the truth from the depths of all photographs."""
    every = RoomPreparation(replace(config, train_views=len(sample.frames), shift_std_m=(0.0, 0.0, 0.0)))
    prepared = every.prepare(every.read(sample), np.random.default_rng(0))
    return true_occupancy(every.collate([prepared]), config)


def measure_speed(rooms: Path, name: Any, views: int, bfloat16: bool) -> None:
    """Print the processor's seconds of each part, those of the clock, and the peak memory of the process."""
    torch.manual_seed(0)
    config = replace(preset(name), test_views=views)
    detector = ImGeoNetDetector(ImGeoNet(config))
    network: Any = detector.network.eval()
    seconds: dict[str, float] = {}
    for part in ("pyramid", "occupancy", "neck", "head"):
        module = getattr(network, part)
        module.forward = _timed(module.forward, part, seconds)
    sample = open_rooms(rooms, config.classes)[0]
    start, start_cpu = time.perf_counter(), time.process_time()
    batch = Predictor(detector, CPU).batch(sample)
    seconds["reading"] = time.process_time() - start_cpu
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        output = network(batch)
    boxes = _timed(detector.decode, "boxes", seconds)(output)
    total, total_cpu = time.perf_counter() - start, time.process_time() - start_cpu
    seconds["lifting and the rest"] = total_cpu - sum(seconds.values())
    size = f"{batch.images.shape[-1]} x {batch.images.shape[-2]}"
    print(f"{name}, {batch.images.shape[1]} views of {size}: {total:.1f} s, {total_cpu:.1f} s of processors, which are")
    print(", ".join(f"{part} {value:.2f}" for part, value in seconds.items()))
    print(f"{len(boxes[0])} boxes, peak memory {peak_memory_gb(CPU) or 0:.2f} GB, {torch.get_num_threads()} threads")


def _timed(call: Callable[..., Any], part: str, seconds: dict[str, float]) -> Callable[..., Any]:
    def timed(*inputs: Tensor) -> Any:
        start = time.process_time()
        result = call(*inputs)
        seconds[part] = seconds.get(part, 0.0) + time.process_time() - start
        return result

    return timed


if __name__ == "__main__":
    main()
