"""`PixelLattice`: the pixels of the training views that Gaussians stand for, and what matches what between views."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ....scene.cameras import Cameras
from ....scene.errors import BadInputError
from ...evidence.dense_flow import AGREES, DenseFlow, pixel_centres, sampled
from ...evidence.depth_maps import unproject
from ...optimise.dataset import Dataset

LEAST_PARALLAX = 0.01  # sine of the angle between two rays from which on they say how far away a point is
NEAREST = 4 / 3  # of the nearest surface in units, as LLFF scenes are scaled: 0.75 of it is 1
NEAR_SHARE, LEAST_MATCHES = 0.01, 16  # quantile that counts as nearest; matches below this number mean nothing


@dataclass(frozen=True)
class PixelLattice:
    """Pixels of each training view at the size at which each has a Gaussian, and the rays through their centres."""

    cameras: Cameras  # [V] at the sizes of the lattices
    colors: tuple[Tensor, ...]  # V of uint8 [H, W, 3]
    counts: tuple[Tensor, ...]  # V of bool [H, W], False for masked and transparent pixels, which have none
    rays: tuple[Tensor, ...]  # V of float32 [H, W, 3], world frame, as long as z = 1 is in the camera's

    def __len__(self) -> int:
        return len(self.rays)

    def positions(self, view: int, depth: Tensor) -> Tensor:
        """World points [H, W, 3] at depths [H, W] along the rays of a view."""
        return self.cameras.centers[view].to(depth) + depth[..., None] * self.rays[view]


def pixel_lattice(dataset: Dataset, spacing_px: int) -> PixelLattice:
    """The training views with one pixel for each square of `spacing_px`; on the CPU.

    Raises BadInputError where no pixel counts.
    """
    views = [dataset.views[i] for i in dataset.train]
    sizes = [(max(1, round(v.width / spacing_px)), max(1, round(v.height / spacing_px))) for v in views]
    cameras = dataset.cameras[list(dataset.train)].to("cpu").resized(*map(torch.tensor, zip(*sizes, strict=True)))
    photographs = [view.photograph(*size) for view, size in zip(views, sizes, strict=True)]
    if not any(bool(counts.any()) for _, counts in photographs):
        raise BadInputError("Every pixel of the training photographs is masked or transparent: nothing is left.")
    rays = []
    for view, (width, height) in enumerate(sizes):
        in_camera = unproject(torch.ones(height, width), cameras.K[view])
        rays.append(in_camera @ cameras.world_from_cam[view, :3, :3].T)
    return PixelLattice(cameras, tuple(p for p, _ in photographs), tuple(c for _, c in photographs), tuple(rays))


@dataclass(frozen=True)
class Match:
    """Pixels of view i and where flow leads them in view j."""

    i: int
    j: int
    pixel: Tensor  # [M] int64, into view i's H * W
    landing: Tensor  # [M, 2] pixels of view j's lattice

    def to(self, device: torch.device | str) -> Match:
        return Match(self.i, self.j, self.pixel.to(device), self.landing.to(device))

    def distance(
        self,
        here: Tensor,  # [Hi, Wi, 3] world points of view i
        there: Tensor,  # [Hj, Wj, 3] of view j
    ) -> Tensor:
        """Mean over all pixels and coordinates of |m (X_j(p + F_ij(p)) - X_i(p))|, a scalar (section 3.2)."""
        apart = sampled(there, self.landing) - here.reshape(-1, 3)[self.pixel]
        return apart.abs().sum() / here.numel()


def matches(lattice: PixelLattice, flow: DenseFlow) -> list[Match]:
    """All matches of all ordered pairs of views.

    Raises BadInputError where flow is of other views, or agrees nowhere.
    """
    if flow.views != len(lattice):
        raise BadInputError(f"Flow between {flow.views} views was given for {len(lattice)} training photographs.")
    found = []
    for (i, j), field in flow.fields.items():
        (height, width), (rows, columns) = lattice.counts[i].shape, lattice.counts[j].shape
        full = pixel_centres(height, width) * torch.tensor([field.flow.shape[1] / width, field.flow.shape[0] / height])
        other = flow.fields[j, i].weight
        shrink = torch.tensor([columns / other.shape[1], rows / other.shape[0]])
        landing = (full + sampled(field.flow, full)) * shrink
        weight = sampled(field.weight[..., None], full)[..., 0]
        counted = sampled(lattice.counts[j].float()[..., None], landing)[..., 0]
        good = lattice.counts[i] & (weight > AGREES) & (counted > AGREES)
        found.append(Match(i, j, good.flatten().nonzero()[:, 0], landing[good]))
    if sum(len(m.pixel) for m in found) < LEAST_MATCHES:
        raise BadInputError(
            "The flow between the photographs fails its check everywhere, so nothing says what matches what: "
            "photographs that overlap, with cameras that fit them, are expected."
        )
    return found


@dataclass(frozen=True)
class MeasuredDepth:
    """Depth of some pixels of a view, by triangulation."""

    pixel: Tensor  # [M] int64
    depth: Tensor  # [M] > 0
    parallax: Tensor  # [M] sine of the angle between the rays; the error of 1 / depth goes with its inverse


def measured_depths(lattice: PixelLattice, found: list[Match]) -> list[MeasuredDepth]:
    """Depths of each view's matched pixels, where the two rays come nearest.

    Raises BadInputError where the cameras are all in one place.
    """
    measured = []
    for view in range(len(lattice)):
        parts = [_triangulated(lattice, m) for m in found if m.i == view]
        pixel, depth, parallax = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
        good = (parallax > LEAST_PARALLAX) & (depth > 0)
        measured.append(MeasuredDepth(pixel[good], depth[good], parallax[good]))
    if sum(len(m.pixel) for m in measured) < LEAST_MATCHES:
        raise BadInputError(
            "The photographs were taken from one place, so they say nothing of depth: cameras a step apart are "
            "expected."
        )
    return measured


def _triangulated(lattice: PixelLattice, match: Match) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels, depths along i's rays, and parallaxes [M]."""
    camera_j = lattice.cameras[match.j]
    here = lattice.rays[match.i].reshape(-1, 3)[match.pixel].double()
    K = camera_j.K.double()
    x = (match.landing.double() - K[:2, 2]) / K.diagonal()[:2]
    there = F.pad(x, (0, 1), value=1.0) @ camera_j.world_from_cam[:3, :3].double().T
    apart = (lattice.cameras.centers[match.j] - lattice.cameras.centers[match.i]).double()
    hh, ht, tt = (here * here).sum(-1), (here * there).sum(-1), (there * there).sum(-1)
    crossed = (hh * tt - ht * ht).clamp_min(0)
    depth = (tt * (here @ apart) - ht * (there @ apart)) / crossed.clamp_min(1e-12)
    return match.pixel, depth.float(), (crossed / (hh * tt)).sqrt().float()


def scene_unit(measured: list[MeasuredDepth]) -> float:
    """World units of one unit of the method: the nearest surface is 4/3 of it away."""
    return float(torch.cat([m.depth for m in measured]).quantile(NEAR_SHARE)) / NEAREST
