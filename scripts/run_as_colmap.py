"""Cameras that Fewview found, as a COLMAP model: a later run takes them as given, and holds out every 8th photograph.

fewview poses PHOTOGRAPHS -o RUN --resolution 640
python scripts/run_as_colmap.py RUN FOLDER        then: fewview reconstruct FOLDER --images RUN/images --eval
"""

from __future__ import annotations

import argparse
from pathlib import Path

from fewview.scene.geometry import quat_from_rotation
from fewview.scene.readers import load_run_capture
from fewview.scene.run import Run


def write_colmap(run: Run, folder: Path) -> None:
    """Write cameras.txt, images.txt and points3D.txt, observations without their pixels."""
    capture = load_run_capture(run)
    cameras, points = capture.cameras, capture.points
    assert cameras is not None
    assert points is not None
    assert points.seen_view is not None
    assert points.seen_point is not None
    files = {file.stem: file.name for file in sorted(run.images_path.iterdir())}
    lenses, images = [], []
    for i, name in enumerate(capture.names):
        K, pose = cameras.K[i], cameras.cam_from_world[i]
        lens = [float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2])]
        lenses.append(f"{i + 1} PINHOLE {int(cameras.width[i])} {int(cameras.height[i])} " + " ".join(map(str, lens)))
        numbers = [*quat_from_rotation(pose[:3, :3].double()).tolist(), *pose[:3, 3].tolist()]
        images.append(f"{i + 1} {' '.join(map(str, numbers))} {i + 1} {files[Path(name).stem]}")
        images.append(" ".join(f"0 0 {p}" for p in points.seen_point[points.seen_view == i].tolist()))
    rows = zip(points.xyz.tolist(), points.rgb.tolist(), strict=True)
    cloud = [" ".join(map(str, [k, *xyz, *rgb, 0])) for k, (xyz, rgb) in enumerate(rows)]
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in {"cameras": lenses, "images": images, "points3D": cloud}.items():
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    write_colmap(Run.open(arguments.run), arguments.folder)


if __name__ == "__main__":
    main()
