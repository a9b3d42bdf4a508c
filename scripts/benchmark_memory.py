"""Memory and processor time of a training step with very many Gaussians, part by part.

    python scripts/benchmark_memory.py [--gaussians 5000000] [--steps 3] [--width 640 --height 360] [--threads 1]

The scene is seeded: Gaussians in front of a few cameras, as dense as those of a large capture. Memory is the process's,
the most that it had within a part (VmHWM, reset before each); processor seconds are user and system together.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from fewview import _native
from fewview.recon.methods.gaussian_splatting.config import GaussianSplattingConfig
from fewview.recon.methods.gaussian_splatting.model import GaussianSplatting
from fewview.recon.optimise.adam import update
from fewview.recon.optimise.dataset import Dataset, View
from fewview.recon.optimise.trainer import Trainer
from fewview.scene.cameras import Cameras
from fewview.scene.gaussians import Gaussians
from fewview.scene.geometry import se3_from, so3_exp


def memory_gb(field: str) -> float:
    """VmRSS (now) or VmHWM (the most since it was reset) of this process."""
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith(field))
    return int(line.split()[1]) * 1024 / 1e9


@contextmanager
def part(name: str, rows: list[tuple[str, float, float, float]]) -> Iterator[None]:
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
    started = time.process_time()
    yield
    rows.append((name, time.process_time() - started, memory_gb("VmRSS"), memory_gb("VmHWM")))
    print("| {} | {:.2f} | {:.2f} | {:.2f} |".format(*rows[-1]), flush=True)


def scene(count: int, width: int, height: int) -> tuple[Gaussians, Dataset]:
    g = torch.Generator().manual_seed(0)
    size = 0.6 * (width * height / count) ** 0.5 / width * 4
    gaussians = Gaussians(
        means=torch.rand(count, 3, generator=g) * torch.tensor([4.0, 4 * height / width, 2.0])
        - torch.tensor([2.0, 2 * height / width, 1.0]),
        quats=torch.randn(count, 4, generator=g),
        log_scales=torch.full((count, 3), size).log() + 0.3 * torch.randn(count, 3, generator=g),
        opacity_logits=torch.randn(count, generator=g),
        sh=torch.randn(count, 16, 3, generator=g) * 0.1,
    )
    turn = torch.linspace(-0.2, 0.2, 3)
    rotation = so3_exp(torch.stack([0 * turn, turn, 0 * turn], dim=-1))
    pose = se3_from(rotation, torch.tensor([0.0, 0, 4]).expand(3, 3))
    cameras = Cameras.pinhole(pose, float(width), width, height)
    photographs = torch.randint(0, 256, (3, height, width, 3), generator=g, dtype=torch.uint8)
    views = tuple(View(p, None, K) for p, K in zip(photographs, cameras.K, strict=True))
    return gaussians, Dataset(views, cameras, ("a", "b", "c"), (0, 1, 2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gaussians", type=int, default=5_000_000)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--height", type=int, default=360)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    _native.set_num_threads(options.threads)
    rows: list[tuple[str, float, float, float]] = []
    print(f"{options.gaussians:,} Gaussians of degree 3, {options.width} x {options.height}\n")
    print("| part | processor s | GB after | GB at most |\n|---|---|---|---|")
    with part("program and PyTorch", rows):
        pass
    with part("the Gaussians", rows):
        gaussians, dataset = scene(options.gaussians, options.width, options.height)
    with part("values and moments", rows):
        config = GaussianSplattingConfig(
            steps=1000, max_gaussians=options.gaussians, densification="none", appearance="off", sh_every=0.0
        )
        model = GaussianSplatting(gaussians, config, 1.0)
        del gaussians
        trainer = Trainer(model, dataset, config)
    for number in range(options.steps):
        title = f"step {number + 1}: "
        step = trainer._next_step()
        with part(f"{title}picture and loss", rows):
            loss = sum(model.loss(step).values())
        with part(f"{title}backward", rows):
            loss.backward()  # type: ignore[union-attr]
        del loss
        step.renders.clear()
        for key, (table, name) in trainer._columns.items():
            with part(f"{title}Adam of {name}", rows):
                update(model.tables[table].columns[name], trainer.stage.optimisers[key], number)
        trainer.step += 1
    last = rows[-(len(trainer._columns) + 2) :]
    print(f"\nA step: {sum(r[1] for r in last):.2f} processor seconds; at most {max(r[3] for r in rows):.2f} GB.")


if __name__ == "__main__":
    main()
