"""Checks that splats stand upright: an L of Gaussians through every format, read by us and by splat-transform.

    npm install @playcanvas/splat-transform
    python scripts/check_axes.py --splat-transform node_modules/.bin/splat-transform

The L stands in worlds whose z, y, -y and another direction are up. Ways: our file read by us as if by another program
(without its side file), our file read by us (in its world again), our file read by them, their file (of our PLY) read
by us. The turn between the L before and after is found from the positions alone; each cell says how far its up is from
where it should be, in degrees, and how much the colours seen along 200 directions, turned alike, differ at most; before
the slash is the worst world, colours are in levels of 255. A mirrored scene, or one whose colours stand still while it
turns, shows in these numbers. The exit code is 1 when one is larger than the steps of its format allow.

SPZ has y up by its definition, and splat-transform 2.7.1 reads and writes it so; 3.7.0 takes y as down there, as in a
PLY, which shows as 180 degrees.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from fewview.scene.formats import load_splat, save_splat, side_path
from fewview.scene.gaussians import Gaussians
from fewview.scene.splat import Axis, StaticSplat
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support.letter_l import Y_DOWN, Y_UP, colours, in_order_of_red, letter_l

UPS: tuple[Axis, ...] = ((0.0, 0.0, 1.0), Y_UP, Y_DOWN, (0.48, -0.64, 0.6))
WAYS = ("ours, as others see it", "ours, in its world", "ours, read by them", "theirs, read by us")
MAX_DEGREES = 0.5
# 15 coefficients off by half a step of SPZ, the coarsest, times a basis whose squares add up to 15 / (4 pi).
MAX_LEVELS = 255 * 1 / 16 * 15 / math.sqrt(4 * math.pi)


@dataclass(frozen=True)
class Case:
    """A format, what is up in its files, and what splat-transform can do with it."""

    name: str  # of the file
    up: Axis
    they_read: bool = True
    they_write: bool = True
    judged: bool = True  # False where their version may not follow the format's definition; shown all the same


CASES = (
    Case("l.ply", Y_DOWN),
    Case("l.compressed.ply", Y_DOWN),
    Case("l.splat", Y_DOWN, they_write=False),
    Case("l.spz", Y_UP, judged=False),
    Case("l.sog", Y_DOWN),
    Case("meta.json", Y_DOWN),
    Case("l.glb", Y_UP, they_read=False),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--splat-transform", type=Path, required=True, help="the command of the package")
    options = parser.parse_args()
    print(f"| degrees / levels | {' | '.join(WAYS)} |\n{'|---' * (1 + len(WAYS))}|")
    worst = (0.0, 0.0)
    for case in CASES:
        rows = [_ways(case, up, options.splat_transform) for up in UPS]
        cells = []
        for way, column in zip(WAYS, zip(*rows, strict=True), strict=True):
            found = [cell for cell in column if cell is not None]
            largest = (max(d for d, _ in found), max(c for _, c in found)) if found else None
            cells.append("not made" if largest is None else f"{largest[0]:.2f} / {largest[1]:.1f}")
            if largest is not None and (case.judged or way in WAYS[:2]):
                worst = max(worst[0], largest[0]), max(worst[1], largest[1])
        print(f"| {case.name} | {' | '.join(cells)} |", flush=True)
    print(f"\nLargest: {worst[0]:.2f} degrees, {worst[1]:.1f} levels.")
    return 0 if worst[0] < MAX_DEGREES and worst[1] < MAX_LEVELS else 1


Cell = tuple[float, float] | None  # (degrees, levels of 255)


def _ways(case: Case, up: Axis, command: Path) -> tuple[Cell, ...]:
    """A cell for each way, in one world."""
    scene = letter_l(up)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ours = folder / "ours" / case.name
        ours.parent.mkdir()
        save_splat(ours, StaticSplat(scene, up=up))
        in_world = _compared(scene, up, load_splat(ours).gaussians, up)
        side_path(ours).unlink(missing_ok=True)
        alone = _compared(scene, up, load_splat(ours).gaussians, case.up)
        by_them = by_us = None
        if case.they_read:
            _transform(command, ours, folder / "back.ply")
            by_them = _compared(scene, up, load_splat(folder / "back.ply").gaussians, Y_DOWN)
        if case.they_write:
            save_splat(folder / "in.ply", StaticSplat(scene, up=up))
            theirs = folder / "theirs" / case.name
            theirs.parent.mkdir()
            _transform(command, folder / "in.ply", theirs)
            by_us = _compared(scene, up, load_splat(theirs).gaussians, case.up)
        return alone, in_world, by_them, by_us


def _compared(scene: Gaussians, up: Axis, found: Gaussians, expected_up: Axis) -> Cell:
    """(degrees between the found up and the expected one, largest difference of colours) after the turn was found."""
    a, b = in_order_of_red(scene), in_order_of_red(found)
    x, y = a.means.double() - a.means.double().mean(0), b.means.double() - b.means.double().mean(0)
    # The least-squares map, free to mirror or stretch: only a rotation leaves its error at the steps of the format.
    turn = torch.linalg.lstsq(x, y).solution.T
    if float((turn @ turn.T - torch.eye(3).double()).abs().max()) > 0.05 or torch.det(turn) < 0:
        return math.inf, math.inf
    found_up = torch.nn.functional.normalize(turn @ torch.tensor(up).double(), dim=0)
    cosine = float((found_up @ torch.tensor(expected_up).double()).clamp(-1, 1))
    directions = _directions()
    degree = min(a.sh_degree, b.sh_degree)
    seen = colours(_lowered(b, degree), directions @ turn.T) - colours(_lowered(a, degree), directions)
    return math.degrees(math.acos(cosine)), 255 * float(seen.abs().max())


def _lowered(g: Gaussians, degree: int) -> Gaussians:
    return Gaussians(g.means, g.quats, g.log_scales, g.opacity_logits, g.sh[:, : (degree + 1) ** 2])


def _directions() -> Tensor:
    rng = torch.Generator().manual_seed(1)
    return torch.nn.functional.normalize(torch.randn(200, 3, generator=rng), dim=-1).double()


def _transform(command: Path, source: Path, target: Path) -> None:
    done = subprocess.run(
        ["node", str(command), "-q", "-w", "-g", "cpu", str(source), str(target)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{command} {source.name} {target.name} failed:\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    sys.exit(main())
