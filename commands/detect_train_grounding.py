"""`fewview detect train --task grounding`: TSP3D from scans with sentences about their objects."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import tyro

from ..detect.metrics.grounding_metric import GroundingMetric
from ..detect.metrics.grounding_results import write_grounding_results
from ..detect.tasks.grounding_samples import SentencesByScan, open_grounding_samples
from ..detect.tsp3d.config import TSP3DConfig, preset
from ..detect.tsp3d.grounding_detector import TSP3DDetector
from ..detect.tsp3d.model import TSP3DModel
from ..detect.tsp3d.tsp3d_weights import save_weights
from .detector_training import HeldOut, Trainee, TrainOptions, train_detector

BOXES_FILE = "boxes.json"
Part = Literal["pruning", "completion"]
Sentences = Literal["scanrefer", "nr3d", "sr3d"]
TextEncoder = Literal["roberta", "minilm", "words"]


@dataclass(frozen=True, kw_only=True)
class Options(TrainOptions):
    """Train TSP3D on scans with sentences: one box for "the chair left of the desk".

    Ctrl-C saves and stops; --resume goes on from there. Several GPUs: `torchrun --nproc-per-node N -m fewview detect
    train --task grounding ...`.
    """

    # This task.
    task: Literal["grounding"] = "grounding"
    # Folder of scenes in ScanNet's files, with ScanRefer/ or ReferIt3D/ in it.
    input: tyro.conf.Positional[Path]
    # The released network, or one that trains on two CPU cores.
    preset: Literal["paper", "tiny"] = "tiny"
    # Where the sentences are from.
    sentences: Sentences = "scanrefer"
    # Scenes to train on: train, val, or all.
    split: str = "train"
    # Parts to leave out, to see what they are worth.
    without: tuple[Part, ...] = ()
    # Encoder of sentences: auto is the preset's (RoBERTa of yours for paper, MiniLM out of a package for tiny).
    encoder: TextEncoder | None = None
    # Folder with the encoder's config.json, vocabulary and weights, where they are not in a package.
    text: Path | None = None

    def config(self) -> TSP3DConfig:
        changes = self.lengths() | {part: False for part in self.without}
        if self.encoder is not None:
            changes["text"] = self.encoder
        return replace(preset(self.preset), text_folder=str(self.text or ""), **changes)


def run(options: Options) -> None:
    device = options.begin()
    samples = open_grounding_samples(options.input, options.split, options.sentences)
    config = replace(options.config(), names=samples.object_names)
    folder = options.output or Path("runs") / f"{options.input.resolve().name}_tsp3d_{options.preset}"
    together = config.sentences_per_scan
    trainee = Trainee(
        options.preset,
        samples if together == 1 else SentencesByScan(samples, together),
        build=lambda say: TSP3DDetector(TSP3DModel(config)),
        save=save_weights,
        held_out=_held_out(options, folder),
        following=f"run --task grounding {options.input}",
    )
    train_detector(options, device, folder, trainee)


def _held_out(options: Options, folder: Path) -> HeldOut | None:
    if options.val_split is None:
        return None
    samples = open_grounding_samples(options.input, options.val_split, options.sentences)
    metric = GroundingMetric.of(samples)
    return HeldOut(samples, metric, lambda _, found: write_grounding_results(folder / BOXES_FILE, found))
