"""InstantSplat against plain 3DGS from the same cameras: time to the splat, held-out quality, pose errors, ablation.

    python scripts/benchmark_instantsplat.py time     FOX [--views 3 6 12]    N photographs alone, files to splat
    python scripts/benchmark_instantsplat.py quality  FOX [--views 3 6 12]    every 8th held out, both methods, poses
    python scripts/benchmark_instantsplat.py photos   FOLDER ... [--views 3 6 12] [--side 480]
    python scripts/benchmark_instantsplat.py ablation RUN                     of a finished InstantSplat run

FOX is a folder with images/ and transforms.json (the fox of instant-ngp; 50 photographs), trained at 270 x 480. No
cameras are given; N photographs are evenly spaced among those that are not held out. `time` and `quality` are whole
processes. `ablation` trains a run's photographs again from pointmaps of pairs, made without a network, with one part of
the method more each time and the paper's values otherwise. Runs are kept in the folder given with --keep.
"""

from __future__ import annotations

import argparse
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from benchmark_reconstruct import folder_for_runs, machine, reconstruct
from fewview.recon.evidence import Stereo
from fewview.recon.methods.instantsplat.config import instantsplat_config
from fewview.recon.methods.instantsplat.model import initialise
from fewview.recon.optimise.dataset import Dataset
from fewview.recon.optimise.trainer import fit
from fewview.recon.pipeline.refine_held_out import refine_held_out
from fewview.recon.poses import align_cameras, pose_errors
from fewview.recon.poses.evaluate_poses import evaluate_poses
from fewview.recon.poses.pointmaps.global_alignment import AlignmentConfig, align_pairs
from fewview.render import render
from fewview.render.metrics import psnr, ssim
from fewview.scene.capture import evenly_spaced
from fewview.scene.gaussians import Gaussians
from fewview.scene.readers import load_run_capture, read_capture
from fewview.scene.run import Run
from fewview.scene.splat import StaticSplat
from two_view_pointmaps import TwoViewPredictor

FOX_SIDE = ("--resolution", "480")
ABLATED_SIDE_PX = 240  # so that a Gaussian for every pixel of twelve photographs trains in a minute


def table(*columns: str) -> None:
    print("| " + " | ".join(columns) + " |\n|" + "---|" * len(columns), flush=True)


def row(*cells: object) -> None:
    print("| " + " | ".join(str(c) for c in cells) + " |", flush=True)


def stages(metrics: dict[str, Any]) -> str:
    return ", ".join(f"{stage} {s:.1f}" for stage, s in metrics["seconds"].items() if s >= 0.05)


def time_to_splat(fox: Path, views: list[int], folder: Path) -> None:
    table("photographs", "placed", "Gaussians", "whole command (s)", "stages (s)")
    truth = read_capture(fox / "images")
    train, _ = truth.split()
    for n in views:
        photos = folder / f"photos_{n}"
        photos.mkdir()
        for i in evenly_spaced(sorted(train, key=lambda i: truth.names[i]), n):
            shutil.copy(fox / "images" / truth.names[i], photos / truth.names[i])
        seconds, metrics = reconstruct(photos, folder / f"time_{n}", *FOX_SIDE)
        row(n, metrics["placed"], f"{metrics['training']['gaussians']:,}", f"{seconds:.1f}", stages(metrics))


def quality(fox: Path, views: list[int], folder: Path) -> None:
    table(
        "photographs", "method", "held-out PSNR / SSIM", "before test poses were aligned", "Gaussians",
        "poses before refinement", "after",
    )  # fmt: skip
    for n in views:
        for method in ("instantsplat", "3dgs"):
            run = folder / f"quality_{n}_{method}"
            options = ("--views", str(n), "--eval", "--method", method, "--steps", "1000", *FOX_SIDE)
            _, metrics = reconstruct(fox / "images", run, *options)
            errors = evaluate_poses(Run.open(run), read_capture(fox / "transforms.json"))
            estimated = errors.get("estimated", errors["refined"])
            refined = _poses(errors["refined"]) if "estimated" in errors else "not refined"
            row(n, method, *_figures(metrics), f"{metrics['training']['gaussians']:,}", _poses(estimated), refined)


def _figures(metrics: dict[str, Any]) -> tuple[str, str]:
    evaluation = metrics["eval"]
    before = evaluation.get("before_alignment", evaluation["mean"])
    test = sum(v["split"] == "test" for v in evaluation["views"])
    return (
        f"{evaluation['mean']['psnr']:.2f} / {evaluation['mean']['ssim']:.3f} ({test} views)",
        f"{before['psnr']:.2f} / {before['ssim']:.3f}",
    )


def _poses(errors: dict[str, float]) -> str:
    aucs = " / ".join(f"{errors[f'auc_{t}']:.3f}" for t in (5, 10, 30))
    return (
        f"ATE {errors['ate']:.4f}, RPE {errors['rpe_translation']:.4f} and {errors['rpe_rotation_deg']:.2f} deg, "
        f"rotation {errors['rotation_mean_deg']:.2f} deg, AUC {aucs}"
    )


def photos(sources: list[Path], views: list[int], side: int, folder: Path) -> None:
    table("photographs", "placed", "held-out PSNR / SSIM", "before alignment", "Gaussians", "command (s)", "stages (s)")
    for source in sources:
        name = source.parent.name if source.name == "images" else source.name
        count = len(read_capture(source))
        for n in [v for v in views if v < count] or [count]:
            run = folder / f"{name}_{n}"
            options = ("--views", str(n), "--eval", "--method", "instantsplat", "--resolution", str(side))
            seconds, metrics = reconstruct(source, run, *options)
            if "error" in metrics:
                row(f"{name} {n}", metrics["error"], "", "", "", f"{seconds:.0f}", "")
                continue
            placed = f"{metrics['placed']} of {metrics['placed'] + len(metrics['unplaced'])}"
            figures = _figures(metrics) if metrics["eval"]["split"] == "test" else ("nothing held out", "")
            row(
                f"{name} {n}",
                placed,
                *figures,
                f"{metrics['training']['gaussians']:,}",
                f"{seconds:.0f}",
                stages(metrics),
            )


def ablation(path: Path) -> None:
    """The parts of the method one after another, as in the paper's table, on pairwise pointmaps of the run's views."""
    run = Run.open(path)
    capture = load_run_capture(run)
    dataset = Dataset.from_capture(capture, test=capture.test or (), max_side=ABLATED_SIDE_PX)
    train = list(dataset.train)
    started = time.perf_counter()
    pairs = TwoViewPredictor().predict_pairs([dataset.views[i].pixels[..., :3].contiguous() for i in train])
    print(f"{len(pairs)} pairs in {time.perf_counter() - started:.0f} s\n")
    plain: dict[str, Any] = {"co_visibility": "off", "confidence_rates": False, "refine_poses": False}
    rows: list[tuple[str, AlignmentConfig, dict[str, Any]]] = [
        ("stitched pointmaps", AlignmentConfig(iterations=0, focal_averaging=False), plain),
        ("aligned, own focal lengths", AlignmentConfig(focal_averaging=False), plain),
        ("+ focal averaging", AlignmentConfig(), plain),
        ("+ co-visibility", AlignmentConfig(), plain | {"co_visibility": "projected"}),
        ("+ confidence", AlignmentConfig(), {"refine_poses": False}),
        ("+ joint poses", AlignmentConfig(), {}),
    ]
    table("parts", "Gaussians", "training (s)", "held-out PSNR / SSIM", "ATE against the run's cameras")
    for name, alignment, changes in rows:
        stereo = align_pairs(pairs, alignment).stereo
        moved = _with_cameras(dataset, stereo)
        config = instantsplat_config(**changes)
        started = time.perf_counter()
        result = fit(initialise(moved, stereo, config), moved, config)
        seconds = time.perf_counter() - started
        psnr_db, similarity = _held_out(result.splat.gaussians, replace(moved, cameras=result.cameras))
        true = dataset.cameras.cam_from_world[train]
        ate = pose_errors(result.cameras.cam_from_world[train], true).ate
        row(
            name,
            f"{len(result.splat.gaussians):,}",
            f"{seconds:.1f}",
            f"{psnr_db:.2f} / {similarity:.4f}",
            f"{ate:.4f}",
        )


def _with_cameras(dataset: Dataset, stereo: Stereo) -> Dataset:
    """The data set with the cameras of a stereo solution; the held-out ones are carried into its world."""
    train = list(dataset.train)
    old = replace(dataset.cameras, cam_from_world=dataset.cameras.cam_from_world.double())
    stereo_from_run = align_cameras(old.cam_from_world[train], stereo.cameras.cam_from_world)
    carried = old.transformed(stereo_from_run).cam_from_world.float()
    K = dataset.cameras.K.clone()
    carried[train], K[train] = stereo.cameras.cam_from_world.float(), stereo.cameras.K.float()
    K[list(dataset.test)] = K[train].mean(0)
    views = tuple(replace(view, K=K[i]) for i, view in enumerate(dataset.views))
    return replace(dataset, views=views, cameras=replace(dataset.cameras, cam_from_world=carried, K=K))


def _held_out(gaussians: Gaussians, dataset: Dataset) -> tuple[float, float]:
    """Mean PSNR (dB) and SSIM after alignment."""
    black = torch.zeros(3)
    aligned = refine_held_out(StaticSplat(gaussians), dataset)
    values = []
    for i in aligned.test:
        with torch.no_grad():
            image = render(gaussians, aligned.cameras[i]).rgb.clamp(0, 1)
        values.append((psnr(image, aligned.view(i).target(black)), ssim(image, aligned.view(i).target(black))))
    return sum(v[0] for v in values) / len(values), sum(v[1] for v in values) / len(values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("time", "quality", "photos", "ablation"))
    parser.add_argument("data", nargs="+", type=Path)
    parser.add_argument("--views", nargs="*", type=int, default=[3, 6, 12])
    parser.add_argument("--side", type=int, default=480, help="longer side in training, pixels; `photos` only")
    parser.add_argument("--keep", type=Path, help="folder for the runs, new or empty")
    arguments = parser.parse_args()
    data = [path.resolve() for path in arguments.data]
    print(machine() + "\n")
    with folder_for_runs(arguments.keep) as folder:
        if arguments.what == "time":
            time_to_splat(data[0], arguments.views, folder)
        elif arguments.what == "quality":
            quality(data[0], arguments.views, folder)
        elif arguments.what == "photos":
            photos(data, arguments.views, arguments.side, folder)
        else:
            ablation(data[0])


if __name__ == "__main__":
    main()
