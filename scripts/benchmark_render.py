"""Times of the CPU renderer: one training step by stage, scaling with threads, large pictures, memory.

    python scripts/benchmark_render.py [--only step|threads|large|memory] [--run RUN ...]

The scene is synthetic and seeded: Gaussians spread through the frustum of one 270 x 480 camera (the size of the
training photographs in the reconstruction benchmark), as large as it takes to cover the picture about as a trained
scene does. Every figure is a median over repeats; beside it stands the floor that its bytes set on this
machine, measured by a copy of 256 MB and a multiply-add loop of the same instruction set.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fewview import _native
from fewview.recon.optimise.adam import Optimiser, update
from fewview.recon.optimise.table import Column, Table
from fewview.render import native_rasterization as native
from fewview.render import rasterization
from fewview.render.loss import l1_dssim
from fewview.render.sh_factors import take_factors
from fewview.scene.formats import load_splat
from fewview.scene.readers import load_run_capture
from fewview.scene.run import Run

WIDTH, HEIGHT, FOCAL_PX = 270, 480, 350.0
SH_DEGREE = 3
FLOATS_PER_GAUSSIAN = 59  # 3 mean, 4 quaternion, 3 scale, 1 opacity, 48 SH
NAMES = ("means", "quats", "scales", "opacities", "sh")


@dataclass
class Scene:
    tensors: Table  # activated already, so that a step is the kernels' and not PyTorch's
    viewmats: torch.Tensor
    Ks: torch.Tensor
    target: torch.Tensor
    width: int
    height: int


def table_of(tensors: dict[str, torch.Tensor]) -> Table:
    """Columns as the trainer has them."""
    return Table(tensors | {"sh": Column(tensors["sh"], drawn_as_sh=True)})


def make_scene(count: int, width: int = WIDTH, height: int = HEIGHT) -> Scene:
    """`count` Gaussians between depth 2 and 6, with a standard deviation that shrinks as their number grows."""
    g = torch.Generator().manual_seed(0)
    focal = FOCAL_PX * width / WIDTH
    z = torch.rand(count, generator=g) * 4 + 2
    xy = (torch.rand(count, 2, generator=g) - 0.5) * z[:, None] * torch.tensor([width, height]) / focal
    sigma_px = 0.9 * (width * height / count) ** 0.5
    scales = (sigma_px / focal * z)[:, None] * torch.exp(torch.randn(count, 3, generator=g) * 0.4) * 0.5
    tensors = {
        "means": torch.cat([xy, z[:, None]], dim=1),
        "quats": torch.randn(count, 4, generator=g),
        "scales": scales,
        "opacities": torch.rand(count, generator=g) * 0.7 + 0.1,
        "sh": torch.randn(count, (SH_DEGREE + 1) ** 2, 3, generator=g) * 0.2,
    }
    K = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    return Scene(
        table_of(tensors), torch.eye(4)[None], K[None], torch.rand(height, width, 3, generator=g), width, height
    )


def run_scene(path: Path) -> Scene:
    """The splat of a run seen from its first camera, with that camera's photograph as the target."""
    run = Run.open(path)
    capture, g = load_run_capture(run), load_splat(run.splat_path).gaussians
    assert capture.cameras is not None
    camera = capture.cameras[0]
    sh = torch.zeros(len(g), (SH_DEGREE + 1) ** 2, 3)
    sh[:, : g.sh.shape[1]] = g.sh
    tensors = dict(zip(NAMES, (g.means, g.quats, g.scales, g.opacities, sh), strict=True))
    target = capture.image(0)[..., :3].float() / 255
    return Scene(
        table_of(tensors), camera.cam_from_world[None], camera.K[None], target, int(camera.width), int(camera.height)
    )


def forward(scene: Scene) -> tuple[torch.Tensor, dict]:
    colors, _, meta = rasterization(
        *(scene.tensors[n] for n in NAMES), scene.viewmats, scene.Ks, scene.width, scene.height,
        sh_degree=SH_DEGREE, packed=False,
    )  # fmt: skip
    return colors[0], meta


def pairs_of(meta: dict) -> int:
    """(Gaussian, tile) pairs of the first image, by the kernels' own rule of the ellipse."""
    lists = _native.TileLists()
    names = ("radii", "means2d", "depths", "conics", "opacities")
    lists.bin(meta["width"], meta["height"], *(meta[name][0].detach().contiguous().numpy() for name in names))
    return lists.n_pairs


def adam(scene: Scene, step: int) -> None:
    """The trainer's update of every column; rates so small that the scene stays what it is."""
    for column in scene.tensors.columns.values():
        update(column, Optimiser(lambda _: 1e-8), step)


def step_times(scene: Scene, repeats: int) -> tuple[dict[str, float], int]:
    """Median seconds of each part of a whole training step, and the number of (Gaussian, tile) pairs."""
    times: dict[str, list[float]] = {"forward": [], "loss": [], "backward": [], "Adam": [], "step": []}
    pairs = 0
    for step in range(1, repeats + 4):
        marks = [time.perf_counter()]
        image, meta = forward(scene)
        marks.append(time.perf_counter())
        loss = l1_dssim(image, scene.target)
        marks.append(time.perf_counter())
        loss.backward()
        marks.append(time.perf_counter())
        adam(scene, step)
        marks.append(time.perf_counter())
        pairs = pairs_of(meta)
        if step > 3:
            for name, a, b in zip(times, marks[:-1], marks[1:], strict=False):
                times[name].append(b - a)
            times["step"].append(marks[-1] - marks[0])
    return {name: statistics.median(t) for name, t in times.items()}, pairs


def kernel_times(scene: Scene, repeats: int) -> dict[str, float]:
    """Median seconds of each kernel, forward and backward apart."""
    s = scene.tensors
    count = len(s["means"])
    options = native.ProjectOptions(scene.width, scene.height)
    times: dict[str, list[float]] = {}

    def timed(name: str, work: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        start = time.perf_counter()
        result = work(*arguments, **options)
        times.setdefault(name, []).append(time.perf_counter() - start)
        return result

    gaussians = [s[n] for n in NAMES[:4]]
    for _ in range(repeats + 2):
        radii, means2d, depths, conics, _ = timed(
            "project", native.project, *gaussians, scene.viewmats, scene.Ks, options
        )
        colors = timed("SH", native.sh_colors, SH_DEGREE, s["means"], torch.zeros(1, 3), s["sh"], radii)
        flat = (means2d[0], depths[0], conics[0], s["opacities"], radii[0])
        images = timed("sort and bin", native.bin_gaussians, *flat, [(0, count)], scene.width, scene.height)
        image, _ = timed(
            "composite", native.rasterize, flat[0], flat[2], colors[0], flat[3], None, images, scene.width, scene.height
        )
        timed("loss", l1_dssim, image[0], scene.target)
        projected = [means2d, conics, colors]
        inner = timed("composite, backward", torch.autograd.grad, image.sum(), projected)
        spatial = [s["means"], s["quats"], s["scales"]]
        timed("project, backward", torch.autograd.grad, projected[:2], spatial, list(inner[:2]))
        timed("SH, backward", torch.autograd.grad, colors, s["means"], inner[2])
        take_factors(s["sh"])
    return {name: statistics.median(t[2:]) for name, t in times.items()}


def bandwidth() -> float:
    """Bytes a second of a large copy by all threads that NumPy uses (one), read and written bytes counted."""
    a, b = np.zeros(64 << 20, np.float32), np.empty(64 << 20, np.float32)
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        np.copyto(b, a)
        seconds.append(time.perf_counter() - start)
    return 2 * a.nbytes / min(seconds)


def floor_bytes(count: int, pairs: int, pixels: int) -> dict[str, int]:
    """Bytes that must move at least once in a step: every array that a stage reads or writes, caches ignored.

    Small scenes fit the caches and beat this; for large ones it is what memory allows. Gradients of SH are six floats.
    """
    n = count * 4
    return {
        "forward": n * (11 + 48 + 14) + pairs * (8 + 48) + pixels * 16,
        "loss": pixels * 3 * 4 * (2 + 2 * 3 + 2 + 1),
        "backward": n * (11 + 48 + 14 + 11 + 6 + 9) + pairs * (8 + 48 + 2 * 36) + pixels * 32,
        "Adam": n * (11 * 7 + 6 + 48 * 6),
    }


def in_own_process(call: str) -> str:
    """Output of a call of a function in this file, in a process whose memory holds nothing else."""
    code = (
        "import importlib.util, sys; "
        f"spec = importlib.util.spec_from_file_location('benchmark_render', {__file__!r}); "
        "module = importlib.util.module_from_spec(spec); sys.modules[spec.name] = module; "
        f"spec.loader.exec_module(module); module.{call}"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def peak_bytes() -> int:
    """Peak resident memory of this process."""
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) * 1024


def print_training_peak(count: int) -> None:
    torch.set_num_threads(1)
    step_times(make_scene(count), 1)
    print(peak_bytes())


def print_large() -> None:
    """Median seconds, pairs and bytes of a forward pass of a million Gaussians at 1920 x 1080."""
    torch.set_num_threads(1)
    scene = make_scene(1_000_000, 1920, 1080)
    before, seconds, pairs = peak_bytes(), [], 0
    with torch.no_grad():
        for _ in range(6):
            start = time.perf_counter()
            _, meta = forward(scene)
            seconds.append(time.perf_counter() - start)
            pairs = pairs_of(meta)
    print(statistics.median(seconds[1:]), pairs, peak_bytes() - before)


def report_step(runs: list[Path]) -> None:
    rate = bandwidth()
    scenes = {f"{n:,} (synthetic)": make_scene(n) for n in (10_800, 100_000, 1_000_000)}
    scenes |= {f"{len(s.tensors['means']):,} ({run.name})": s for run in runs for s in [run_scene(run)]}
    print("\n### One training step, SH degree 3, milliseconds (memory floor in brackets)\n")
    print("| Gaussians | pixels | pairs | forward | loss | backward | Adam | step | step / floor |")
    print("|" + "---|" * 9)
    for name, scene in scenes.items():
        count = len(scene.tensors["means"])
        times, pairs = step_times(scene, 30 if count < 10**6 else 5)
        floor = {k: v / rate for k, v in floor_bytes(count, pairs, scene.width * scene.height).items()}
        cells = [f"{times[k] * 1e3:.1f} ({floor[k] * 1e3:.1f})" for k in ("forward", "loss", "backward", "Adam")]
        print(
            f"| {name} | {scene.width} x {scene.height} | {pairs:,} | {' | '.join(cells)} | "
            f"{times['step'] * 1e3:.1f} | {times['step'] / sum(floor.values()):.1f} |"
        )
    print("\n### Kernels alone, milliseconds\n")
    rows = {name: kernel_times(scene, 9) for name, scene in scenes.items()}
    print("| kernel | " + " | ".join(rows) + " |")
    print("|---|" + "---|" * len(rows))
    for kernel in next(iter(rows.values())):
        print(f"| {kernel} | " + " | ".join(f"{times[kernel] * 1e3:.2f}" for times in rows.values()) + " |")


def report_threads() -> None:
    print("\n### Threads and instruction sets, 100,000 Gaussians, milliseconds a step\n")
    print("| instruction set | threads | step | forward | backward |")
    print("|---|---|---|---|---|")
    before = _native.isa(), _native.num_threads()
    for isa in _native.isas():
        for threads in sorted({1, before[1]}):
            _native.set_isa(isa)
            _native.set_num_threads(threads)
            t, _ = step_times(make_scene(100_000), 11)
            print(
                f"| {isa} | {threads} | {t['step'] * 1e3:.1f} | {t['forward'] * 1e3:.1f} | {t['backward'] * 1e3:.1f} |"
            )
    _native.set_isa(before[0])
    _native.set_num_threads(before[1])


def report_large() -> None:
    print("\n### Forward only, 1,000,000 Gaussians, 1920 x 1080\n")
    seconds, pairs, memory = in_own_process("print_large()").split()
    print(
        f"{float(seconds) * 1e3:.0f} ms, {int(pairs):,} pairs, {int(memory) / 2**20:.0f} MiB at the peak besides the "
        f"scene's own {59 * 4 * 10**6 / 2**20:.0f} MiB."
    )


def report_memory() -> None:
    print("\n### Peak memory of training, bytes per Gaussian, Adam's moments included\n")
    empty = int(in_own_process("print_training_peak(1)"))
    for count in (100_000, 1_000_000):
        peak = int(in_own_process(f"print_training_peak({count})"))
        print(f"* {count:,} Gaussians: {(peak - empty) / count:,.0f} (parameters alone: {4 * FLOATS_PER_GAUSSIAN})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reports = {
        "step": lambda: report_step(arguments.run),
        "threads": report_threads,
        "large": report_large,
        "memory": report_memory,
    }
    parser.add_argument("--only", choices=reports)
    parser.add_argument("--run", type=Path, action="append", default=[], help="also time the splat of this run")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # as the trainer does: the kernels have their own threads
    print(
        f"{platform.machine()}, {_native.isa()}, {_native.num_threads()} threads, Python {platform.python_version()}, "
        f"torch {torch.__version__}, copy at {bandwidth() / 2**30:.1f} GiB/s"
    )
    for name, report in reports.items():
        if arguments.only in (None, name):
            report()


if __name__ == "__main__":
    main()
