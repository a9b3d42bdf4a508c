"""`fewview eval`: measure a run again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import tyro

from ..recon.optimise.dataset import Dataset
from ..recon.pipeline.reconstruction import measure
from ..recon.poses.evaluate_poses import evaluate_poses
from ..scene.errors import BadInputError
from ..scene.readers import load_run_capture, read_capture
from ..scene.run import Run
from ..viewer.report import write_report
from .device import prepare
from .options import Common
from .result import finish
from .summary import quality, result_of
from .terminal_progress import TerminalProgress


@dataclass(frozen=True, kw_only=True)
class Options(Common):
    """Measure a run on its held-out photographs again, and write its report.

    A run made without --eval has none; then some of its training photographs are measured, and the result says so.
    """

    # Run folder.
    input: tyro.conf.Positional[Path]
    # Data set that has the true cameras of the same photographs: the run's are measured against them, too.
    truth: Path | None = None


def run(options: Options) -> None:
    if options.output is not None:
        raise BadInputError("`fewview eval` writes into the run itself; leave -o out.")
    finished = Run.open(options.input)
    if not finished.splat_path.is_file():
        raise BadInputError(f"{options.input} has no splat.ply yet; finish it with `fewview reconstruct ... --resume`.")
    poses = {} if options.truth is None else {"poses": evaluate_poses(finished, read_capture(options.truth))}
    finished.update_metrics(**poses)
    device = prepare(options)
    with TerminalProgress(options.quiet) as progress:
        capture = load_run_capture(finished)
        dataset = Dataset.from_capture(capture, test=capture.test or (), progress=progress).to(device)
        measure(finished, dataset, progress, again=True)
    write_report(finished)
    evaluation = finished.metrics()["eval"]
    lines = [
        f"{v['name']:<32} PSNR {v['psnr']:6.2f}  SSIM {v['ssim']:.3f}"
        + ("" if v["lpips"] is None else f"  LPIPS {v['lpips']:.3f}")
        for v in evaluation["views"]
    ]
    lines += ["", quality(finished.metrics())]
    if "lpips_missing" in evaluation:
        lines.append(evaluation["lpips_missing"])
    lines += [_of_poses(which, errors) for which, errors in poses.get("poses", {}).items() if which != "views"]
    lines.append(f"Report: {finished.report_path}")
    finish(options, {**result_of(finished), "views": evaluation["views"], **poses}, lines)


def _of_poses(which: str, errors: Mapping[str, float]) -> str:
    return (
        f"Cameras as {which}: rotation {errors['rotation_mean_deg']:.2f} degrees, ATE {errors['ate']:.4f}, "
        f"AUC at 5 / 10 / 30 degrees {errors['auc_5']:.3f} / {errors['auc_10']:.3f} / {errors['auc_30']:.3f}"
    )
