"""Time that SparseFusion takes for a frame, with and without voxelisation, and how much memory.

    python scripts/benchmark_detect.py INPUT [--preset paper] [--runs 5] [--train] [--mixed-precision] [--threads 2]
        [--device auto]

INPUT is a folder in the nuScenes format or an info file. Weights are random: times do not depend on them much.
Published figures leave the voxelisation out, so both are shown.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from fewview import _native
from fewview.detect.measure import Predictor
from fewview.detect.sparsefusion.config import preset
from fewview.detect.sparsefusion.driving_detector import SparseFusionDetector
from fewview.detect.sparsefusion.model import SparseFusionModel
from fewview.detect.tasks.driving_samples import open_driving_samples
from fewview.learn.processes import network_device, peak_memory_gb


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("input", type=Path)
    parser.add_argument("--preset", default="paper", choices=("paper", "paper-swin", "tiny"))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--train", action="store_true", help="a training step of one sample, too")
    parser.add_argument("--mixed-precision", action="store_true", help="bfloat16 where that is safe")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
        _native.set_num_threads(options.threads)
    torch.manual_seed(0)
    device = network_device(options.device)
    model = SparseFusionModel(preset(options.preset)).to(device).eval()
    detector = SparseFusionDetector(model)
    sample = open_driving_samples(options.input, detector.inputs.sweeps)[0]
    batch = Predictor(detector, device).batch(sample)
    mixed = torch.autocast(device.type, torch.bfloat16, enabled=options.mixed_precision)
    with torch.no_grad(), mixed:
        voxels = model.voxelize(batch)
        output = model(batch, voxels)
        rows = {
            "voxelisation": median_ms(lambda: model.voxelize(batch), options.runs, device),
            "network": median_ms(lambda: model(batch, voxels), options.runs, device),
            "boxes and NMS": median_ms(lambda: detector.decode(output), options.runs, device),
        }
    memory = {"detecting": peak_memory_gb(device)}
    if options.train:
        model.train()

        def step() -> None:
            with mixed:
                output = model(batch)
            torch.stack(list(detector.loss(output, batch).values())).sum().backward()

        rows["training step"] = median_ms(step, options.runs, device)
        memory["training"] = peak_memory_gb(device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    print(f"{options.preset}, {len(voxels.features)} voxels of {len(batch.points[0])} points; {name}, ", end="")
    print(f"{torch.get_num_threads()} threads, PyTorch {torch.__version__}\n")
    print("| part | ms, median of", options.runs, "|\n|---|---|")
    for part, ms in rows.items():
        print(f"| {part} | {ms:.0f} |")
    without = rows["network"] + rows["boxes and NMS"]
    print(f"| a frame without voxelisation | {without:.0f} ({1000 / without:.2f} FPS) |")
    whole = without + rows["voxelisation"]
    print(f"| a frame with voxelisation | {whole:.0f} ({1000 / whole:.2f} FPS) |")
    for part, gb in memory.items():
        print(f"| peak memory, {part} | {'unknown' if gb is None else f'{gb:.1f} GB'} |")


def median_ms(work: Callable[[], object], runs: int, device: torch.device) -> float:
    times = []
    for _ in range(runs + 1):  # the first one is not counted
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times[1:])


if __name__ == "__main__":
    main()
