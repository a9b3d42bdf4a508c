"""Checks and times what only a GPU can show; prints one table. Exits 0 with 'not run' where there is none.

    python scripts/gpu_check.py

1. gsplat through `fewview.render.rasterization` against the CPU kernels and against the reference: pictures and
   gradients of every input. 2. Times of a training step on the GPU and on the CPU. 3. One reconstruction of the
   bundled sample's photographs with --device cuda.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from fewview.render import rasterization
from fewview.render import reference_rasterization as reference
from fewview.render.loss import l1_dssim
from torch import Tensor

WIDTH, HEIGHT = 270, 480
NAMES = ("means", "quats", "scales", "opacities", "sh", "viewmats")


def make_scene(count: int, device: str) -> dict[str, Tensor]:
    """`count` seeded Gaussians in front of one camera; the same numbers on every device."""
    g = torch.Generator().manual_seed(0)
    z = torch.rand(count, generator=g) * 4 + 2
    xy = (torch.rand(count, 2, generator=g) - 0.5) * z[:, None] * torch.tensor([WIDTH, HEIGHT]) / 350
    size = 0.45 * (WIDTH * HEIGHT / count) ** 0.5 / 350 * z
    scene = {
        "means": torch.cat([xy, z[:, None]], dim=1),
        "quats": torch.randn(count, 4, generator=g),
        "scales": size[:, None] * torch.exp(torch.randn(count, 3, generator=g) * 0.4),
        "opacities": torch.rand(count, generator=g) * 0.7 + 0.1,
        "sh": torch.randn(count, 16, 3, generator=g) * 0.2,
        "viewmats": torch.eye(4)[None],
    }
    return {name: t.to(device).requires_grad_() for name, t in scene.items()}


def draw(scene: dict[str, Tensor], function: Callable[..., Any] = rasterization, **options: Any) -> tuple:
    device = scene["means"].device
    K = torch.tensor([[[350.0, 0, WIDTH / 2], [0, 350, HEIGHT / 2], [0, 0, 1]]], device=device)
    return function(
        *(scene[n] for n in NAMES[:5]),
        scene["viewmats"],
        K,
        WIDTH,
        HEIGHT,
        sh_degree=3,
        render_mode="RGB+ED",
        **options,
    )


def gradients(
    scene: dict[str, Tensor], function: Callable[..., Any] = rasterization, **options: Any
) -> dict[str, Tensor]:
    """The picture, and what flows back to every input from a fixed weighting of it; on the CPU."""
    colors, alphas, _ = draw(scene, function, **options)
    weights = torch.rand(colors.shape, generator=torch.Generator().manual_seed(1)).to(colors.device)
    ((colors * weights).sum() + alphas.sum()).backward()
    return {"picture": colors.detach().cpu()} | {n: scene[n].grad.cpu() for n in NAMES}  # type: ignore[union-attr]


def compare(title: str, a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    """Prints relative L2 differences; whether all stay below 1e-2 (hard cut-offs flip in a few pixels)."""
    differences = {name: float((a[name] - b[name]).norm() / b[name].norm().clamp_min(1e-12)) for name in b}
    print(f"| {title} | " + " | ".join(f"{d:.1e}" for d in differences.values()) + " |")
    return max(differences.values()) < 1e-2


def check_against_cpu() -> bool:
    print(
        "\nRelative L2 difference\n\n| pair | picture | " + " | ".join(NAMES) + " |\n|---|" + "---|" * (len(NAMES) + 1)
    )
    passed = True
    for packed in (False, True):
        on_gpu = gradients(make_scene(5000, "cuda"), packed=packed)
        passed &= compare(
            f"gsplat / CPU kernels, packed={packed}", on_gpu, gradients(make_scene(5000, "cpu"), packed=packed)
        )
    small_gpu, small_reference = make_scene(400, "cuda"), make_scene(400, "cpu")
    passed &= compare(
        "gsplat / reference", gradients(small_gpu, packed=False), gradients(small_reference, reference.rasterization)
    )
    return passed


def step_seconds(count: int, device: str, repeats: int = 20) -> float:
    """Median seconds of a training step with torch's Adam."""
    scene = make_scene(count, device)
    optimizer = torch.optim.Adam(list(scene.values()), lr=1e-8)
    target = torch.rand(HEIGHT, WIDTH, 3, device=device)
    seconds = []
    for _ in range(repeats + 3):
        if device == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        colors, _, _ = draw(scene, packed=False)
        l1_dssim(colors[0, ..., :3].contiguous(), target).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[3:])


def report_times() -> None:
    print("\nA training step, 270 x 480, milliseconds\n\n| Gaussians | GPU | CPU |\n|---|---|---|")
    for count in (10_800, 100_000):
        print(f"| {count:,} | {step_seconds(count, 'cuda') * 1e3:.2f} | {step_seconds(count, 'cpu') * 1e3:.1f} |")
    print(f"| 1,000,000 | {step_seconds(1_000_000, 'cuda') * 1e3:.2f} | |")


def reconstruct() -> bool:
    from fewview.scene.sample import sample_path

    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "fewview", "reconstruct", str(sample_path()), "--eval", "--device", "cuda"]
        start = time.perf_counter()
        done = subprocess.run(
            [*command, "-o", str(Path(folder) / "run"), "--json", "--quiet"], capture_output=True, text=True
        )
        print(f"\nReconstruction of the sample on the GPU: {time.perf_counter() - start:.1f} s, exit {done.returncode}")
        print(done.stdout.strip().splitlines()[-1] if done.stdout.strip() else done.stderr.strip())
        return done.returncode == 0


def main() -> int:
    if not torch.cuda.is_available():
        print("not run: PyTorch sees no GPU here")
        return 0
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    passed = check_against_cpu()
    report_times()
    passed &= reconstruct()
    print("passed" if passed else "FAILED")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
