"""Distances of meshes that `fewview mesh` has written: to each other, and to points that photographs did not show.

    python scripts/benchmark_mesh.py chamfer chair12/mesh.glb chair100/mesh.glb    mean distance there and back
    python scripts/benchmark_mesh.py points RUN COLMAP_MODEL                       to points that RUN's photographs do
                                                                                   not show twice

RUN was trained with the cameras of COLMAP_MODEL, so both are in one frame. Distances are in percent of the diagonal of
the second mesh, or of the run's.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from fewview.scene.mesh_distance import point_mesh_distance, surface_samples
from fewview.scene.mesh_formats import load_mesh
from fewview.scene.readers import load_run_capture
from fewview.scene.readers.colmap import read_colmap
from fewview.scene.run import Run
from fewview.scene.triangle_mesh import Mesh
from torch import Tensor

SAMPLES = 20_000
MARGIN = 0.02  # of the diagonal: points within the mesh's box, made larger by so much, are looked at


def diagonal(mesh: Mesh) -> float:
    return float((mesh.vertices.amax(0) - mesh.vertices.amin(0)).norm())


def chamfer(first: Path, second: Path) -> dict[str, float]:
    """Mean distances of samples of each mesh to the other, and the share of the second's that is within 1 %."""
    one, other = load_mesh(first), load_mesh(second)
    size = diagonal(other)
    there = point_mesh_distance(surface_samples(one, SAMPLES), other) / size
    back = point_mesh_distance(surface_samples(other, SAMPLES), one) / size
    return {
        "there_percent": round(100 * float(there.mean()), 3),
        "back_percent": round(100 * float(back.mean()), 3),
        "chamfer_percent": round(50 * float(there.mean() + back.mean()), 3),
        "back_within_1_percent": round(float((back < 0.01).float().mean()), 3),
    }


def points_not_shown(run: Run, model: Path, images: Path | None) -> Tensor:
    """Points [n, 3] of a COLMAP model that fewer than two of a run's training photographs show."""
    whole, kept = read_colmap(model, images), load_run_capture(run)
    assert whole.points is not None
    assert whole.points.seen_point is not None
    assert whole.points.seen_view is not None
    held = set(kept.test or ())
    names = {Path(name).stem for i, name in enumerate(kept.names) if i not in held}
    mine = torch.tensor([Path(name).stem in names for name in whole.names])
    pairs = torch.stack([whole.points.seen_point, whole.points.seen_view], dim=1).unique(dim=0)
    shown = torch.bincount(pairs[mine[pairs[:, 1]], 0], minlength=len(whole.points))
    return whole.points.xyz[shown < 2]


def held_out_points(path: Path, model: Path, images: Path | None) -> dict[str, float]:
    run = Run.open(path)
    mesh = load_mesh(run.mesh_path)
    size = diagonal(mesh)
    points = points_not_shown(run, model, images)
    room = MARGIN * size
    inside = ((points > mesh.vertices.amin(0) - room) & (points < mesh.vertices.amax(0) + room)).all(1)
    far = 100 * point_mesh_distance(points[inside], mesh) / size
    return {
        "points": len(points),
        "in_box": int(inside.sum()),
        "median_percent": round(float(far.median()), 3),
        "p90_percent": round(float(far.quantile(0.9)), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_subparsers(dest="what", required=True)
    pair = what.add_parser("chamfer")
    pair.add_argument("first", type=Path)
    pair.add_argument("second", type=Path)
    held = what.add_parser("points")
    held.add_argument("run", type=Path)
    held.add_argument("model", type=Path)
    held.add_argument("--images", type=Path, help="folder of the photographs, where it is not beside the model")
    options = parser.parse_args()
    found = chamfer(options.first, options.second) if options.what == "chamfer" else None
    print(json.dumps(found or held_out_points(options.run, options.model, options.images)))


if __name__ == "__main__":
    main()
