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
from ..optimise.appearance import transformed
from ..optimise.dataset import Dataset
from .half_image import fitted_colours, halves
from .seen_pixels import SeenPixels, marked_unseen

MAX_PSNR_DB = 100.0  # stands for infinity (equal images), which JSON cannot hold
FEW_VIEWS = 24  # up to so many training views it is told what they have seen of the held-out ones
MAX_TRAINING_VIEWS = 8  # measured when nothing is held out: enough to see whether the training went well


@torch.no_grad()
def evaluate(
    run: Run,
    dataset: Dataset,
    splat: Splat,  # on the data set's device
    progress: Progress = silent,
    *,
    fit_colours: bool = False,
) -> dict[str, Any]:
    """PSNR, SSIM and LPIPS of the held-out views, or of some training views where none is held out.

    Writes each rendered view to `run/renders/eval/`, after few training views also to `renders/unseen/` with stripes
    over what these have not seen, and gives what metrics.json keeps as `eval`. Pixels that a mask
    excludes do not count. With `fit_colours` the colours of each picture are fitted to its photograph on the left half
    and the figures are of the right half; those of whole pictures without that are beside them, as `unfitted`.
    After few training views `seen` has the figures of what these have seen, by the splat's own depth, and its share.
    """
    split = "test" if dataset.test else "train"
    indices = dataset.test or evenly_spaced(dataset.train, MAX_TRAINING_VIEWS)
    photos = {entry["name"]: entry["file_path"] for entry in read_json(run.cameras_path)["frames"]}
    few = dataset.test and len(dataset.train) <= FEW_VIEWS and splat.time_range_s is None and not fit_colours
    seen = SeenPixels(splat.at(), dataset.cameras[list(dataset.train)]) if few else None
    views = []
    for done, index in enumerate(indices, start=1):
        measured = _measure(run, dataset, index, photos[dataset.names[index]], splat, fit_colours, seen)
        views.append(measured | {"split": split})
        so_far = [view["psnr"] for view in views if view["psnr"] is not None]
        progress("evaluating", done, len(indices), {"mean PSNR": math.fsum(so_far) / len(so_far)} if so_far else {})
    result: dict[str, Any] = {"views": views, "mean": _mean(views), "split": split}
    if fit_colours:
        result["unfitted"] = _mean([view["unfitted"] for view in views])
    if seen is not None:
        shown = [view["seen"] for view in views]
        result["seen"] = _mean(shown) | {"share": math.fsum(view["share"] for view in shown) / len(shown)}
    if (reason := lpips_missing()) is not None:
        result["lpips_missing"] = reason
    return result


def _measure(
    run: Run,
    dataset: Dataset,
    index: int,
    photo: str,  # its file in the run
    splat: Splat,
    fit_colours: bool,
    seen: SeenPixels | None,
) -> dict[str, Any]:
    view, name = dataset.view(index), dataset.names[index]
    gaussians, background = splat.at(dataset.time_s(index)), torch.tensor(splat.background, device=view.K.device)
    target, mask = view.target(background), view.mask
    if mask is not None and not bool(mask.any()):
        mask = None
    drawn = render(gaussians, dataset.cameras[index], background=background, antialiased=splat.antialiased)
    image = _as_written(drawn.rgb)
    figures: dict[str, Any] = _figures(image, target, mask)
    if fit_colours:
        left, right = halves(torch.ones_like(drawn.alpha, dtype=torch.bool) if mask is None else mask)
        colours = fitted_colours(drawn.rgb, drawn.alpha, target, left, background)
        image = _as_written(transformed(colours, drawn.rgb, drawn.alpha, background))
        begin = image.shape[1] // 2
        half = None if mask is None or not bool(right.any()) else right[:, begin:]
        figures = _figures(image[:, begin:], target[:, begin:], half) | {"unfitted": figures}
    if seen is not None:
        shown = seen.of(dataset.cameras[index])
        share, shown_anywhere = float(shown.float().mean()), shown
        shown = shown if mask is None else shown & mask
        of_seen = _figures(image, target, shown) if bool(shown.any()) else dict.fromkeys(figures)
        figures["seen"] = of_seen | {"share": share}
        figures["unseen"] = f"renders/unseen/{PurePosixPath(photo).name}"
        _write_png(run, figures["unseen"], marked_unseen(image, shown_anywhere))
    file = f"renders/eval/{PurePosixPath(photo).name}"
    _write_png(run, file, image)
    return {"name": name, **figures, "render": file, "photo": photo}


def _as_written(picture: Tensor) -> Tensor:
    """The picture with 8 bits: published figures are measured on what is written."""
    return (picture.clamp(0, 1) * 255).round() / 255


def _figures(image: Tensor, target: Tensor, mask: Tensor | None) -> dict[str, float | None]:
    counted_image, counted_target = image, target
    if mask is not None:
        image = torch.where(mask[..., None], image, target)
        counted_image, counted_target = image[mask][:, None], target[mask][:, None]
    return {
        "psnr": min(psnr(counted_image, counted_target), MAX_PSNR_DB),
        "ssim": ssim(image, target),
        "lpips": lpips(image, target),
    }


def _write_png(run: Run, file: str, image: Tensor) -> None:
    write_png(run.path / file, (image.cpu().numpy() * 255).round().astype(np.uint8))


def _mean(views: Sequence[dict[str, Any]]) -> dict[str, float | None]:
    def mean(name: str) -> float | None:
        values = [v[name] for v in views if v[name] is not None]
        return math.fsum(values) / len(values) if values else None

    return {name: mean(name) for name in ("psnr", "ssim", "lpips")}
