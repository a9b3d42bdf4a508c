"""Write a new method

    python examples/04_write_a_new_method.py [PHOTOGRAPHS] [-o RUN]

Key concepts: a method is a Config, a Model and one row of the registry; the pipeline then chooses it, `--set` reaches
its fields, and it trains, resumes, is measured and viewed like all others. Here each sparse point keeps one round
Gaussian, and a small network decodes its colour from its position.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch
from fewview.recon import (
    Method,
    Model,
    Optimiser,
    ReconstructConfig,
    Stage,
    Suitability,
    Table,
    TrainConfig,
    reconstruct,
    register,
)
from fewview.scene import Gaussians, StaticSplat
from fewview.scene.sample import sample_path
from torch import nn


@dataclass(frozen=True)
class BlobConfig(TrainConfig):
    width: int = 32  # Neurons of the hidden layers.


class Blobs(Model):
    def __init__(self, inputs, config):
        self.config, self.unit, points = config, inputs.dataset.scene_scale, inputs.dataset.points.xyz
        ones = torch.ones(len(points), 1)
        self.tables = {
            "blobs": Table({"means": points, "log_size": (0.02 * self.unit * ones).log(), "logit": 0 * ones})
        }
        layers = [nn.Linear(3, config.width), nn.ReLU(), nn.Linear(config.width, config.width), nn.ReLU()]
        self.modules = {"colour": nn.Sequential(*layers, nn.Linear(config.width, 3))}

    def stages(self):
        rates = {"blobs.means": 1e-3 * self.unit, "blobs.log_size": 0.02, "blobs.logit": 0.05, "colour": 1e-2}
        return [Stage(self.config.steps, {key: Optimiser(lambda step, r=rate: r) for key, rate in rates.items()})]

    def splat(self, time_s=None):
        blobs = self.tables["blobs"]
        colour = self.modules["colour"](blobs["means"] / self.unit)[:, None]
        quats = torch.tensor([1.0, 0, 0, 0]).expand(len(colour), 4)
        return Gaussians(blobs["means"], quats, blobs["log_size"].expand(-1, 3), blobs["logit"][:, 0], colour)

    def result(self):
        return StaticSplat(self.splat().detach(), background=self.config.background)


def suits(inputs):
    return Suitability(0.1, "it is an example")


def configure(inputs, asked):
    return BlobConfig(**asked)


register(Method("blobs", "Round Gaussians with decoded colours.", BlobConfig, suits, configure, Blobs))

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Train a method of one's own.")
    parser.add_argument("photographs", nargs="?", type=Path, default=sample_path(), help="folder of photographs")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/blobs"))
    parser.add_argument("--steps", type=int, default=200)
    options = parser.parse_args()
    config = ReconstructConfig(method="blobs", set=("width=16",), steps=options.steps, resolution=320)
    run = reconstruct(options.photographs, options.output, config)
    print(f"{run.metrics()['training']['gaussians']:,} Gaussians. Look at it: fewview view {run.path}")
