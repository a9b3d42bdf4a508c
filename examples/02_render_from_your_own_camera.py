"""A picture of a splat, and its depth, from a camera that you place.

    python examples/02_render_from_your_own_camera.py [SPLAT] [--eye 1 -1 -4] [--target 0 0 0] [--output picture.png]

SPLAT is a splat file of any format, e.g. `first_splat/splat.ply`; without it a ball of random Gaussians is drawn. The
axes are OpenCV's: x right, y down, z forward. Rendering is differentiable, in the camera's pose, too.
"""

from __future__ import annotations

from pathlib import Path

import torch
import tyro
from fewview.render import render
from fewview.render.aim import look_at
from fewview.scene import Cameras, Gaussians, Splat, StaticSplat
from fewview.scene.formats import load_splat
from PIL import Image


def random_ball(count: int = 2000) -> Splat:
    """Coloured Gaussians, evenly spread over directions and radii up to 1."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=-1)
    gaussians = Gaussians(
        means=directions * torch.rand(count, 1, generator=generator),
        quats=torch.randn(count, 4, generator=generator),
        log_scales=torch.full((count, 3), 0.05).log(),
        opacity_logits=torch.full((count,), 1.0),
        sh=torch.randn(count, 1, 3, generator=generator),
    )
    return StaticSplat(gaussians, up=(0.0, -1.0, 0.0))


def main(
    splat: tyro.conf.Positional[Path | None] = None,
    eye: tuple[float, float, float] = (1.0, -1.0, -4.0),
    target: tuple[float, float, float] = (0.0, 0.0, 0.0),
    focal_px: float = 500.0,
    width: int = 640,
    height: int = 480,
    output: Path = Path("picture.png"),
) -> None:
    """Draw the splat as seen from `eye` towards `target`, both in the splat's own frame."""
    scene = random_ball() if splat is None else load_splat(splat)
    up = torch.tensor(scene.up or (0.0, -1.0, 0.0))
    cam_from_world = look_at(torch.tensor(eye), torch.tensor(target), up)
    camera = Cameras.pinhole(cam_from_world, focal_px, width, height)
    with torch.no_grad():
        seen = render(scene.at(), camera, antialiased=scene.antialiased)
    Image.fromarray((seen.rgb.clamp(0, 1) * 255).round().to(torch.uint8).numpy()).save(output)
    depth = float(seen.expected_depth[height // 2, width // 2])
    print(f"{output}: {width} x {height} pixels, depth {depth:.3f} in the middle")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
