"""Colour transforms and transient masks on photographs that were disturbed on purpose: held-out quality by setting.

    python scripts/benchmark_appearance.py FOX [--views 6 12] [--method 3dgs] [--sets clean both] [--keep FOLDER]
    python scripts/benchmark_appearance.py FOX --step-times

FOX is a folder with images/ and colmap_half/ (the fox of instant-ngp). Every 8th photograph in name order is held out
and left as it is; the others are disturbed (see disturbed_photographs.py), N of them trained on with the cameras of
colmap_half. All rows are measured in both ways: the colours of each held-out photograph fitted on its left half with
figures of the right half, and whole pictures as they are. Step times are processor times of 3DGS on 12 photographs,
steps of all settings in turn.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import cv2
import numpy as np
from benchmark_reconstruct import folder_for_runs, machine
from disturbed_photographs import Disturbance, disturbed
from fewview.recon.methods.method_contract import Inputs
from fewview.recon.methods.registry import method
from fewview.recon.methods.setting_text import parse_settings
from fewview.recon.optimise.dataset import Dataset
from fewview.recon.optimise.normalised_frame import world_from_normalised
from fewview.recon.optimise.trainer import Trainer
from fewview.recon.pipeline.evaluate import evaluate
from fewview.recon.pipeline.reconstruct_config import ReconstructConfig
from fewview.recon.pipeline.reconstruction import reconstruct
from fewview.scene.capture import evenly_spaced
from fewview.scene.readers import load_run_capture, read_capture
from fewview.scene.run_splat import load_run_splat
from fewview.scene.torch_threads import torch_threads

SETS = {
    "clean": Disturbance(colours=False, people=0),
    "colours": Disturbance(colours=True, people=0),
    "people": Disturbance(colours=False),
    "both": Disturbance(),
}
SETTINGS = {
    "neither": ("appearance=off",),
    "transforms": ("appearance=on",),
    "masks": ("appearance=off", "transient_masks=true"),
    "transforms and masks": ("appearance=on", "transient_masks=true"),
    "auto": (),
}
SIZE = (540, 960)  # of colmap_half
HOLD_OUT_EVERY = 8


def write_set(source: Path, target: Path, parts: Disturbance, seed: int) -> Path:
    """A copy of the photographs at the size of the cameras; all but the held-out ones disturbed."""
    target.mkdir(parents=True, exist_ok=True)
    for index, file in enumerate(sorted(source.glob("*.jpg"))):
        pixels = cv2.resize(cv2.imread(str(file)), SIZE, interpolation=cv2.INTER_AREA)
        if index % HOLD_OUT_EVERY:
            generator = np.random.default_rng([seed, index])
            pixels = disturbed(pixels[..., ::-1], generator, parts)[..., ::-1]
        cv2.imwrite(str(target / file.name), pixels, [cv2.IMWRITE_JPEG_QUALITY, 97])
    return target


def row(source: Path, run_path: Path, config: ReconstructConfig) -> str:
    start = time.perf_counter()
    run = reconstruct(source, run_path, config)
    seconds = time.perf_counter() - start
    capture = load_run_capture(run)
    dataset = Dataset.from_capture(capture, test=capture.test or ())
    to_world = world_from_normalised(dataset.cameras[list(dataset.train)])
    splat = load_run_splat(run).moved(to_world.inverse())
    found = evaluate(run, dataset.transformed(to_world.inverse()), splat, fit_colours=True)
    fitted, plain = found["mean"], found["unfitted"]
    used = "transforms" if run.metrics()["training"]["appearance"]["used"] else "none"
    return (
        f"{fitted['psnr']:.2f} / {fitted['ssim']:.3f} | {plain['psnr']:.2f} / {plain['ssim']:.3f} | {used} | "
        f"{run.metrics()['seconds']['training']:.0f} of {seconds:.0f}"
    )


def step_times(fox: Path, resolution: int, steps: int = 60) -> None:
    """Print the median processor time of a step for each setting, without the first ten."""
    capture = read_capture(fox / "colmap_half", images=fox / "images")
    capture = capture.subset(evenly_spaced(range(len(capture)), 12))
    dataset, chosen = Dataset.from_capture(capture, max_side=resolution), method("3dgs")
    trainers = {}
    for name, texts in SETTINGS.items():
        asked = parse_settings(chosen, (*texts, "steps=1000", "transient_from=0"))
        inputs = Inputs(dataset, capture)
        config = chosen.configure(inputs, asked)
        trainers[name] = Trainer(chosen.initialise(inputs, config), dataset, config)
    times: dict[str, list[float]] = {name: [] for name in trainers}
    with torch_threads(1):
        for _ in range(steps):
            for name, trainer in trainers.items():
                start = time.process_time()
                trainer.advance()
                times[name].append(time.process_time() - start)
    for name, seconds in times.items():
        print(f"{name}: {1e3 * statistics.median(seconds[10:]):.1f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fox", type=Path)
    parser.add_argument("--views", type=int, nargs="+", default=[6, 12])
    parser.add_argument("--method", default="3dgs")
    parser.add_argument("--resolution", type=int, default=480)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--settings", nargs="+", choices=list(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--set", nargs="*", default=[], help="further settings for all rows, FIELD=VALUE")
    parser.add_argument("--seed", type=int, default=0, help="of the disturbances")
    parser.add_argument("--keep", type=Path, help="folder for the photographs and runs, which are removed without it")
    parser.add_argument("--step-times", action="store_true")
    options = parser.parse_args()
    print(machine())
    if options.step_times:
        step_times(options.fox, options.resolution)
        return
    print(
        "| views | photographs | settings | half-image PSNR / SSIM | whole picture PSNR / SSIM | used | training (s) |"
    )
    print("|---|---|---|---|---|---|---|")
    with folder_for_runs(options.keep) as folder:
        for name in options.sets:
            images = write_set(options.fox / "images", folder / name, SETS[name], options.seed)
            for views in options.views:
                for settings in options.settings:
                    config = ReconstructConfig(
                        method=options.method,
                        resolution=options.resolution,
                        steps=options.steps,
                        views=views,
                        eval=True,
                        set=(*SETTINGS[settings], *options.set),
                        images=images,
                    )
                    run_path = folder / f"{name}_{views}_{settings.replace(' ', '_')}"
                    told = row(options.fox / "colmap_half", run_path, config)
                    print(f"| {views} | {name} | {settings} | {told} |", flush=True)


if __name__ == "__main__":
    main()
