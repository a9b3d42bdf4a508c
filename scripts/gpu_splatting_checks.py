"""Splatting's part of `gpu_check.py`: kernels, methods, the whole pipeline, and times."""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from fewview.recon.evidence.depth_maps import DepthMap, Stereo
from fewview.recon.evidence.evidence_kinds import DEPTH
from fewview.recon.methods.method_contract import Inputs
from fewview.recon.methods.registry import method
from fewview.recon.optimise import adam
from fewview.recon.optimise.dataset import Dataset, View
from fewview.recon.optimise.trainer import Trainer
from fewview.render import rasterization
from fewview.render import reference_rasterization as reference
from fewview.render.loss import l1_dssim
from fewview.scene.cameras import Cameras
from fewview.scene.capture import Capture, Frame
from fewview.scene.geometry import se3_from, so3_exp
from fewview.scene.point_cloud import PointCloud
from gpu_check_row import Row, compared
from torch import Tensor

WIDTH, HEIGHT = 270, 480
NAMES = ("means", "quats", "scales", "opacities", "sh", "viewmats")
METHODS = ("3dgs", "instantsplat", "sc_gs", "deformable")


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
    inputs = (scene[n] for n in NAMES[:5])
    return function(*inputs, scene["viewmats"], K, WIDTH, HEIGHT, sh_degree=3, render_mode="RGB+ED", **options)


def gradients(
    scene: dict[str, Tensor], function: Callable[..., Any] = rasterization, **options: Any
) -> dict[str, Tensor]:
    """The picture, and what flows back to every input from a fixed weighting of it."""
    colors, alphas, _ = draw(scene, function, **options)
    weights = torch.rand(colors.shape, generator=torch.Generator().manual_seed(1)).to(colors.device)
    ((colors * weights).sum() + alphas.sum()).backward()
    return {"picture": colors.detach()} | {n: scene[n].grad for n in NAMES}  # type: ignore[dict-item]


def check_splatting(device: str, small: bool) -> Iterator[Row]:
    """Pictures and gradients may differ by the few pixels in which a hard cut-off flips."""
    count = 500 if small else 5000
    for packed in (False, True):
        on_device = gradients(make_scene(count, device), packed=packed)
        on_cpu = gradients(make_scene(count, "cpu"), packed=packed)
        yield compared(f"picture and gradients, packed={packed}, against the CPU", on_device, on_cpu, 1e-2)
    few = 50 if small else 400
    theirs = gradients(make_scene(few, "cpu"), reference.rasterization)
    yield compared("the same against the reference", gradients(make_scene(few, device), packed=False), theirs, 1e-2)
    yield compared("loss and its gradient", _loss(device), _loss("cpu"), 1e-4)
    yield compared("three steps of Adam", _adam(device), _adam("cpu"), 1e-5)


def _loss(device: str) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(2)
    image, target = (torch.rand(60, 80, 3, generator=g).to(device) for _ in range(2))
    value = l1_dssim(image.requires_grad_(), target)
    value.backward()
    assert image.grad is not None
    return {"loss": value, "gradient": image.grad}


def _adam(device: str) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(3)
    values = {name: torch.randn(50, 6, generator=g).to(device) for name in ("one rate", "a rate for each column")}
    rates = {"one rate": 0.01, "a rate for each column": torch.linspace(0.01, 0.02, 6)}
    for name, value in values.items():
        moments = torch.zeros_like(value), torch.zeros_like(value)
        for step in range(1, 4):
            grad = torch.randn(50, 6, generator=g).to(device)
            adam.adam_step(value, grad, *moments, rates[name], None, None, 0.9, 0.999, 1e-15, step)
    return values


def film(views: int = 6, width: int = 48, height: int = 36) -> tuple[Dataset, Stereo]:
    """Photographs of seeded blobs that drift apart, of different moments, and the depth in them."""
    g = torch.Generator().manual_seed(4)
    means, drift = 0.5 * torch.randn(60, 3, generator=g), 0.1 * torch.randn(60, 3, generator=g)
    colors = torch.rand(60, 3, generator=g)
    turn = torch.linspace(-0.5, 0.5, views)
    rotation = so3_exp(torch.stack([0 * turn, turn, 0 * turn], dim=-1))
    pose = se3_from(rotation, torch.tensor([0.0, 0, 3]).expand(views, 3))
    cameras = Cameras.pinhole(pose, 45.0, width, height, times_s=torch.linspace(0, 1, views))
    photographs, depths = [], []
    for i in range(views):
        drawn, alpha, _ = rasterization(
            means + drift * i / views, torch.tensor([1.0, 0, 0, 0]).expand(60, 4), torch.full((60, 3), 0.15),
            torch.full((60,), 0.9), colors, cameras.cam_from_world[i][None], cameras.K[i][None], width, height,
            render_mode="RGB+ED",
        )  # fmt: skip
        photographs.append(View((drawn[0, ..., :3] * 255).round().byte(), None, cameras.K[i]))
        depth = torch.where(alpha[0, ..., 0] > 0.5, drawn[0, ..., 3], torch.tensor(3.0))
        depths.append(DepthMap(depth, torch.full_like(depth, 5.0)))
    points = PointCloud(means, (colors * 255).byte())
    names = tuple(f"{i}.png" for i in range(views))
    return Dataset(tuple(photographs), cameras, names, tuple(range(views)), points=points), Stereo(
        cameras, tuple(depths)
    )


def check_methods(device: str, small: bool) -> Iterator[Row]:
    """From the same start, the first loss of the device is the CPU's; then it falls."""
    for name in METHODS:
        steps = 200 if not small else 60 if name == "sc_gs" else 20  # SC-GS begins anew in its second part
        first = {kind: _trainer(name, kind, steps).advance() for kind in ("cpu", device)}
        difference = abs(first[device] - first["cpu"]) / abs(first["cpu"])
        yield Row(f"{name}: first loss", f"{first[device]:.4f}", f"{first['cpu']:.4f}, to 1 %", difference <= 1e-2)
        trainer, losses = _trainer(name, device, steps), []
        while trainer.step < trainer.steps:
            losses.append(trainer.advance())
        least = min(losses[len(losses) // 2 :])
        falls = math.isfinite(least) and least < losses[0]
        yield Row(f"{name}: least loss", f"{least:.4f}", f"< {losses[0]:.4f}", falls)
        if device == "cuda":
            waits = _waits(_trainer(name, device, steps))
            yield Row(f"{name}: waits in eight steps", str(waits), "0", waits == 0)


def _trainer(name: str, device: str, steps: int) -> Trainer:
    dataset, stereo = film()
    frames = [
        Frame(name, view.width, view.height, view.pixels.numpy, time_s=dataset.time_s(i))
        for i, (name, view) in enumerate(zip(dataset.names, dataset.views, strict=True))
    ]
    capture = Capture(tuple(frames), "film", dataset.cameras, dataset.points)
    inputs = Inputs(dataset.to(device), capture, False, evidence={DEPTH: stereo})
    chosen = method(name)
    settings = {"steps": steps, "checkpoint_every_s": 0.0, "densification": "none", "neighbours_every": 100}
    settings |= {"random_points": 100, "nodes": 16, "node_candidates": 32, "node_loss": "image"}
    config = chosen.configure(inputs, {k: v for k, v in settings.items() if hasattr(chosen.config, k)})
    torch.manual_seed(0)
    return Trainer(chosen.initialise(replace(inputs), config), inputs.dataset, config)


def _waits(trainer: Trainer) -> int:
    """Times that steps 2 to 9 wait for the GPU, as PyTorch counts them."""
    trainer.advance()
    trainer.advance()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(8):
                trainer.advance()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(w.message) for w in caught)


def check_pipeline(device: str, small: bool) -> Iterator[Row]:
    from fewview.scene.sample import sample_path

    extra = ["--steps", "20", "--resolution", "160", "--views", "4"] if small else []
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "fewview", "reconstruct", str(sample_path()), "--device", device, *extra]
        started = time.perf_counter()
        done = subprocess.run(
            [*command, "-o", str(Path(folder) / "run"), "--eval", "--json", "--quiet"], capture_output=True, text=True
        )
        seconds = time.perf_counter() - started
        yield Row("the sample's exit code", str(done.returncode), "0", done.returncode == 0)
        if done.returncode == 0:
            psnr = json.loads(done.stdout.strip().splitlines()[-1])["eval"]["psnr"]
            least = 10 if small else 20
            yield Row("held-out photographs", f"{psnr:.2f} dB in {seconds:.1f} s", f">= {least} dB", psnr >= least)
        else:
            yield Row("its words", (done.stderr.strip().splitlines() or ["none"])[-1], "", False)


def step_seconds(count: int, device: str, repeats: int = 20) -> float:
    """Median seconds of a training step with torch's Adam."""
    scene = make_scene(count, device)
    optimizer = torch.optim.Adam(list(scene.values()), lr=1e-8, fused=device == "cuda")
    target = torch.rand(HEIGHT, WIDTH, 3, device=device)
    seconds = []
    for _ in range(repeats + 3):
        if device == "cuda":
            torch.cuda.synchronize()
        started = time.perf_counter()
        colors, _, _ = draw(scene, packed=False)
        l1_dssim(colors[0, ..., :3].contiguous(), target).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[3:])


def check_times(device: str, small: bool) -> Iterator[Row]:
    for count in (1000,) if small else (10_800, 100_000, 1_000_000):
        took = f"{step_seconds(count, device, 3 if small else 20) * 1e3:.2f} ms"
        on_cpu = "" if device == "cpu" or count > 100_000 else f"CPU {step_seconds(count, 'cpu', 5) * 1e3:.1f} ms"
        yield Row(f"a step of {count:,} Gaussians at {WIDTH} x {HEIGHT}", took, on_cpu, True)
