"""CoherentGS beside other methods from two to nine photographs with cameras, its ablation, and its time by parts.

    python scripts/benchmark_coherentgs.py quality  FOX [--views 2 3 4] [--methods coherentgs rdg_gs 3dgs instantsplat]
    python scripts/benchmark_coherentgs.py quality  FOX --depth-prior PATH [--methods instantsplat coherentgs auto]
    python scripts/benchmark_coherentgs.py ablation FOX [--views 3]
    python scripts/benchmark_coherentgs.py step     FOX [--views 3]

FOX is the fox of instant-ngp (images/, colmap_half/), or any input with cameras. Held out is every 8th photograph,
or the data set's own split. Figures are of whole pictures, and of the pixels that the training photographs saw: those
of one mask for all methods, from the depth of a 3DGS reconstruction of all photographs that are not held out. With
--depth-prior each method is run without it and with it. Times are of the processor, user and system, for the whole
command. With --keep, what has been measured is not run again. Photographs without cameras first get them from all of
them together: `fewview poses`, then `run_as_colmap.py`.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmark_reconstruct import folder_for_runs, machine, reconstruct
from fewview.recon.methods.coherentgs.config import CoherentConfig
from fewview.recon.methods.coherentgs.model import DEPTH, OPACITY, Coherent
from fewview.recon.optimise.dataset import Dataset
from fewview.recon.optimise.trainer import Trainer
from fewview.recon.pipeline.prepare_method import prepare_method
from fewview.recon.pipeline.reconstruct_config import ReconstructConfig
from fewview.recon.pipeline.seen_pixels import SeenPixels
from fewview.render.metrics import psnr, ssim
from fewview.scene.readers import load_run_capture
from fewview.scene.run import Run
from fewview.scene.run_splat import load_run_splat
from fewview.scene.torch_threads import torch_threads
from PIL import Image
from torch import Tensor

WITHOUT_PRESET = ("3dgs", "instantsplat")  # whose steps are --steps; the others have a preset for a processor
ABLATIONS = {
    "full": (),
    "no alignment": ("alignment=off",),
    "no decoder": ("decoder=free",),
    "no total variation": ("smoothness_weight=0",),
    "no flow": ("flow_weight=0",),
    "with supersampling": ("supersampling=4",),  # which the quick preset leaves out
    "unseen areas left empty": ("unseen=empty",),
}


def source_options(source: Path) -> tuple[Path, tuple[str, ...]]:
    """The input of the command for a folder of photographs with cameras."""
    if (source / "colmap_half").is_dir():
        return source / "colmap_half", ("--images", str(source / "images"))
    return source, ()


def masks_of(reference: Run, names: Sequence[str]) -> dict[str, Tensor]:
    """By name of a held-out photograph bool [H, W]: what the photographs of these names saw of it."""
    capture = load_run_capture(reference)
    assert capture.cameras is not None
    number = {name: i for i, name in enumerate(capture.names)}
    gaussians = load_run_splat(reference).at()
    seen = SeenPixels(gaussians, capture.cameras[[number[name] for name in names]])
    return {capture.names[i]: seen.of(capture.cameras[i]) for i in capture.test or ()}


def figures(run: Run, masks: dict[str, Tensor] | None) -> str:
    """Held-out figures of a run as columns: whole pictures, seen pixels, and the share of these."""
    views = run.metrics()["eval"]["views"]
    whole = [statistics.fmean(v[k] for v in views) for k in ("psnr", "ssim")]
    if masks is None:
        return f"{whole[0]:.2f} / {whole[1]:.3f} | | "
    rows = []
    capture = load_run_capture(run)
    dataset = Dataset.from_capture(capture, test=capture.test or ())
    for v in views:
        mask = masks[v["name"]]
        image = torch.from_numpy(np.asarray(Image.open(run.path / v["render"]))[..., :3].copy()).float() / 255
        index = dataset.names.index(v["name"])
        target = dataset.view(index).target(torch.tensor(run.metrics()["training"]["background"]))
        seen = torch.where(mask[..., None], image, target)
        rows.append((psnr(image[mask][:, None], target[mask][:, None]), ssim(seen, target), float(mask.float().mean())))
    a, b, share = (statistics.fmean(column) for column in zip(*rows, strict=True))
    return f"{whole[0]:.2f} / {whole[1]:.3f} | {a:.2f} / {b:.3f} | {100 * share:.0f} %"


def measured(source: Path, run: Path, *options: str) -> tuple[float, dict[str, Any]]:
    """Processor seconds of the command and the metrics of its run; what was measured before is not run again."""
    if run.is_dir() and "processor_s" in (known := Run.open(run).metrics()):
        return known["processor_s"], known
    before = os.times()
    _, metrics = reconstruct(source, run, *options)
    after = os.times()
    took = after.children_user + after.children_system - before.children_user - before.children_system
    if "error" not in metrics:
        Run.open(run).add_metrics(processor_s=took)
    return took, metrics


def quality(
    source: Path,
    views: list[int],
    methods: list[str],
    folder: Path,
    extra: Sequence[str],
    prior: Path | None,
    steps: int,
) -> None:
    """One row for each method and number of photographs, and one more with the prior where there is one."""
    path, options = source_options(source)
    options = (*options, "--eval", *extra)
    measured(path, folder / "reference", *options, "--method", "3dgs", "--steps", "2000")
    print("| photographs | method | whole pictures | seen pixels | share | Gaussians | processor time (s) |")
    print("|---|---|---|---|---|---|---|")
    for n in views:
        for name in methods:
            asked = (*options, "--views", str(n), "--method", name)
            asked = (*asked, "--steps", str(steps)) if name in WITHOUT_PRESET else asked
            for label, given in (("", ()), *([(" with prior", ("--depth-prior", str(prior)))] if prior else [])):
                run = folder / f"{name}_{n}{label.replace(' ', '_')}"
                took, metrics = measured(path, run, *asked, *given)
                row(f"{n} | {name}{label}", took, metrics, run, folder)
                if metrics.get("training", {}).get("comparison"):
                    print(metrics["training"]["reason"], flush=True)


def row(name: str, took: float, metrics: dict[str, Any], run: Path, folder: Path) -> None:
    """Print the figures of a run."""
    if "error" in metrics:
        print(f"| {name} | {metrics['error']} |", flush=True)
        return
    capture = load_run_capture(Run.open(run))
    train = [n for i, n in enumerate(capture.names) if i not in set(capture.test or ())]
    masks = masks_of(Run.open(folder / "reference"), train)
    count = metrics["training"]["gaussians"]
    print(f"| {name} | {figures(Run.open(run), masks)} | {count:,} | {took:.1f} |", flush=True)


def ablation(source: Path, views: int, folder: Path, extra: Sequence[str]) -> None:
    """The quick preset without each of its parts."""
    path, options = source_options(source)
    options = (*options, "--eval", *extra)
    measured(path, folder / "reference", *options, "--method", "3dgs", "--steps", "2000")
    print(
        "| variant | whole pictures | seen pixels | share | Gaussians | processor time (s) |\n|---|---|---|---|---|---|"
    )
    for name, changes in ABLATIONS.items():
        run = folder / name.replace(" ", "_")
        given = ("--set", *changes) if changes else ()
        took, metrics = measured(path, run, *options, "--views", str(views), "--method", "coherentgs", *given)
        row(name, took, metrics, run, folder)


def step(source: Path, views: int, folder: Path, extra: Sequence[str]) -> None:
    """Milliseconds of a step by its parts."""
    path, options = source_options(source)
    asked = ("--views", str(views), "--eval", "--method", "coherentgs", "--set", "steps=2")
    reconstruct(path, folder / "step", *options, *extra, *asked)
    run = Run.open(folder / "step")
    capture = load_run_capture(run)
    dataset = Dataset.from_capture(capture, test=capture.test or ())
    prepared = prepare_method(run, capture, dataset, ReconstructConfig(method="coherentgs"))
    model, config = prepared.model, prepared.choice.config
    assert isinstance(model, Coherent)
    assert isinstance(config, CoherentConfig)
    trainer = Trainer(model, prepared.dataset, config)
    with torch_threads(model.torch_threads, trainer.device):
        whole = milliseconds(trainer.advance)

        def decode() -> None:
            sum(model.modules[name]().sum() for name in (DEPTH, OPACITY)).backward()

        def flow() -> None:
            depths = [z.clone().requires_grad_() for z in model._aligned()]
            model._flow_distance(0, depths).backward()

        decoding, matching = milliseconds(decode), milliseconds(flow)
    print(f"{len(model.splat()):,} Gaussians")
    print(
        f"step {whole:.1f} ms, decoders {decoding:.1f} ms there and back, flow {matching:.1f} ms, the rest rasterising"
    )


def milliseconds(work: Callable[[], object], repeats: int = 10) -> float:
    """Median time of a call, after two that are not counted."""
    times = []
    for i in range(repeats + 2):
        begun = time.perf_counter()
        work()
        if i >= 2:
            times.append(1000 * (time.perf_counter() - begun))
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("quality", "ablation", "step"))
    parser.add_argument("data", type=Path)
    parser.add_argument("--views", nargs="*", type=int)
    parser.add_argument("--methods", nargs="*", default=["coherentgs", "rdg_gs", "3dgs", "instantsplat"])
    parser.add_argument("--resolution", default="480", help="longer side in training, pixels")
    parser.add_argument("--steps", type=int, default=1000, help="of 3dgs and instantsplat")
    parser.add_argument("--depth-prior", type=Path, help="for `quality`: each method without and with it")
    parser.add_argument("--keep", type=Path, help="folder for the runs, in which this goes on")
    arguments = parser.parse_args()
    source, extra = arguments.data.resolve(), ("--resolution", arguments.resolution)
    print(machine() + "\n")
    with folder_for_runs(arguments.keep) as folder:
        if arguments.what == "quality":
            views, prior = arguments.views or [2, 3, 4], arguments.depth_prior
            quality(source, views, arguments.methods, folder, extra, prior, arguments.steps)
        else:
            what = ablation if arguments.what == "ablation" else step
            what(source, (arguments.views or [3])[0], folder, extra)


if __name__ == "__main__":
    main()
