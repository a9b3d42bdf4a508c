"""Depth priors of the training views: relative depth in the scene's unit, then refined (RDG-GS, section 3.2).

The paper has no released code; this is our reading of its "refined depth priors". Coarse depth is smooth where the
photograph has edges, and views disagree. Each map gets the scale and offset of what is known, and known depth pulls it
where the two differ; the photograph's edges are given to it; and what two other views agree on replaces a third one's
guess.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ....scene.cameras import Cameras
from ...evidence import Stereo
from ...evidence.affine_fit import fit_inverse_depth
from ...evidence.filled_disparity import known_inverse_depth, points_of_view
from ...evidence.monocular_depth import MonocularDepth
from ...evidence.stereo.fill import EdgeAwareFill
from ...evidence.stereo.stereo_depth import observed_points
from ...optimise.dataset import Dataset
from .detail_transfer import DetailTransfer
from .reprojection import warped_inverse_depth

FEWEST_KNOWN = 30  # pixels of known depth that scale and offset are read from; with fewer, from all of stereo's guesses
KNOWN_TRUST = 10.0  # in known depth, against 1 of a pixel on a smooth part of the coarse map
OUT_OF_RANGE = 1.5  # times beyond the known depths may a map go, either way
FILL_ITERATIONS = 150
AGREE, DIFFER = 0.01, 0.05  # relative differences of depth: of views that agree, and of a map that both contradict


@dataclass(frozen=True)
class PriorDepth:
    """Depth of the training views as it is believed to be before training."""

    cameras: Cameras  # [V] at the sizes of the maps
    inverse: tuple[Tensor, ...]  # V of [H, W] float32 > 0: inverse depth, one over world units
    known: tuple[Tensor, ...]  # V of bool [H, W], where it rests on matches and not on a guess

    def __len__(self) -> int:
        return len(self.inverse)

    def to(self, device: torch.device | str) -> PriorDepth:
        inverse, known = (tuple(t.to(device) for t in tensors) for tensors in (self.inverse, self.known))
        return PriorDepth(self.cameras.to(device), inverse, known)


def coarse_prior(dataset: Dataset, monocular: MonocularDepth, stereo: Stereo) -> PriorDepth:
    """Relative depth in the unit of the cameras: one scale and one offset for each view."""
    cameras = dataset.cameras[list(dataset.train)].to("cpu")
    inverse, known = [], []
    for number, disparity in enumerate(_sized(monocular.disparity, cameras)):
        value, weight = known_depth(dataset, stereo, number)
        inverse.append(_in_scene_units(disparity, value, weight, stereo, number))
        known.append(weight > 0)
    return PriorDepth(cameras, tuple(inverse), tuple(known))


def refined_prior(dataset: Dataset, monocular: MonocularDepth, stereo: Stereo) -> PriorDepth:
    """The coarse prior with known depth, the photographs' edges, and repairs where two other views agree."""
    coarse = coarse_prior(dataset, monocular, stereo)
    transfers, values, trusts, refined = [], [], [], []
    for number, index in enumerate(dataset.train):
        view, (known, weight) = dataset.view(index), known_depth(dataset, stereo, number)
        laid_out = _pulled(coarse.inverse[number], known, weight, view.pixels[..., :3].cpu().numpy())
        trust = torch.where(weight > 0, KNOWN_TRUST, _smoothness(laid_out))
        values.append(torch.where(weight > 0, known, laid_out))
        trusts.append(trust)
        transfers.append(DetailTransfer(view.pixels[..., :3].cpu().float() / 255))
        refined.append(_like(transfers[number].solve(values[number], trust), coarse.inverse[number]))
    before = PriorDepth(coarse.cameras, tuple(refined), coarse.known)
    for number in range(len(before)):
        seen = agreed_by_others(before, number)
        wrong = (seen > 0) & ((seen / before.inverse[number] - 1).abs() > DIFFER) & ~before.known[number]
        if bool(wrong.any()):
            value = torch.where(wrong, seen, values[number])
            trust = torch.where(wrong, 1.0, trusts[number])
            refined[number] = _like(transfers[number].solve(value, trust), coarse.inverse[number])
    return PriorDepth(coarse.cameras, tuple(refined), coarse.known)


def agreed_by_others(prior: PriorDepth, view: int) -> Tensor:
    """Inverse depth [H, W] that at least two other views give a view's pixels within 1 %, their median; else 0."""
    others = [
        warped_inverse_depth(prior.inverse[other], prior.cameras[other], prior.cameras[view])
        for other in range(len(prior))
        if other != view
    ]
    if len(others) < 2:
        return torch.zeros_like(prior.inverse[view])
    seen = torch.stack(others)
    there = seen > 0
    median = torch.where(there, seen, torch.nan).nanmedian(0).values
    agreeing = (there & ((seen / median - 1).abs() < AGREE)).sum(0)
    return torch.where(agreeing >= 2, median, 0)


def known_depth(dataset: Dataset, stereo: Stereo, number: int) -> tuple[Tensor, Tensor]:
    """(inverse depth, weight) [H, W] of a training view at its size, from stereo and the sparse points; weight 0: not.

    Pixels that do not count, masked or transparent, are not known.
    """
    points = points_of_view(observed_points(dataset, list(dataset.train)), number)
    maps = known_inverse_depth(stereo.maps[number], stereo.cameras[number], points)
    view = dataset.view(dataset.train[number])
    size, counts = (view.height, view.width), view.counts()
    value, weight = (F.interpolate(torch.from_numpy(m)[None, None], size, mode="nearest-exact")[0, 0] for m in maps)
    return value, weight if counts is None else torch.where(counts, weight, 0)


def _in_scene_units(disparity: Tensor, value: Tensor, weight: Tensor, stereo: Stereo, number: int) -> Tensor:
    """s * disparity + t [H, W], kept near the range of the depths that it was fitted to."""
    where = weight > 0
    if int(where.sum()) >= FEWEST_KNOWN:
        known, trust = value[where], weight[where]
    else:
        guess = 1 / stereo.maps[number].depth[None, None]
        known = F.interpolate(guess, disparity.shape, mode="bilinear", align_corners=False).flatten()
        where, trust = torch.ones_like(where), torch.ones_like(known)
    s, t = fit_inverse_depth(disparity[where], known, trust)
    return (s * disparity + t).clamp(float(known.min()) / OUT_OF_RANGE, float(known.max()) * OUT_OF_RANGE)


def _pulled(inverse: Tensor, known: Tensor, weight: Tensor, pixels: np.ndarray) -> Tensor:
    """The map through the known depths: what it is off there spreads along the photograph's surfaces."""
    pull = KNOWN_TRUST * (weight > 0).float()
    off = torch.where(weight > 0, known - inverse, 0)
    spread = EdgeAwareFill(pixels).solve(off.numpy(), pull.numpy(), np.zeros_like(off.numpy()), FILL_ITERATIONS)
    return _like(inverse + torch.from_numpy(spread), inverse)


def _like(values: Tensor, coarse: Tensor) -> Tensor:
    """Values [H, W] kept near the range of a map, so that inverse depth stays above zero."""
    return values.clamp(float(coarse.min()) / OUT_OF_RANGE, float(coarse.max()) * OUT_OF_RANGE)


def _smoothness(inverse: Tensor) -> Tensor:
    """exp(-|gradient| / its mean) [H, W]: little at the blurred edges of a coarse map."""
    padded = F.pad(inverse[None, None], (0, 1, 0, 1), mode="replicate")[0, 0]
    slope = ((padded[:-1, 1:] - inverse).square() + (padded[1:, :-1] - inverse).square()).sqrt()
    return (-slope / slope.mean().clamp_min(1e-20)).exp()


def _sized(maps: tuple[Tensor, ...], cameras: Cameras) -> list[Tensor]:
    sizes = zip(cameras.height.tolist(), cameras.width.tolist(), strict=True)
    return [
        m if (*m.shape,) == size else F.interpolate(m[None, None], size, mode="bilinear", align_corners=False)[0, 0]
        for m, size in zip(maps, sizes, strict=True)
    ]
