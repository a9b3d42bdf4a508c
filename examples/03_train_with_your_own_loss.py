"""Train with your own loss: 3D Gaussian Splatting whose Gaussians are pulled to be flat.

    python examples/03_train_with_your_own_loss.py [PHOTOS] [--weight 0.05] [--output flat.ply]

A method's model is a class; its `loss` returns losses by name, and the trainer minimises their sum. The `Step` that it
gets draws any view at any time, with depth or features where they are asked for. Here the smallest of the three scales
of each Gaussian is a loss of its own, a prior that suits surfaces.
"""

from __future__ import annotations

from pathlib import Path

import tyro
from fewview.recon import Dataset, Step, fit
from fewview.recon.methods.gaussian_splatting.config import GaussianSplattingConfig
from fewview.recon.methods.gaussian_splatting.model import GaussianSplatting, initialise
from fewview.recon.poses import estimate_poses
from fewview.scene.formats import save_splat
from fewview.scene.readers import read_capture
from fewview.scene.sample import sample_path
from torch import Tensor


class Flat(GaussianSplatting):
    """3D Gaussian Splatting with one more loss."""

    weight = 0.05

    def loss(self, step: Step) -> dict[str, Tensor]:
        """The usual losses, and the mean thickness in units of the scene scale."""
        thickness = self.splat().scales.min(dim=-1).values.mean()
        return super().loss(step) | {"thickness": self.weight / self.scene_scale * thickness}


def main(
    photos: tyro.conf.Positional[Path] = sample_path(),  # noqa: B008
    output: Path = Path("flat.ply"),
    weight: float = 0.05,
    resolution: int = 320,
    steps: int = 300,
) -> None:
    """Train on `photos` at `resolution` pixels on the longer side, `weight` being that of the new loss."""
    capture = read_capture(photos)
    if capture.cameras is None:
        capture = estimate_poses(capture).capture
    dataset = Dataset.from_capture(capture, max_side=resolution)
    config = GaussianSplattingConfig(steps=steps, sh_degree=1)
    start = initialise(dataset, config)
    model = Flat(start.splat(), config, dataset.scene_scale)
    model.weight = weight

    splat = fit(model, dataset, config).splat
    scales = splat.gaussians.scales.sort(dim=-1).values
    flatness = float((scales[:, 0] / scales[:, 1]).median())
    print(f"{len(splat):,} Gaussians; half of them are thinner than {flatness:.3f} of their width")
    save_splat(output, splat.still())


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
