"""Photographs without cameras to a splat, and its figures on a photograph that was held out.

    python examples/01_photographs_to_splat.py [PHOTOS] [--views 6] [--output first_splat]

PHOTOS is a folder of photographs, a video or a data set; without it the bundled photographs are taken. Cameras, depth
and Gaussians are found in one call. `fewview view first_splat` opens the result.
"""

from __future__ import annotations

from pathlib import Path

import tyro
from fewview.recon import ReconstructConfig, reconstruct
from fewview.scene.run_splat import load_run_splat
from fewview.scene.sample import sample_path


def main(
    photos: tyro.conf.Positional[Path] = sample_path(),  # noqa: B008
    output: Path = Path("first_splat"),
    views: int = 6,
    resolution: int = 320,
    steps: int = 300,
) -> None:
    """Reconstruct `photos` from `views` of them, `resolution` pixels on the longer side, in `steps` steps."""
    config = ReconstructConfig(views=views, resolution=resolution, steps=steps, eval=True)
    run = reconstruct(photos, output, config)
    splat = load_run_splat(run)
    print(f"{len(splat):,} Gaussians in {run.splat_path}")
    for name, value in run.metrics()["eval"]["mean"].items():
        print(f"{name} of held-out photographs: {value}")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
