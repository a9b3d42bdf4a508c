"""The picture of the README's section on scenes that move, from a run on the walking fox.

    python scripts/make_moving_picture.py runs/dynamic_fox_walk docs/moving.jpg

Four moments from a held-out side; below them the middle one as it is, and with its head turned by 45 degrees and moved
aside while the body is held, by `fewview edit --drag`. What that says of the drag is printed.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from fewview.render import render
from fewview.scene.cameras import Cameras
from fewview.scene.edit import freeze
from fewview.scene.formats import load_splat
from fewview.scene.gaussians import Gaussians
from fewview.scene.readers import load_run_capture
from fewview.scene.run import Run
from fewview.scene.run_splat import load_run_splat
from PIL import Image
from torch import Tensor

ASIDE, AHEAD = "test/r_010", "test/r_012"  # the cameras of the upper and the lower row
SHARES = 0.1, 0.35, 0.6, 0.85  # of the motion
MOVE, TURN_DEG = (0.06, 0.0, 0.05), 45.0  # of the head, in lengths of the fox and about the vertical


def turned_head(points: Tensor, time_s: float) -> dict[str, object]:
    """The drag file for control points [M, 3] of the fox, which looks along -y."""
    head = points[(points @ torch.tensor([0.0, -1.0, 0.5]).to(points)).argmax()]
    across = float((points.amax(0) - points.amin(0)).norm())
    still = ((points - head).norm(dim=-1) > 0.4 * across).nonzero()[:, 0]
    turn = {"axis": [0, 0, 1], "degrees": TURN_DEG}
    handle = {"at": head.tolist(), "rings": 3, "move": [share * across for share in MOVE], "rotate": turn}
    return {"version": 1, "time_s": time_s, "handles": [handle, {"nodes": still.tolist(), "anchor": True}]}


@torch.no_grad()
def shot(gaussians: Gaussians, camera: Cameras, antialiased: bool) -> Image.Image:
    """A picture over white."""
    drawn = render(gaussians, camera, background=torch.ones(3), antialiased=antialiased).rgb.clamp(0, 1)
    return Image.fromarray((255 * drawn).round().byte().numpy())


def main(folder: Path, target: Path) -> None:
    run = Run.open(folder)
    splat, capture = load_run_splat(run), load_run_capture(run)
    if splat.time_range_s is None or capture.cameras is None:
        raise SystemExit(f"{folder} holds no moving splat with cameras.")
    first, last = splat.time_range_s
    frozen = (first + last) / 2
    named = {Path(name).with_suffix("").as_posix(): i for i, name in enumerate(capture.names)}

    def camera(name: str, side: int) -> Cameras:
        assert capture.cameras is not None
        return capture.cameras[named[name]].resized(torch.tensor(side), torch.tensor(side))

    with tempfile.TemporaryDirectory() as scratch:
        drag, turned = Path(scratch) / "turn.json", Path(scratch) / "turned.ply"
        drag.write_text(json.dumps(turned_head(freeze(splat, frozen).points, frozen)))
        program = [sys.executable, "-m", "fewview", "edit", str(folder), "--drag", str(drag), "-o", str(turned)]
        print(subprocess.run(program, check=True, capture_output=True, text=True).stdout)
        edited = load_splat(turned, even_if_changed=True).at()
    page = Image.new("RGB", (1200, 496), "white")
    for column, share in enumerate(SHARES):
        seen = shot(splat.at(first + share * (last - first)), camera(ASIDE, 600), splat.antialiased)
        page.paste(seen.crop((10, 150, 590, 450)).resize((300, 155), Image.Resampling.LANCZOS), (300 * column, 0))
    for column, gaussians in enumerate((splat.at(frozen), edited)):
        seen = shot(gaussians, camera(AHEAD, 700), splat.antialiased)
        page.paste(seen.crop((10, 150, 690, 560)).resize((590, 356), Image.Resampling.LANCZOS), (600 * column, 140))
    page.save(target, quality=88)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
