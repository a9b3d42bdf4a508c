"""Time of moving splats: how fast one plays, and where a training step of SC-GS goes.

    python scripts/benchmark_moving.py play RUN             frames a second at 400 x 400, all moments once
    python scripts/benchmark_moving.py step DATASET         milliseconds of a step by its parts, and their floor

The floor of a part is the bytes that it must read and write over the bandwidth of a copy measured in the same run, or
its multiplications over what a matrix product of the same size reaches, whichever is longer.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from fewview import _native
from fewview.recon.methods.method_contract import Inputs
from fewview.recon.methods.registry import method
from fewview.recon.methods.sc_gs.model import DENSE, ScGs
from fewview.recon.optimise.dataset import Dataset
from fewview.recon.optimise.normalised_frame import world_from_normalised
from fewview.recon.optimise.trainer import Trainer
from fewview.render import render
from fewview.render.loss import l1_dssim
from fewview.scene.carry import carry
from fewview.scene.readers import load_run_capture, read_capture
from fewview.scene.run import Run
from fewview.scene.run_splat import load_run_splat
from fewview.scene.torch_threads import torch_threads


def milliseconds(work: Callable[[], object], repeats: int = 30) -> float:
    """Median time of a call, after two that are not counted."""
    times = []
    for i in range(repeats + 2):
        begun = time.perf_counter()
        work()
        if i >= 2:
            times.append(1000 * (time.perf_counter() - begun))
    return statistics.median(times)


def play(folder: Path, side: int) -> None:
    """Print frames a second of a moving run, drawn natively at its own cameras."""
    run = Run.open(folder)
    splat, capture = load_run_splat(run), load_run_capture(run)
    if splat.time_range_s is None or capture.cameras is None:
        raise SystemExit(f"{folder} holds no moving splat with cameras.")
    camera = capture.cameras[0].resized(torch.tensor(side), torch.tensor(side))
    first, last = splat.time_range_s
    moments = [first + (last - first) * i / 99 for i in range(100)]
    # As in training: PyTorch's threads would spin on the kernels' cores.
    with torch.no_grad(), torch_threads(1, splat.gaussians.means.device):
        moved = milliseconds(lambda: splat.at(moments[37]))
        still = splat.at(moments[37])
        drawn = milliseconds(lambda: render(still, camera))
        begun = time.perf_counter()
        for moment in moments:
            render(splat.at(moment), camera)
        seconds = time.perf_counter() - begun
    print(f"{len(splat):,} Gaussians, {side} x {side}, {_native.num_threads()} threads, {_native.isa()}")
    print(f"to their moment {moved:.2f} ms, drawn {drawn:.2f} ms, played {100 / seconds:.1f} frames a second")


def step(dataset: Dataset, inputs: Inputs, steps: int) -> None:
    """Print the time of a dense step of SC-GS by its parts, each beside its floor."""
    chosen = method("sc_gs")
    config = chosen.configure(inputs, {"steps": steps, "checkpoint_every_s": 0.0})
    model = chosen.initialise(inputs, config)
    assert isinstance(model, ScGs)
    trainer = Trainer(model, dataset, config)
    with torch_threads(model.torch_threads, trainer.device):
        while trainer.step < 0.8 * steps:
            trainer.advance()
        assert model.part == DENSE
        whole = milliseconds(trainer.advance)
        rows = parts(model, dataset)
    print(f"{model.table.rows:,} Gaussians, {model.nodes.rows} control points, K = {config.neighbours}")
    for name, found, floor in rows:
        print(f"{name:<34} {found:7.2f} ms   floor {floor:6.2f} ms")
    rest = whole - sum(found for _, found, _ in rows)
    print(f"{'Adam, and all else':<34} {rest:7.2f} ms")
    print(f"{'whole step':<34} {whole:7.2f} ms   floor {sum(floor for *_, floor in rows):6.2f} ms")


def parts(model: ScGs, dataset: Dataset) -> list[tuple[str, float, float]]:
    """(name, milliseconds forward and backward, floor in milliseconds) of what a step consists of."""
    block = torch.empty(1 << 24)
    per_ms = 2 * 4 * block.numel() / milliseconds(lambda: block.clone(), 10)  # bytes
    square = torch.rand(512, 512)
    multiplied = 2 * 512**3 / milliseconds(lambda: square @ square)  # flops a millisecond
    count, points, near = model.table.rows, model.nodes.rows, model.index.shape[1]
    hyper, view = model.table["hyper"].shape[1], dataset.view(dataset.train[0])
    moment = torch.tensor([0.4])

    def network() -> None:
        said = model._outputs(model.nodes["points"], moment)
        torch.cat([t.flatten() for t in said.values() if t.requires_grad]).sum().backward()

    weights_of = sum(p.numel() for p in model.network.parameters() if p.ndim == 2)
    said = {name: t[0].detach().requires_grad_() for name, t in model._outputs(model.nodes["points"], moment).items()}
    weights = model._weights().detach().requires_grad_()
    values = torch.cat([said["quat_residuals"], said["scale_residuals"]], dim=-1)

    def carried() -> None:
        moved, blend = carry(
            model.table["means"].detach(), model.nodes["points"].detach(), said["turns"], said["shifts"],
            values.detach().requires_grad_(), model.index, weights,
        )  # fmt: skip
        (moved.sum() + blend.sum()).backward()

    still = model.splat(None).detach()
    camera = dataset.cameras[dataset.train[0]]

    def drawn() -> None:
        g = replace(still, means=still.means.requires_grad_())
        render(g, camera).rgb.sum().backward()

    picture = torch.rand(view.height, view.width, 3, requires_grad=True)
    target = view.target(torch.zeros(3))
    pixels = view.height * view.width * 3
    return [
        ("network, control points", milliseconds(network), 6 * weights_of * points / multiplied),
        ("weights", milliseconds(lambda: model._weights().sum().backward()), 8 * count * (3 + hyper + near) / per_ms),
        ("carrying", milliseconds(carried), 8 * count * (3 + 7 + 2 * near) / per_ms),
        ("rasterising", milliseconds(drawn), 8 * (count * 59 + pixels) / per_ms),
        ("image loss", milliseconds(lambda: l1_dssim(picture, target, 0.2).backward()), 12 * pixels / per_ms),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("play", "step"))
    parser.add_argument("path", type=Path)
    parser.add_argument("--side", type=int, default=400, help="pixels of the picture's sides")
    parser.add_argument("--steps", type=int, default=2000, help="length of the run whose step is measured")
    options = parser.parse_args()
    if options.what == "play":
        play(options.path, options.side)
        return
    capture = read_capture(options.path)
    dataset = Dataset.from_capture(capture, test=capture.test or (), max_side=options.side)
    dataset = dataset.transformed(world_from_normalised(dataset.cameras[list(dataset.train)]).inverse())
    step(dataset, Inputs(dataset, capture), options.steps)


if __name__ == "__main__":
    main()
