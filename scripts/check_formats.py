"""Compares our readers and writers of splat files with those of splat-transform, an independent implementation.

    npm install @playcanvas/splat-transform
    python scripts/check_formats.py --splat-transform node_modules/.bin/splat-transform SPLAT.ply

Two ways for each format: what we write, they turn into a PLY; what they write, we read. For each the table has the
share of Gaussians that came through, the largest difference of each quantity between the sorted values of both (so
that the order of the file does not matter), relative to our own way through the same format, and pictures: PSNR
against the original splat, and against what our own reader makes of our own file. The exit code is 1 when one differs.

splat-transform leaves coordinates as they are in SPZ and SOG, whatever the formats define, and turns those of a GLB by
half a turn about z; both is undone here before anything is compared.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from fewview.commands.render import around
from fewview.render import render
from fewview.render.metrics import psnr
from fewview.render.paths import orbit
from fewview.scene.formats import has_splat_ending, load_splat, save_splat, side_path
from fewview.scene.formats.axes import file_from_world
from fewview.scene.gaussians import Gaussians
from fewview.scene.geometry import Similarity, rotation_from_quat
from fewview.scene.splat import StaticSplat

VIEWS, SIDE_PX = 3, 400
SAME_DB = 50.0  # pictures of two decoders of one file: they differ by rounding and by the order of equal depths
AS_GOOD_DB = 0.5  # their file against ours of the same format
SAME_SIZE = 0.02  # of SPZ files of one version
COLUMNS = ("format", "way", "Gaussians", "means", "rotations", "scales", "opacities", "colours", "SH", "PSNR")
COLUMNS += ("same as ours", "size")
HALF_TURN = Similarity(torch.ones(()), torch.diag(torch.tensor([-1.0, -1.0, 1.0])), torch.zeros(3))


@dataclass(frozen=True)
class Case:
    """A format as both sides can handle it."""

    ending: str
    version: int | None = None  # of SPZ
    they_read: bool = True
    they_write: bool = True
    fixed_axes: bool = False  # ours are upright in the file, theirs are as they were
    compare_size: bool = False

    @property
    def name(self) -> str:
        return self.ending if self.version is None else f"{self.ending} v{self.version}"


CASES = (
    Case(".ply"),
    Case(".compressed.ply"),
    Case(".splat", they_write=False),
    Case(".spz", 2, they_write=False, fixed_axes=True),
    Case(".spz", 3, fixed_axes=True, compare_size=True),
    Case(".spz", 4, fixed_axes=True, compare_size=True),
    Case(".sog"),
    Case(".glb", they_read=False, fixed_axes=True),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("splat", type=Path, help="a PLY of a real scene, best of degree 3")
    parser.add_argument("--splat-transform", type=Path, required=True, help="the command of the package")
    options = parser.parse_args()
    original = load_splat(options.splat)
    # Whatever the file says: -y is the frame in which theirs and ours agree about a PLY.
    original = replace(original, up=(0.0, -1.0, 0.0))
    checker = Checker(original, options.splat_transform, options.splat.stat().st_size)
    print(f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|")
    for case in CASES:
        if has_splat_ending("a" + case.ending):
            checker.check(case)
        else:
            print(f"| {case.name} | not a format here {'| ' * (len(COLUMNS) - 1)}|")
    print(f"\n{len(checker.faults)} faults{': ' if checker.faults else '.'}{'; '.join(checker.faults)}")
    return 1 if checker.faults else 0


class Checker:
    def __init__(self, original: StaticSplat, command: Path, ply_bytes: int) -> None:
        self.original, self.command, self.ply_bytes = original, command, ply_bytes
        self.faults: list[str] = []
        path = orbit(around(original.gaussians, original.up), VIEWS)
        self.cameras = path.resized(SIDE_PX, SIDE_PX * 3 // 4)
        self.truth = self.pictures(original.gaussians)

    def check(self, case: Case) -> None:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            ours = folder / f"ours{case.ending}"
            save_splat(ours, self.original, spz_version=case.version)
            best = load_splat(ours)
            best_db = self.row(case, "ours", best, best, ours.stat().st_size)
            if case.they_read:
                self.transform([str(ours), str(folder / "back.ply")])
                back = load_splat(folder / "back.ply")
                if case.fixed_axes:
                    back = _moved(back, file_from_world(self.original.up).inverse())
                self.row(case, "ours, read by them", back, best, ours.stat().st_size)
            if case.they_write:
                theirs = self.theirs(case, folder)
                read = load_splat(theirs)
                assert not side_path(theirs).exists()
                if case.ending == ".glb":
                    read = _moved(read, HALF_TURN)
                found_db = self.row(case, "theirs, read by us", read, best, theirs.stat().st_size, exact=False)
                self.expect(
                    case, abs(found_db - best_db) < AS_GOOD_DB or found_db > SAME_DB, "their file looks different"
                )
                ratio = ours.stat().st_size / theirs.stat().st_size
                self.expect(case, not case.compare_size or abs(ratio - 1) < SAME_SIZE, f"size {ratio:.3f} of theirs")

    def theirs(self, case: Case, folder: Path) -> Path:
        """Their file of the original, through a PLY of ours."""
        save_splat(folder / "in.ply", self.original)
        out = folder / f"theirs{case.ending}"
        version = [] if case.version is None else ["--spz-version", str(case.version)]
        self.transform([*version, str(folder / "in.ply"), str(out)])
        return out

    def transform(self, args: list[str]) -> None:
        command = ["node", str(self.command), "-q", "-w", "-g", "cpu", *args]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")

    def row(
        self, case: Case, way: str, found: StaticSplat, best: StaticSplat, size: int, *, exact: bool = True
    ) -> float:
        """Prints a row and returns PSNR against the original; `exact` is for two decoders of one file."""
        n = len(self.original.gaussians)
        pictures = self.pictures(found.gaussians)
        against_truth = self.mean_db(pictures, self.truth)
        against_ours = self.mean_db(pictures, self.pictures(best.gaussians))
        differences = _differences(found.gaussians, best.gaussians)
        cells = [f"{len(found.gaussians) / n:.1%}", *(f"{d:.2g}" for d in differences)]
        cells += [f"{against_truth:.2f}", f"{against_ours:.2f}", f"{size / self.ply_bytes:.2%}"]
        print(f"| {case.name} | {way} | {' | '.join(cells)} |", flush=True)
        self.expect(case, len(found.gaussians) == len(best.gaussians), f"{way}: {len(found.gaussians)} Gaussians")
        self.expect(case, not exact or against_ours > SAME_DB, f"{way}: {against_ours:.1f} dB")
        self.expect(case, found.antialiased == best.antialiased, f"{way}: antialiased is {found.antialiased}")
        return against_truth

    def pictures(self, gaussians: Gaussians) -> list[torch.Tensor]:
        with torch.no_grad():
            return [
                render(gaussians, self.cameras[i], antialiased=self.original.antialiased).rgb.clamp(0, 1)
                for i in range(len(self.cameras))
            ]

    def mean_db(self, pictures: list[torch.Tensor], targets: list[torch.Tensor]) -> float:
        values = [min(psnr(a, b), 99.0) for a, b in zip(pictures, targets, strict=True)]
        return sum(values) / len(values)

    def expect(self, case: Case, right: bool, what: str) -> None:
        if not right:
            self.faults.append(f"{case.name}, {what}")


def _moved(splat: StaticSplat, new_from_old: Similarity) -> StaticSplat:
    return replace(splat, gaussians=splat.gaussians.moved(new_from_old))


def _differences(a: Gaussians, b: Gaussians) -> list[float]:
    """Largest difference between the sorted values of every column, by quantity; nan where the shapes differ."""
    found = []
    for left, right in zip(_quantities(a), _quantities(b), strict=True):
        if left.shape != right.shape:
            found.append(float("nan"))
        elif left.numel() == 0:
            found.append(0.0)
        else:
            found.append(float((left.sort(0).values - right.sort(0).values).abs().max()))
    return found


def _quantities(g: Gaussians) -> list[torch.Tensor]:
    """Means, rotation matrices (a quaternion has two signs), scales, opacities, colours, harmonics: [N, ...] each."""
    rotations = rotation_from_quat(g.quats).flatten(1)
    return [g.means, rotations, g.scales, g.opacities[:, None], g.base_colors, g.sh[:, 1:].flatten(1)]


if __name__ == "__main__":
    sys.exit(main())
