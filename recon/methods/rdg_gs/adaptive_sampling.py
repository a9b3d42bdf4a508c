"""Adaptive sampling: where Gaussians are sparse and the picture is slow to come right, more of them (RDG-GS, 3.4).

Gradients split what is there; a region that starts with few Gaussians converges late. New ones are set on the surface
that the refined prior believes in, at the pixels that are wrong.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ....scene.gaussians import SH_C0
from ...optimise.adaptive_density_control import AdaptiveDensityControl
from ...optimise.dataset import Dataset
from ...optimise.rounds import Rounds
from ...optimise.step import Render, Step
from ...optimise.table import Table
from ..gaussian_splatting.initial_points import neighbour_distances
from .prior_depth import PriorDepth
from .reprojection import depth_ratio, lifted
from .view_guide import resized

MOST_AT_ONCE = 20_000
SHOTS = 16  # random pixels of a footprint, the worst of which gets a Gaussian
WIDEST_PX = 32.0  # half the side of the largest footprint
SIZE_PX = 2.0  # scale of a new Gaussian
OPACITY = 0.1
BEFORE_SURFACE = 0.05  # relative depth by which a new point may lie before what another view sees there


class AdaptiveSampling(AdaptiveDensityControl):
    """Adaptive density control that also samples sparse regions with large errors."""

    def __init__(
        self,
        rounds: Rounds,
        *,
        sampling_rounds: Rounds,
        share: float,  # of the Gaussians that are sampled around at a time
        growth: float,  # times the Gaussians of the start, at most
        prior: PriorDepth,
        dataset: Dataset,
        count: int,  # Gaussians at the start
        scene_scale: float,
        device: torch.device,
        **others: Any,  # of AdaptiveDensityControl
    ) -> None:
        super().__init__(rounds, count=count, scene_scale=scene_scale, device=device, **others)
        self.sampling_rounds, self.share, self.prior = sampling_rounds, share, prior.to(device)
        self.scene_scale, self.most = scene_scale, min(self.budget, int(growth * count))
        self._number = {index: number for number, index in enumerate(dataset.train)}
        self.error_sum = torch.zeros(count, device=device)  # [N] of the pictures' errors at the Gaussians
        self.error_seen = torch.zeros(count, device=device)  # [N] in how many steps

    @torch.no_grad()
    def after_step(self, step: Step, table: Table, means_lr: float) -> None:
        watched = step.renders if step.index < self.sampling_rounds.last else {}
        errors = {view: picture_error(step, view) for view in watched}
        for view, error in errors.items():
            render = step.renders[view]
            self.error_sum += error_at(error, render)
            self.error_seen += render.visible()
        new = None
        if self.sampling_rounds.at(step.index):
            new = [self._sampled(step, view, table, error) for view, error in errors.items()]
        before = table.rows
        super().after_step(step, table, means_lr)
        if new is not None:
            self._append(table, NewPoints.cat(new))
        if new is not None or table.rows != before or self.rounds.at(step.index):
            self.error_sum = self.error_sum.new_zeros(table.rows)
            self.error_seen = self.error_seen.new_zeros(table.rows)

    def state(self) -> dict[str, Tensor]:
        return super().state() | {"error_sum": self.error_sum, "error_seen": self.error_seen}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        super().load_state(state)
        device = self.error_sum.device
        self.error_sum, self.error_seen = state["error_sum"].to(device), state["error_seen"].to(device)

    def _sampled(self, step: Step, view: int, table: Table, error: Tensor) -> NewPoints:
        """New points around the chosen Gaussians that the view sees."""
        render, means = step.renders[view], table["means"].detach()
        rows = chosen_rows(self.scores(means), render.visible(), self.share)
        place, radius = render.info["means2d"].detach()[0, rows], render.info["radii"][0, rows].float()
        half = (0.5 * radius).clamp(1, WIDEST_PX)  # radii reach three standard deviations; half of that is seen
        shots = torch.rand(len(rows), SHOTS, 2, generator=step.generator, device=means.device) * 2 - 1
        height, width = error.shape
        pixel = (place[:, None] + shots * half[:, None]).floor().long()
        pixel = torch.stack([pixel[..., 0].clamp(0, width - 1), pixel[..., 1].clamp(0, height - 1)], -1)
        worst = error[pixel[..., 1], pixel[..., 0]].argmax(1)
        both = torch.cat([pixel[torch.arange(len(rows)), worst], pixel[:, 0]])
        return self._on_surface(step, view, both)

    def scores(self, means: Tensor) -> Tensor:
        """Product [N] of the ranks of sparsity and of error, each in [0, 1]."""
        sparse = neighbour_distances(means, self.scene_scale).to(means.device)
        slow = self.error_sum / self.error_seen.clamp_min(1)
        return _ranks(sparse) * _ranks(slow)

    def _on_surface(self, step: Step, view: int, pixel: Tensor) -> NewPoints:
        """Points behind pixels [M, 2] where the prior has its surface, without those that another view refutes."""
        camera, number = step.camera(view), self._number[view]
        (target, _), counts = step.target(view), step.dataset.view(view, step.level).counts()
        if counts is not None:
            pixel = pixel[counts.to(pixel.device)[pixel[:, 1], pixel[:, 0]]]
        column, row = pixel.unbind(-1)
        depth = 1 / resized(self.prior.inverse[number], (*target.shape[:2],))[row, column]
        xyz = lifted(pixel + 0.5, depth, camera)
        keep = ~self._refuted(xyz, number)
        scale = SIZE_PX * depth / camera.K[0, 0]
        return NewPoints(xyz[keep], target[row, column][keep], scale[keep])

    def _refuted(self, xyz: Tensor, own: int) -> Tensor:
        """bool [M]: before the surface that another view sees there. Behind it a point is hidden, and may be."""
        refuted = torch.zeros(len(xyz), dtype=torch.bool, device=xyz.device)
        for number in range(len(self.prior)):
            if number != own:
                ratio, inside = depth_ratio(xyz, self.prior.inverse[number], self.prior.cameras[number])
                refuted |= inside & (ratio < 1 - BEFORE_SURFACE)
        return refuted

    def _append(self, table: Table, points: NewPoints) -> None:
        room = max(0, self.most - table.rows)
        xyz, rgb, scale = points.xyz[:room], points.rgb[:room], points.scale[:room]
        count, sh = len(xyz), table["sh"]
        if count == 0:
            return
        coefficients = sh.new_zeros(count, *sh.shape[1:])
        coefficients[:, 0] = (rgb - 0.5) / SH_C0
        new = {
            "means": xyz,
            "quats": xyz.new_tensor([1.0, 0, 0, 0]).expand(count, 4),
            "log_scales": scale.log()[:, None].expand(count, 3),
            "opacity_logits": xyz.new_full((count,), math.log(OPACITY / (1 - OPACITY))),
            "sh": coefficients,
        }
        everything = torch.arange(table.rows, device=xyz.device)
        table.edit_rows(everything, new, torch.zeros(count, dtype=torch.int64, device=xyz.device))
        factors = table.columns["means"].row_scale
        if factors is not None:
            factors[-count:] = 1  # they lie where the prior says
        self.gradient_sum = torch.cat([self.gradient_sum, self.gradient_sum.new_zeros(count)])
        self.seen = torch.cat([self.seen, self.seen.new_zeros(count)])


@dataclass(frozen=True)
class NewPoints:
    """Points that Gaussians are made of."""

    xyz: Tensor  # [M, 3] world
    rgb: Tensor  # [M, 3] in [0, 1]
    scale: Tensor  # [M] world units

    @classmethod
    def cat(cls, parts: Sequence[NewPoints]) -> NewPoints:
        """All of several, in their order."""
        return cls(*(torch.cat([getattr(p, name) for p in parts]) for name in ("xyz", "rgb", "scale")))


def picture_error(step: Step, view: int) -> Tensor:
    """Mean absolute difference [H, W] of a drawn view from its photograph, 0 where pixels do not count."""
    target, counts = step.target(view)
    error = (step.as_photographed(view, step.renders[view]).detach() - target).abs().mean(-1)
    return error if counts is None else error * counts


def error_at(error: Tensor, render: Render) -> Tensor:
    """Mean error [N] of the pixels in a square about each Gaussian as large as its footprint; 0 out of view."""
    height, width = error.shape
    middle, half = render.info["means2d"].detach()[0], render.info["radii"][0].clamp(max=int(WIDEST_PX))
    low, high = (middle - half).floor().long(), (middle + half).floor().long() + 1
    (left, top), (right, bottom) = (
        (corner[:, 0].clamp(0, width), corner[:, 1].clamp(0, height)) for corner in (low, high)
    )
    # Sums over all pixels above and to the left, in double precision, because they are subtracted from each other.
    sums = F.pad(error.double().cumsum(0).cumsum(1), (1, 0, 1, 0))
    total = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
    count = (right - left) * (bottom - top)
    return torch.where(render.visible() & (count > 0), total / count.clamp_min(1), 0).to(error.dtype)


def chosen_rows(scores: Tensor, visible: Tensor, share: float) -> Tensor:
    """The rows [K] of the highest scores among all of which `visible` [N] are, a share of all N at most."""
    count = min(math.ceil(share * len(scores)), MOST_AT_ONCE, int(visible.sum()))
    return torch.where(visible, scores, -1).topk(count).indices


def _ranks(values: Tensor) -> Tensor:
    """Place [N] in ascending order, from 0 to 1."""
    return values.argsort(stable=True).argsort(stable=True) / max(1, len(values) - 1)
