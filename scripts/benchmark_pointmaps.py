"""Cameras from pairwise pointmaps without a network, against true ones: stitched, aligned, with one focal length.

    python scripts/benchmark_pointmaps.py CAPTURE [--views 3 6 12] [--side 480]

CAPTURE has cameras. Every 8th photograph in name order is held out, as for training; the views are evenly spaced among
the others. Angles are means over all pairs of views, the trajectory's error is in scene scales.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from fewview.recon.poses.pointmaps.global_alignment import AlignmentConfig, align_pairs
from fewview.recon.poses.pose_errors import pose_errors
from fewview.scene.capture import evenly_spaced, fit_size
from fewview.scene.readers import read_capture
from two_view_pointmaps import TwoViewPredictor

WAYS = {
    "stitched": AlignmentConfig(iterations=0, focal_averaging=False),
    "aligned, own focal lengths": AlignmentConfig(focal_averaging=False),
    "aligned, their mean": AlignmentConfig(),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("capture", type=Path)
    parser.add_argument("--views", type=int, nargs="+", default=[3, 6, 12])
    parser.add_argument("--side", type=int, default=480, help="longer side of the pictures, pixels")
    options = parser.parse_args()
    capture = read_capture(options.capture)
    if capture.cameras is None:
        parser.error(f"{options.capture} has no cameras to compare with")
    print("| views | way | rotation, degrees | direction, degrees | AUC at 5 | ATE | focal, px | s (processor) |")
    print("|---|---|---|---|---|---|---|---|")
    for n in options.views:
        views = capture.subset(evenly_spaced(capture.split()[0], n))
        sizes = [fit_size(f.width, f.height, options.side) for f in views.frames]
        images = [views.image(k, *size)[..., :3].contiguous() for k, size in enumerate(sizes)]
        started = time.process_time()
        pairs = TwoViewPredictor().predict_pairs(images)
        print(f"| {n} | the pairs | | | | | | {time.process_time() - started:.1f} |", flush=True)
        for name, config in WAYS.items():
            started = time.process_time()
            aligned = align_pairs(pairs, config)
            seconds = time.process_time() - started
            assert views.cameras is not None
            errors = pose_errors(aligned.stereo.cameras.cam_from_world, views.cameras.cam_from_world[aligned.views])
            figures = errors.summary()
            focal_px = aligned.stereo.cameras.K[:, 0, 0]
            print(
                f"| {len(aligned.views)} of {n} | {name} | {figures['rotation_mean_deg']:.2f} | "
                f"{figures['translation_mean_deg']:.2f} | {figures['auc_5']:.3f} | {errors.ate:.3f} | "
                f"{float(focal_px.min()):.0f} - {float(focal_px.max()):.0f} | {seconds:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
