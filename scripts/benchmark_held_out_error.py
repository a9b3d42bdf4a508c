"""Shares of a run's held-out error: by how many training photographs saw a pixel, and by cause.

    fewview reconstruct INPUT -o REFERENCE --eval --method 3dgs     of all photographs that are not held out
    fewview reconstruct INPUT -o RUN --eval --views 3
    python scripts/benchmark_held_out_error.py RUN ... --reference REFERENCE

How many of a run's training photographs saw a pixel is said by the depth of REFERENCE, which knows the scene from many.
"Copied" is what the training photographs show at that depth: the error that would be left if geometry were as good as
the reference's and colours did not depend on the direction. Each line of the second table is the mean PSNR with one
cause removed, by the truth itself where nothing else is said: bounds, and no results.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from benchmark_reconstruct import machine
from fewview.recon.evidence.depth_maps import unproject
from fewview.recon.evidence.stereo.source_views import project
from fewview.recon.methods.instantsplat.untrusted_depth import carried
from fewview.recon.optimise.dataset import Dataset
from fewview.recon.pipeline.refine_held_out import refine_held_out
from fewview.recon.pipeline.seen_pixels import SeenPixels
from fewview.recon.poses import align_cameras
from fewview.render import render
from fewview.scene.geometry import transform_points
from fewview.scene.readers import load_run_capture
from fewview.scene.run import Run
from fewview.scene.run_splat import load_run_splat
from fewview.scene.splat import Splat
from torch import Tensor

CLASSES = ("no photograph", "one", "two or more")


@dataclass(frozen=True)
class HeldOut:
    """One held-out photograph, what a run draws in its place, and what is known of its pixels; [H, W, ...] each."""

    truth: Tensor
    drawn: Tensor
    alpha: Tensor
    photographs: Tensor  # int, of the training photographs that saw it
    copied: Tensor  # the mean of what these show there

    def error(self, picture: Tensor) -> Tensor:
        """Squared error [H, W]."""
        return (picture.clamp(0, 1) - self.truth).square().mean(-1)


def loaded(path: Path) -> tuple[Dataset, Splat]:
    run = Run.open(path)
    capture = load_run_capture(run)
    return Dataset.from_capture(capture, test=capture.test or ()), load_run_splat(run)


def in_frame_of(dataset: Dataset, reference: Dataset, splat: Splat) -> Splat:
    """The reference's splat in the frame of a run, by the cameras of the photographs that both have."""
    shared = [name for name in dataset.names if name in reference.names and dataset.names.index(name) in dataset.train]
    own, other = ([d.names.index(n) for n in shared] for d in (dataset, reference))
    moved = align_cameras(reference.cameras.cam_from_world[other], dataset.cameras.cam_from_world[own])
    return splat.moved(replace(moved, rotation=moved.rotation.float(), translation=moved.translation.float()))


@torch.no_grad()
def held_out(dataset: Dataset, splat: Splat, seen: SeenPixels, index: int) -> HeldOut:
    """`seen` says by the reference's depth what the training photographs have seen."""
    background = torch.tensor(splat.background)
    camera, truth = dataset.cameras[index], dataset.view(index).target(background)
    drawn = render(splat.at(), camera, background=background, antialiased=splat.antialiased)
    depth, _ = seen.depth_in(camera)
    points = transform_points(camera.world_from_cam, unproject(depth.nan_to_num(posinf=1e6), camera.K).reshape(-1, 3))
    total, count = torch.zeros(len(points), 3), torch.zeros(len(points))
    for view, where in zip(dataset.train, seen.by_photograph(camera), strict=True):
        photograph = dataset.view(view).target(background)
        height, width = photograph.shape[:2]
        pixel, _ = project(dataset.cameras[view], points)
        grid = (2 * pixel / pixel.new_tensor([width, height]) - 1).nan_to_num(9.0)
        color = F.grid_sample(photograph.permute(2, 0, 1)[None], grid[None, None], align_corners=False)[0, :, 0].T
        mask = where.reshape(-1)
        total[mask] += color[mask]
        count += mask
    copied = (total / count.clamp_min(1)[:, None]).reshape(truth.shape)
    return HeldOut(truth, drawn.rgb.clamp(0, 1), drawn.alpha, count.int().reshape(truth.shape[:2]), copied)


def blurred_surroundings(view: HeldOut) -> Tensor:
    """The drawn picture, its pixels that no photograph saw replaced by those around them, ever more blurred."""
    seen = (view.photographs > 0).numpy()
    if not seen.any():
        return view.drawn
    planes = [carried(view.drawn[..., k].numpy(), seen) for k in range(3)]
    return torch.from_numpy(np.stack([cv2.GaussianBlur(p, (0, 0), 3) for p in planes], -1))


def fitted(view: HeldOut, where: Tensor) -> Tensor:
    """The drawn picture with one gain and offset for each channel, found on some of its pixels."""
    out = view.drawn.clone()
    if int(where.sum()) < 100:
        return out
    for k in range(3):
        x = torch.stack([view.drawn[..., k][where], torch.ones(int(where.sum()))], 1)
        gain, offset = torch.linalg.lstsq(x, view.truth[..., k][where, None]).solution[:, 0]
        out[..., k] = gain * view.drawn[..., k] + offset
    return out


def mean_psnr(views: list[HeldOut], pictures: list[Tensor]) -> float:
    errors = [float(v.error(p).mean()) for v, p in zip(views, pictures, strict=True)]
    return sum(-10 * math.log10(e) for e in errors) / len(errors)


def report(path: Path, reference_path: Path) -> None:
    dataset, splat = loaded(path)
    reference_dataset, reference_splat = loaded(reference_path)
    reference = in_frame_of(dataset, reference_dataset, reference_splat)
    by_reference = SeenPixels(reference.at(), dataset.cameras[list(dataset.train)])
    views = [held_out(dataset, splat, by_reference, i) for i in dataset.test]
    mean_color = torch.stack([dataset.view(i).target(torch.zeros(3)).mean((0, 1)) for i in dataset.train]).mean(0)
    total = sum(float(v.error(v.drawn).sum()) for v in views)
    pixels = sum(v.alpha.numel() for v in views)
    print(f"\n{path.name}: {len(dataset.train)} photographs, {len(views)} held out\n")
    print("| seen by | share of pixels | share of the squared error | MSE | MSE copied | mean colour | alpha < 0.5 |")
    print("|---|---|---|---|---|---|---|")
    masks = [[v.photographs.clamp(max=2) == k for v in views] for k in range(3)]
    for name, where in zip(CLASSES, masks, strict=True):
        count = max(1, sum(int(m.sum()) for m in where))
        pairs = list(zip(views, where, strict=True))
        drawn, copied, plain = (
            sum(float(v.error(p)[m].sum()) for (v, m), p in zip(pairs, pictures, strict=True)) / count
            for pictures in (
                [v.drawn for v in views], [v.copied for v in views], [mean_color.expand_as(v.drawn) for v in views]
            )
        )  # fmt: skip
        empty = sum(int((v.alpha[m] < 0.5).sum()) for v, m in pairs) / count
        other = "" if name == CLASSES[0] else f"{copied:.4f}"
        print(
            f"| {name} | {count / pixels:.1%} | {drawn * count / total:.1%} | {drawn:.4f} | {other} | {plain:.4f} "
            f"| {empty:.1%} |"
        )
    aligned = refine_held_out(splat, dataset)  # which leaves the training cameras where they are
    realigned = [held_out(aligned, splat, by_reference, i) for i in aligned.test]

    def replaced(k: int, by: list[Tensor]) -> list[Tensor]:
        return [torch.where(m[..., None], b, v.drawn) for v, m, b in zip(views, masks[k], by, strict=True)]

    truths = [v.truth for v in views]
    seen = [v.photographs > 0 for v in views]
    colours = [fitted(v, s) for v, s in zip(views, seen, strict=True)]
    surely = [torch.where(s[..., None], c, v.drawn) for v, s, c in zip(views, seen, colours, strict=True)]
    rows = {
        "as drawn": [v.drawn for v in views],
        "what no photograph saw, right": replaced(0, truths),
        "what no photograph saw, the mean colour of the training photographs": replaced(
            0, [mean_color.expand_as(v.drawn) for v in views]
        ),
        "what no photograph saw, its blurred surroundings": replaced(0, [blurred_surroundings(v) for v in views]),
        "what one saw, right": replaced(1, truths),
        "what one saw, copied": replaced(1, [v.copied for v in views]),
        "what two or more saw, right": replaced(2, truths),
        "what two or more saw, copied": replaced(2, [v.copied for v in views]),
        "exposure: gain and offset of each channel fitted on what was seen": surely,
    }
    print("\n| one cause removed | mean PSNR (dB) |\n|---|---|")
    for name, pictures in rows.items():
        print(f"| {name} | {mean_psnr(views, pictures):.2f} |")
    print(f"| held-out cameras fitted to the splat | {mean_psnr(realigned, [v.drawn for v in realigned]):.2f} |")
    print("\n| held out | PSNR | no photograph | one | two or more (shares of its error; of its pixels) |")
    print("|---|---|---|---|---|")
    for n, v in enumerate(views):
        e, cells = v.error(v.drawn), []
        for k in range(3):
            cells.append(f"{float(e[masks[k][n]].sum() / e.sum()):.0%}; {float(masks[k][n].float().mean()):.0%}")
        print(f"| {dataset.names[dataset.test[n]]} | {-10 * math.log10(float(e.mean())):.2f} | {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--reference", type=Path, required=True)
    options = parser.parse_args()
    print(machine())
    for path in options.runs:
        report(path, options.reference)


if __name__ == "__main__":
    main()
