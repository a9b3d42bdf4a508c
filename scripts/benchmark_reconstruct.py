"""Whole 3DGS reconstructions of real photographs by the command: time by stage, photographs placed, held-out quality.

    python scripts/benchmark_reconstruct.py posed     FOX [--views 3 6 12]     cameras of FOX/colmap_half
    python scripts/benchmark_reconstruct.py unposed   FOX [--views 3 6 12]     photographs only, cameras compared
    python scripts/benchmark_reconstruct.py photos    FOLDER ... [--side 640]  photographs only, every 8th held out

FOX is a folder with images/, transforms.json and colmap_half/ (the fox of instant-ngp; 50 photographs). Every 8th
photograph in name order is held out, N evenly spaced ones of the rest are trained on at 270 x 480 for 1,000 steps.
Each reconstruction is a process of its own, so its time holds everything from the shell to the report. One row each;
the runs are kept in the folder given with --keep.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from fewview import _native
from fewview.recon.poses import pose_errors
from fewview.scene.capture import evenly_spaced
from fewview.scene.readers import read_capture
from fewview.scene.run import Run

COLUMNS = ("photographs", "placed", "held-out PSNR / SSIM (views)", "Gaussians", "total (s)", "stages (s)")
FOX_OPTIONS = ("--method", "3dgs", "--resolution", "480", "--steps", "1000")


def reconstruct(source: Path, run: Path, *options: str) -> tuple[float, dict[str, Any]]:
    """Wall seconds of the command, and the run's metrics; the command's own sentence when it fails."""
    command = [sys.executable, "-m", "fewview", "reconstruct", str(source), "-o", str(run), "--quiet", *options]
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, cwd=run.parent)
    seconds = time.perf_counter() - start
    if done.returncode != 0:
        return seconds, {"error": done.stderr.strip().splitlines()[-1:]}
    return seconds, Run.open(run).metrics()


def machine() -> str:
    """Name the machine and the commit of the figures under it."""
    version = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    return f"{platform.machine()}, {_native.isa()}, {os.cpu_count()} cores, torch {torch.__version__}, commit {version}"


@contextlib.contextmanager
def folder_for_runs(keep: Path | None) -> Iterator[Path]:
    """The folder to keep the runs in, made if need be, or one that is removed afterwards."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) if keep is None else keep.resolve()
        folder.mkdir(parents=True, exist_ok=True)
        yield folder


def header(*more: str) -> None:
    columns = (*COLUMNS, *more)
    print("| " + " | ".join(columns) + " |\n|" + "---|" * len(columns))


def row(name: str, seconds: float, metrics: dict[str, Any], cameras: str = "") -> None:
    if "error" in metrics:
        print(f"| {name} | {seconds:.1f} | {metrics['error']} |", flush=True)
        return
    stages = ", ".join(f"{stage} {s:.1f}" for stage, s in metrics["seconds"].items())
    views = [v for v in metrics["eval"]["views"] if v["split"] == "test"]
    quality = "nothing held out"
    if views:
        mean = [sum(v[k] for v in views) / len(views) for k in ("psnr", "ssim")]
        quality = f"{mean[0]:.2f} / {mean[1]:.3f} ({len(views)})"
    placed = len(metrics["placed"]) if isinstance(metrics["placed"], list) else metrics["placed"]
    of_all, gaussians = placed + len(metrics["unplaced"]), metrics["training"]["gaussians"]
    print(
        f"| {name} | {placed} of {of_all} | {quality} | {gaussians:,} | {seconds:.1f} | {stages} |{cameras}", flush=True
    )


def posed(fox: Path, views: list[int], folder: Path) -> None:
    header()
    for n in views:
        options = ("--images", str(fox / "images"), "--views", str(n), "--eval", *FOX_OPTIONS)
        row(str(n), *reconstruct(fox / "colmap_half", folder / f"posed_{n}", *options))


def unposed(fox: Path, views: list[int], folder: Path) -> None:
    truth = read_capture(fox / "transforms.json")
    train, _ = truth.split()
    header("rotation error mean / max (deg)", "AUC@5")
    for n in views:
        chosen = evenly_spaced(sorted(train, key=lambda i: truth.names[i]), n)
        photos = folder / f"photos_{n}"
        photos.mkdir()
        for i in chosen:
            name = Path(truth.names[i]).name
            shutil.copy(fox / "images" / name, photos / name)
        run = folder / f"unposed_{n}"
        seconds, metrics = reconstruct(photos, run, *FOX_OPTIONS)
        cameras = ""
        if "error" not in metrics:
            placed = read_capture(run)
            by_name = {Path(name).stem: i for i, name in enumerate(truth.names)}
            true = truth.cameras.cam_from_world[[by_name[Path(name).stem] for name in placed.names]]
            errors = pose_errors(placed.cameras.cam_from_world, true).summary()
            cameras = f" {errors['rotation_mean_deg']:.2f} / {errors['rotation_max_deg']:.2f} | {errors['auc_5']:.3f} |"
        row(str(n), seconds, metrics, cameras)


def photos(sources: list[Path], side: int, folder: Path) -> None:
    header()
    for source in sources:
        name = source.parent.name if source.name == "images" else source.name
        row(name, *reconstruct(source, folder / name, "--method", "3dgs", "--eval", "--resolution", str(side)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("posed", "unposed", "photos"))
    parser.add_argument("data", nargs="+", type=Path)
    parser.add_argument("--views", nargs="*", type=int, default=[3, 6, 12])
    parser.add_argument("--side", type=int, default=640, help="longer side in training, pixels; `photos` only")
    parser.add_argument("--keep", type=Path, help="folder for the runs, new or empty")
    arguments = parser.parse_args()
    data = [path.resolve() for path in arguments.data]
    print(machine() + "\n")
    with folder_for_runs(arguments.keep) as folder:
        if arguments.what == "photos":
            photos(data, arguments.side, folder)
        else:
            {"posed": posed, "unposed": unposed}[arguments.what](data[0], arguments.views, folder)


if __name__ == "__main__":
    main()
