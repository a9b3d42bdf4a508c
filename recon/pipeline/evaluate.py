"""Rendered views measured against photographs that the training has not seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...render import render
from ...render.metrics import lpips, lpips_missing, psnr, ssim
from ...scene.capture import evenly_spaced
from ...scene.files import read_json
from ...scene.png import write_png
from ...scene.progress import Progress, silent
from ...scene.run import Run
from ...scene.splat import Splat
from ..optimise.dataset import Dataset

MAX_PSNR_DB = 100.0  # stands for infinity (equal images), which JSON cannot hold
MAX_TRAINING_VIEWS = 8  # measured when nothing is held out: enough to see whether the training went well


@torch.no_grad()
def evaluate(
    run: Run,
    dataset: Dataset,
    splat: Splat,  # on the data set's device
    progress: Progress = silent,
) -> dict[str, Any]:
    """PSNR, SSIM and LPIPS of the held-out views, or of some training views where none is held out.

    Writes each rendered view to `run/renders/eval/` and gives what metrics.json keeps as `eval`. Pixels that a mask
    excludes do not count.
    """
    split = "test" if dataset.test else "train"
    indices = dataset.test or evenly_spaced(dataset.train, MAX_TRAINING_VIEWS)
    photos = {entry["name"]: entry["file_path"] for entry in read_json(run.cameras_path)["frames"]}
    views = []
    for done, index in enumerate(indices, start=1):
        views.append(_measure(run, dataset, index, photos[dataset.names[index]], splat) | {"split": split})
        so_far = [view["psnr"] for view in views if view["psnr"] is not None]
        progress("evaluating", done, len(indices), {"mean PSNR": math.fsum(so_far) / len(so_far)} if so_far else {})
    result: dict[str, Any] = {"views": views, "mean": _mean(views), "split": split}
    if (reason := lpips_missing()) is not None:
        result["lpips_missing"] = reason
    return result


def _measure(
    run: Run,
    dataset: Dataset,
    index: int,
    photo: str,  # its file in the run
    splat: Splat,
) -> dict[str, Any]:
    view, name = dataset.view(index), dataset.names[index]
    gaussians, background = splat.at(dataset.time_s(index)), torch.tensor(splat.background, device=view.K.device)
    target = view.target(background)
    drawn = render(gaussians, dataset.cameras[index], background=background, antialiased=splat.antialiased)
    image = drawn.rgb.clamp(0, 1)
    # As the published figures are: measured on the picture that is written, with 8 bits.
    image = (image * 255).round() / 255
    file = f"renders/eval/{PurePosixPath(photo).name}"
    _write_png(run, file, image)
    counted_image, counted_target = image, target
    if view.mask is not None and bool(view.mask.any()):
        image = torch.where(view.mask[..., None], image, target)
        counted_image, counted_target = image[view.mask][:, None], target[view.mask][:, None]
    return {
        "name": name,
        "psnr": min(psnr(counted_image, counted_target), MAX_PSNR_DB),
        "ssim": ssim(image, target),
        "lpips": lpips(image, target),
        "render": file,
        "photo": photo,
    }


def _write_png(run: Run, file: str, image: Tensor) -> None:
    write_png(run.path / file, (image.cpu().numpy() * 255).round().astype(np.uint8))


def _mean(views: Sequence[dict[str, Any]]) -> dict[str, float | None]:
    def mean(name: str) -> float | None:
        values = [v[name] for v in views if v[name] is not None]
        return math.fsum(values) / len(values) if values else None

    return {name: mean(name) for name in ("psnr", "ssim", "lpips")}
