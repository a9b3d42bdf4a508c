"""Ablation of SparseFusion: the tiny model on a generated data set, whole and with one part left out.

    python scripts/make_nuscenes_like.py data --scenes 25 --samples 16
    python scripts/train_tiny_ablation.py data runs/ablation [--alone-epochs 26] [--epochs 10] [--threads 2]

As in the paper a LiDAR detector is trained first, and every model with a LiDAR starts from it; what it brought
learns at a tenth of the rate. The LiDAR detector goes on, too, for as long. The camera detector is trained as long
as the first one. Prints a table of the held-out scenes' mAP and NDS (our own evaluation, which gives the official
numbers). What is finished in the output folder is not done again.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
from fewview import _native
from fewview.commands.terminal_progress import TerminalProgress
from fewview.detect.measure import Predictor, measure
from fewview.detect.metrics.nuscenes_metric import NuScenesMetric
from fewview.detect.metrics.nuscenes_submission import used_modalities, write_submission
from fewview.detect.sparsefusion.config import SparseFusionConfig, preset
from fewview.detect.sparsefusion.driving_detector import SparseFusionDetector
from fewview.detect.sparsefusion.heads import Prediction
from fewview.detect.sparsefusion.model import SparseFusionModel
from fewview.detect.sparsefusion.start_weights import start_from
from fewview.detect.sparsefusion.weight_files import load_model, save_weights
from fewview.detect.tasks.driving_samples import NuScenesSamples
from fewview.detect.training import DetectorTraining
from fewview.learn import TrainRun, fit
from fewview.learn.network_files import WEIGHTS_FILE
from fewview.learn.processes import network_device, peak_memory_gb
from fewview.scene.files import read_json, write_json
from torch import Tensor

VARIANTS = {
    "full": {},
    "LiDAR only": {"use_images": False},
    "cameras only": {"use_lidar": False},
    "no semantic transfer": {"semantic_transfer": False},
    "no geometric transfer": {"geometric_transfer": False},
}


def main() -> None:
    options = arguments()
    if options.threads:
        torch.set_num_threads(options.threads)
        _native.set_num_threads(options.threads)
    start = SparseFusionConfig.lidar_lr_factor
    first = replace(preset("tiny"), use_images=False, epochs=options.alone_epochs)
    rows = [("LiDAR only, where the others start", train(options, "LiDAR start", first, None))]
    for name in options.models:
        config = replace(preset("tiny"), **VARIANTS[name], epochs=options.epochs, lidar_lr_factor=start)
        if not config.use_lidar:
            config = replace(config, epochs=options.alone_epochs)
        elif not config.use_images:
            config = replace(config, learning_rate=start * config.learning_rate)
        begins = folder_of(options, "LiDAR start") if config.use_lidar else None
        rows.append((name, train(options, name, config, begins)))
        if name == "full":
            rows.append(("full, its image queries dropped at the fusion", without_image_queries(options)))
    print_table(options, rows)


def without_image_queries(options: argparse.Namespace) -> dict:
    """The full model's result where the fusion sees the LiDAR's queries only; nothing is trained for it."""
    folder = folder_of(options, "full")
    result_path = folder / "metrics_without_image_queries.json"
    if result_path.is_file():
        return read_json(result_path)
    device = network_device(options.device)
    model = load_model(folder).to(device)
    fuse = model.fusion.forward

    def lidar_only(lidar: Tensor, lidar_positions: Tensor, image: Tensor, image_positions: Tensor) -> Prediction:
        left = fuse(lidar, lidar_positions, image[:, :0], image_positions[:, :0])
        codes, logits = (torch.zeros(*image.shape[:2], x.shape[-1], device=device) for x in (left.codes, left.logits))
        return Prediction(torch.cat([left.codes, codes], dim=1), torch.cat([left.logits, logits - torch.inf], dim=1))

    model.fusion.forward = lidar_only
    held_out = NuScenesSamples(options.data, options.val_split, sweeps=model.config.sweeps - 1)
    evaluation, _ = measure(Predictor(SparseFusionDetector(model), device), held_out, NuScenesMetric.of(held_out))
    result = {"minutes": 0.0, "samples_per_s": 0.0, "metrics": evaluation.summary()}
    write_json(result_path, result)
    return result


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder in the nuScenes format")
    parser.add_argument("output", type=Path)
    parser.add_argument("--alone-epochs", type=int, default=26, help="of the detectors of one modality")
    parser.add_argument("--epochs", type=int, default=10, help="of what starts from the LiDAR detector")
    parser.add_argument("--models", nargs="+", choices=VARIANTS, default=list(VARIANTS), help="some of them, by name")
    parser.add_argument("--train-split", default="generated_train")
    parser.add_argument("--val-split", default="generated_val")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; all unless given")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def folder_of(options: argparse.Namespace, name: str) -> Path:
    folder: Path = options.output / name.replace(" ", "_")
    return folder


def train(options: argparse.Namespace, name: str, config: SparseFusionConfig, start: Path | None) -> dict:
    """The result of one model, trained and measured, or read when it is there."""
    folder = folder_of(options, name)
    result_path = folder / "metrics.json"
    if result_path.is_file():
        return read_json(result_path)
    folder.mkdir(parents=True, exist_ok=True)
    device = network_device(options.device)
    data = NuScenesSamples(options.data, options.train_split, sweeps=config.sweeps - 1)
    held_out = NuScenesSamples(options.data, options.val_split, sweeps=config.sweeps - 1)
    torch.manual_seed(options.seed)
    model = SparseFusionModel(config).to(device)
    if start is not None:
        start_from(model, start / WEIGHTS_FILE)
    with TerminalProgress() as progress:
        progress.say(f"--- {name}")
        detector = SparseFusionDetector(model)
        training = DetectorTraining(detector, data, options.seed)
        trained = fit(model, training, TrainRun(folder / "checkpoints", resume=True), progress)
        if trained.step < trained.steps:
            sys.exit("Interrupted; the same command goes on.")
        save_weights(folder / WEIGHTS_FILE, model)
        begin = time.perf_counter()
        evaluation, found = measure(Predictor(detector, device), held_out, NuScenesMetric.of(held_out), progress)
        seconds = time.perf_counter() - begin
    write_submission(folder / "submission.json", found, held_out.tokens, used_modalities(detector.inputs))
    result = {
        "minutes": trained.seconds / 60,
        "steps": trained.steps,
        "samples_per_s": trained.steps * config.batch_size / trained.seconds,
        "losses": dict(trained.losses),
        "detection_s": seconds / len(held_out),
        "peak_memory_gb": peak_memory_gb(device),
        "metrics": evaluation.summary(),
    }
    write_json(result_path, result)
    return result


def print_table(options: argparse.Namespace, rows: list[tuple[str, dict]]) -> None:
    print(
        f"\n{options.data}, {options.alone_epochs} + {options.epochs} epochs, {torch.get_num_threads()} threads, "
        f"PyTorch {torch.__version__}\n"
    )
    print("| model | mAP | NDS | mATE | mAOE | mAVE | minutes | samples/s |")
    print("|---|---|---|---|---|---|---|---|")
    for name, result in rows:
        m = result["metrics"]
        errors = [m["tp_errors"][e] for e in ("trans_err", "orient_err", "vel_err")]
        cells = [m["mean_ap"], m["nd_score"], *errors]
        shown = " | ".join(f"{c:.3f}" for c in cells)
        print(f"| {name} | {shown} | {result['minutes']:.1f} | {result['samples_per_s']:.1f} |")


if __name__ == "__main__":
    main()
