"""The depth prior on photographs it never saw, beside interpolation, a membrane and the edge-aware fill.

    fewview poses PHOTOGRAPHS -o runs/scene --resolution 960
    python scripts/benchmark_depth_prior.py runs/scene ... fox=FOX/colmap_half:FOX/images --weights depth.safetensors

Of the photographs of each scene, as many as `--views` are given: evenly spaced ones, or with `--stride` some from the
middle that are so many apart. They come with what stereo trusts in them and the sparse points that two of them see.
The truth is what stereo trusts with many photographs, and their sparse points, in the same pictures where nothing was
given. Errors are of depth, by the distance in pixels from the nearest given pixel, at a longer side of 480. `--keep`
keeps stereo's maps for the next time.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from benchmark_reconstruct import machine
from fewview.recon.evidence import Stereo
from fewview.recon.evidence.between_points import inverse_depth_between
from fewview.recon.evidence.depth_prior import DepthPrior, complete_depth, load_prior
from fewview.recon.evidence.evidence_kinds import DEPTH, gather
from fewview.recon.evidence.filled_disparity import ITERATIONS, known_inverse_depth, points_of_view
from fewview.recon.evidence.stereo.fill import EdgeAwareFill
from fewview.recon.evidence.stereo.stereo_depth import observed_points
from fewview.recon.optimise.dataset import Dataset
from fewview.scene.capture import Capture, evenly_spaced
from fewview.scene.readers import read_capture
from fewview.scene.run import Run

SIDE_PX = 480
MOST_REFERENCES = 12  # photographs for the truth
SURE = 3.0  # confidence of stereo from which on a pixel is a truth
BANDS = (
    (1, 5),
    (5, 20),
    (20, 50),
    (50, 10_000),
    (20, 10_000),
)  # pixels from the nearest given one; the last two joined
MOST_CORNERS = 8000  # of the triangulation behind the linear interpolation

# (image [H, W, 3], inverse depth [H, W], weight [H, W]) -> depth [H, W]
Fill = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def nearest(image: np.ndarray, value: np.ndarray, weight: np.ndarray) -> np.ndarray:
    known = weight > 0
    _, labels = cv2.distanceTransformWithLabels(
        (~known).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    by_label = np.zeros(int(labels.max()) + 1, np.float32)
    by_label[labels[known]] = value[known]
    return np.asarray(1 / by_label[labels])


def linear(image: np.ndarray, value: np.ndarray, weight: np.ndarray) -> np.ndarray:
    known = weight > 0
    row, column = known.nonzero()
    if len(row) > MOST_CORNERS:
        chosen = np.random.default_rng(0).permutation(len(row))[:MOST_CORNERS]
        row, column = row[chosen], column[chosen]
    out = value.astype(np.float64)
    places = np.stack([row, column], 1).astype(np.float64)
    out[~known] = inverse_depth_between(places, out[row, column], np.stack((~known).nonzero(), 1))
    return 1 / out


def membrane(image: np.ndarray, value: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return edge_aware(np.zeros_like(image), value, weight)


def edge_aware(image: np.ndarray, value: np.ndarray, weight: np.ndarray) -> np.ndarray:
    start = (1 / linear(image, value, weight)).astype(np.float32)
    filled = EdgeAwareFill(image).solve(value, weight, start, ITERATIONS)
    known = value[weight > 0]
    return 1 / np.clip(filled, known.min(), known.max())


def by_network(network: DepthPrior) -> Fill:
    return lambda image, value, weight: complete_depth(network, image, value, weight).depth.numpy()


def depth_of(capture: Capture, dataset: Dataset, folder: Path, name: str) -> Stereo:
    """Stereo of a data set's training views; computed where the folder has none of them."""
    path = folder / name
    kept = Run.open(path) if path.is_dir() else Run.create(path, {})
    found: Stereo = gather(DEPTH, kept, capture, dataset, 0)
    return found


def placed(scene: str) -> tuple[str, Capture]:
    """Name and capture of PATH, NAME=PATH or NAME=MODEL:PHOTOGRAPHS; it has cameras and points."""
    name, _, rest = scene.rpartition("=")
    path, _, images = rest.partition(":")
    return name or Path(path).name, read_capture(path, images=images or None)


def pictures(
    name: str, capture: Capture, views: int, stride: int | None, folder: Path
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """(image, given inverse depth, its weight, true depth, bool where it is true) of each of the given photographs."""
    whole = Dataset.from_capture(capture, max_side=SIDE_PX)
    train, _ = capture.split()
    ordered = sorted(train, key=lambda i: capture.names[i])
    chosen, others = evenly_spaced(ordered, views), evenly_spaced(range(len(capture)), MOST_REFERENCES)
    if stride is not None:
        first = max(0, (len(ordered) - (views - 1) * stride) // 2)
        chosen = ordered[first : first + (views - 1) * stride + 1 : stride]
        others = sorted(range(len(capture)), key=lambda i: min(abs(i - c) for c in chosen))[:MOST_REFERENCES]
    reference = sorted({*chosen, *others})
    told = replace(whole, train=tuple(chosen))
    truth = replace(whole, train=tuple(reference))
    given = depth_of(capture, told, folder, f"{name}_given_{views}_{stride}")
    true = depth_of(capture, truth, folder, f"{name}_true_{views}_{stride}")
    few, many = observed_points(told, chosen), observed_points(truth, reference)
    for number, view in enumerate(chosen):
        image = whole.view(view).pixels[..., :3].numpy()
        value, weight = known_inverse_depth(given.maps[number], given.cameras[number], points_of_view(few, number))
        row = reference.index(view)
        sure = true.maps[row].confidence
        certain = replace(true.maps[row], confidence=torch.where(sure > SURE, sure, 1.0))
        inverse, trust = known_inverse_depth(certain, true.cameras[row], points_of_view(many, row))
        there = (trust > 0) & (weight == 0)
        yield image, value, weight, 1 / np.where(there, inverse, 1), there


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenes", nargs="+", help="PATH, NAME=PATH or NAME=MODEL:PHOTOGRAPHS")
    parser.add_argument("--views", type=int, default=3)
    parser.add_argument("--stride", type=int, help="for films along a road, where evenly spaced ones share nothing")
    parser.add_argument("--weights", type=Path, help="of the network; without, only the others are measured")
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    fills: dict[str, Fill] = {"nearest": nearest, "linear": linear, "membrane": membrane, "edge-aware": edge_aware}
    if options.weights is not None:
        fills["network"] = by_network(load_prior(options.weights))
    columns = ("scene", "px away", "share", *fills)
    print(f"{machine()}\n\nwithin 2 % / within 5 % / AbsRel\n")
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}", flush=True)
    with contextlib.ExitStack() as stack:
        folder = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        for scene in options.scenes:
            measure(*placed(scene), options.views, options.stride, folder, fills)


def measure(scene: str, capture: Capture, views: int, stride: int | None, folder: Path, fills: dict[str, Fill]) -> None:
    errors: dict[tuple[str, int], list[np.ndarray]] = {}
    seconds = dict.fromkeys(fills, 0.0)
    for image, value, weight, true, there in pictures(scene, capture, views, stride, folder):
        away = cv2.distanceTransform((weight == 0).astype(np.uint8), cv2.DIST_L2, 5)
        for name, fill in fills.items():
            started = time.process_time()
            depth = fill(image, value, weight)
            seconds[name] += time.process_time() - started
            for band, (low, high) in enumerate(BANDS):
                where = there & (away >= low) & (away < high)
                errors.setdefault((name, band), []).append(np.abs(depth[where] / true[where] - 1))
    counts = [sum(len(e) for e in errors[next(iter(fills)), band]) for band in range(len(BANDS))]
    total = sum(counts[:-1])
    for band, (low, high) in enumerate(BANDS):
        if counts[band] == 0:
            continue
        span = f"{low} to {high}" if high < BANDS[-1][1] else f"from {low}"
        found = [np.concatenate(errors[name, band]) for name in fills]
        cells = [f"{(e < 0.02).mean():.2f} / {(e < 0.05).mean():.2f} / {e.mean():.3f}" for e in found]
        print(f"| {scene} | {span} | {counts[band] / total:.1%} | {' | '.join(cells)} |", flush=True)
    spent = ", ".join(f"{name} {s / views:.2f}" for name, s in seconds.items())
    print(f"{scene}: seconds of processor time a picture: {spent}", flush=True)


if __name__ == "__main__":
    main()
