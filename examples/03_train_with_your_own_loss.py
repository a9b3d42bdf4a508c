"""Train with your own loss

    python examples/03_train_with_your_own_loss.py [PHOTOGRAPHS] [--steps 300] [--weight 0.05]

Key concepts: a method's model is a class; `loss` returns losses by name, and the trainer minimises their sum; a `Step`
draws any view at its size, with depth or features where they are asked for. Here Gaussians are pulled to be flat, a
prior that suits surfaces: the smallest of the three scales of each is a loss of its own.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from fewview.recon.methods.gaussian_splatting.config import GaussianSplattingConfig
from fewview.recon.methods.gaussian_splatting.model import GaussianSplatting, initialise
from fewview.recon.optimise.dataset import Dataset
from fewview.recon.optimise.step import Step
from fewview.recon.optimise.trainer import fit
from fewview.recon.poses import PosesConfig, estimate_poses
from fewview.scene.formats import save_splat
from fewview.scene.readers import read_capture
from fewview.scene.sample import sample_path
from torch import Tensor


class Flat(GaussianSplatting):
    """3D Gaussian Splatting with flat Gaussians."""

    weight = 0.05

    def loss(self, step: Step) -> dict[str, Tensor]:
        """The usual losses and one more; its weight counts in units of the scene scale."""
        thinnest = self.splat().scales.min(dim=-1).values.mean()
        return super().loss(step) | {"flatness": self.weight / self.scene_scale * thinnest}


def main() -> None:
    parser = argparse.ArgumentParser(description="Train 3DGS with one more loss.")
    parser.add_argument("photographs", nargs="?", type=Path, default=sample_path(), help="folder of photographs")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--weight", type=float, default=0.05, help="of the new loss; 0 for none")
    parser.add_argument("--size", type=int, default=320, help="longer side of the photographs in training, pixels")
    parser.add_argument("-o", "--output", type=Path, default=Path("flat.ply"))
    options = parser.parse_args()

    placed = estimate_poses(read_capture(options.photographs), PosesConfig()).capture
    dataset = Dataset.from_capture(placed, max_side=options.size)
    config = GaussianSplattingConfig(steps=options.steps, sh_degree=1)
    start = initialise(dataset, config)
    model = Flat(start.splat().detach(), config, dataset.scene_scale)
    model.weight = options.weight

    result = fit(model, dataset, config)
    scales = result.splat.gaussians.scales.sort(dim=-1).values
    flatness = float((scales[:, 0] / scales[:, 1]).median())
    print(f"{len(result.splat):,} Gaussians; median of thickness / width {flatness:.3f}")
    save_splat(options.output, result.splat.still())
    print(f"Look at it: fewview view {options.output}")


if __name__ == "__main__":
    main()
