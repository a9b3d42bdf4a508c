"""The depth losses of a step, by name: prior, relative guidance, the view beside it, and views between photographs."""

from __future__ import annotations

import torch
from torch import Tensor

from ....scene.cameras import Cameras
from ...evidence.depth_maps import unproject
from ...evidence.monocular_depth import MonocularDepth
from ...evidence.patch_features import PatchFeatures
from ...optimise.dataset import Dataset
from ...optimise.step import Render, Step
from .config import RdgGsConfig
from .depth_losses import (
    absolute_loss,
    correlation_loss,
    edge_loss,
    local_correlation_loss,
    released_correlation_loss,
)
from .prior_depth import PriorDepth
from .pseudo_views import pseudo_camera, pseudo_depth
from .relative_depth import (
    CellDepth,
    Scale,
    cell_depth,
    depth_correlation,
    feature_correlation,
    order_loss,
    relative_loss,
    scale_of,
    take,
    told_apart,
)
from .reprojection import depth_ratio, lifted, projected
from .view_guide import ViewGuide, cell_centres, grid_features, nearby, view_guide, whole_cells

SEEN = 0.5  # alpha from which a rendered depth is one
FEWEST_PIXELS = 64  # that a loss is made of
TILE = 1 / 8  # of the shorter side: tiles of the local correlation
AROUND_PX = 12.0  # of where the prior has a cell in another view: cells there show the same, if the prior is right
SAME_SURFACE = 0.1  # relative difference of depth: a cell of one view lies on what another view shows


class DepthTerms:
    """Losses on rendered depth, from all that is believed about depth. Nothing in them learns."""

    def __init__(
        self,
        dataset: Dataset,
        prior: PriorDepth,
        monocular: MonocularDepth,
        features: PatchFeatures,
        config: RdgGsConfig,
    ) -> None:
        device = dataset.cameras.K.device
        self.prior, self.features, self.config = prior.to(device), features.to(device), config
        self._disparity = [d.to(device) for d in monocular.disparity]
        self._number = {index: number for number, index in enumerate(dataset.train)}
        self._guides: dict[tuple[int, int], ViewGuide] = {}

    def losses(self, step: Step) -> dict[str, Tensor]:
        """Weighted losses of this step's view, drawn with its depth, and of those around it."""
        c, (view,) = self.config, step.views
        out = self._of_view(step, view) if c.depth_at(step.index) else {}
        out = {name: c.depth_factor(step.index) * loss for name, loss in out.items()}
        if c.pseudo_at(step.index):
            out |= self._pseudo(step)
        return out

    def _of_view(self, step: Step, view: int) -> dict[str, Tensor]:
        c, render, guide = self.config, step.renders[view], self._guide(step, view)
        assert render.depth is not None
        inverse, mask = _inverse(render, guide.nearest), guide.counts & (render.alpha.detach() > SEEN)
        if int(mask.sum()) < FEWEST_PIXELS:
            return {}
        out: dict[str, Tensor] = {}
        if c.prior == "coarse" and c.pearson_weight > 0:
            loss = released_correlation_loss(render.depth[mask], guide.disparity[mask])
            out["pearson"] = c.pearson_weight * loss
        elif c.prior == "refined":
            out |= self._refined(inverse, mask, guide, step.generator)
        if c.guidance == "absolute":
            out["absolute"] = c.relative_weight * absolute_loss(inverse[mask], guide.inverse[mask])
        elif c.guidance == "relative" and step.index % c.relative_every == 0:
            out |= self._relative(step, view, inverse, mask, guide)
        return out

    def _refined(
        self, inverse: Tensor, mask: Tensor, guide: ViewGuide, generator: torch.Generator
    ) -> dict[str, Tensor]:
        c, out = self.config, {}
        if c.pearson_weight > 0:
            out["pearson"] = c.pearson_weight * correlation_loss(inverse[mask], guide.inverse[mask])
        if c.local_weight > 0:
            side = max(4, round(TILE * min(inverse.shape)))
            down, right = torch.randint(side, (2,), generator=generator, device=inverse.device).tolist()
            local = local_correlation_loss(inverse, guide.inverse, mask, side, (down, right))
            out["local_pearson"] = c.local_weight * local
        if c.edge_weight > 0:
            out["edges"] = c.edge_weight * edge_loss(inverse, guide.inverse, guide.edges & mask)
        return out

    # -- relative guidance -------------------------------------------------------------------------------------------

    def _relative(self, step: Step, view: int, inverse: Tensor, mask: Tensor, guide: ViewGuide) -> dict[str, Tensor]:
        c, often = self.config, self.config.relative_every
        scale, usable = scale_of(inverse, mask), whole_cells(mask)
        cells = cell_depth(inverse, scale)
        anchors = guide.anchors[torch.randperm(len(guide.anchors), generator=step.generator, device=inverse.device)]
        anchors = anchors[: c.anchors][usable[anchors[: c.anchors]]]
        out = {}
        if c.relative_weight > 0:
            loss = _guidance(cells, anchors, usable, guide.cell_features, guide.cell_prior, (*inverse.shape,))
            out["relative"] = often * c.relative_weight * loss
        if c.cross_weight > 0:
            cross = self._cross(step, view, take(cells, anchors), anchors, scale, guide)
            if cross is not None:
                out["relative_cross"] = often * c.cross_weight * cross
        return out

    def _cross(
        self, step: Step, view: int, cells: CellDepth, anchors: Tensor, scale: Scale, guide: ViewGuide
    ) -> Tensor | None:
        """Anchors of this view against the cells of another, around where the prior has them; depth in this frame."""
        others = [index for index in self._number if index != view]
        pick = torch.randint(len(others), (1,), generator=step.generator, device=anchors.device)
        other = others[int(pick)]
        there, camera, seen_from = self._guide(step, other), step.camera(view), step.camera(other)
        size = (int(seen_from.height), int(seen_from.width))
        centres = cell_centres((*guide.inverse.shape,), anchors.device)[anchors]
        column, row = centres.long().unbind(-1)
        depth = 1 / guide.inverse[row, column]
        world = lifted(centres, depth, camera)
        places, _ = projected(world, seen_from)
        ratio, inside = depth_ratio(world, there.inverse, seen_from)
        inside &= (ratio - 1).abs() < SAME_SURFACE
        if int(inside.sum()) == 0:
            return None
        render = step.draw_from(seen_from, time_s=step.time_s(other), depth=True)
        inverse = 1 / _depth_in(camera, seen_from, _depth(render, there.nearest)).clamp_min(guide.nearest)
        usable = whole_cells(there.counts & (render.alpha.detach() > SEEN))
        pairs = (torch.cdist(places[inside], cell_centres(size, places.device)) < AROUND_PX) & usable
        matched = feature_correlation(guide.cell_features[anchors[inside]], there.cell_features, pairs)
        similar = depth_correlation(take(cells, inside.nonzero()[:, 0]), cell_depth(inverse, scale))
        return relative_loss(similar, matched, pairs, torch.zeros_like(pairs))

    # -- views between photographs -----------------------------------------------------------------------------------

    def _pseudo(self, step: Step) -> dict[str, Tensor]:
        c, factor = self.config, self.config.pseudo_factor(step.index)
        camera, pair = pseudo_camera(self.prior.cameras, step.generator)
        believed = pseudo_depth(self.prior, camera, pair)
        render = step.draw_from(camera, depth=True)
        known = (believed > 0) & (render.alpha.detach() > SEEN)
        if int(known.sum()) < FEWEST_PIXELS:
            return {}
        inverse = _inverse(render, 0.25 / float(believed.max()))
        out = {}
        if c.pseudo_weight > 0:
            out["pseudo"] = factor * c.pseudo_weight * correlation_loss(inverse[known], believed[known])
        if c.guidance == "relative" and c.relative_pseudo_weight > 0:
            cells, usable = cell_depth(inverse, scale_of(inverse, known)), whole_cells(known)
            candidates = usable.nonzero()[:, 0]
            order = torch.randperm(len(candidates), generator=step.generator, device=candidates.device)
            anchors = candidates[order[: c.anchors]]
            features = grid_features(self.features.describe(render.rgb.detach()), (*inverse.shape,))
            normal = cell_depth(believed, scale_of(believed, known)).mean
            loss = _guidance(cells, anchors, usable, features, normal, (*inverse.shape,))
            out["relative_pseudo"] = factor * c.relative_pseudo_weight * loss
        return out

    def _guide(self, step: Step, view: int) -> ViewGuide:
        if (view, step.level) not in self._guides:
            number, photograph = self._number[view], step.dataset.view(view, step.level)
            counts, device = photograph.counts(), photograph.K.device
            self._guides[view, step.level] = view_guide(
                self.prior.inverse[number],
                self._disparity[number],
                self.features.grids[number],
                photograph.pixels[..., :3].float() / 255,
                None if counts is None else counts.to(device),
                self.config.anchors,
            )
        return self._guides[view, step.level]


def _guidance(
    cells: CellDepth, anchors: Tensor, usable: Tensor, features: Tensor, prior: Tensor, size: tuple[int, ...]
) -> Tensor:
    """Relative loss and order loss of anchors [K] and the cells near them, a scalar."""
    centres = cell_centres((size[0], size[1]), anchors.device)
    pairs = nearby(centres[anchors], centres, (size[0], size[1])) & usable
    pairs[torch.arange(len(anchors)), anchors] = False
    matched = feature_correlation(features[anchors], features, pairs)
    mine = take(cells, anchors)
    loss = relative_loss(depth_correlation(mine, cells), matched, pairs, told_apart(prior[anchors], prior))
    return loss + order_loss(mine.mean, cells.mean, prior[anchors], prior, pairs)


def _depth(render: Render, nearest: float) -> Tensor:
    assert render.depth is not None
    return render.depth.clamp_min(nearest)


def _inverse(render: Render, nearest: float) -> Tensor:
    """Inverse of the expected depth [H, W]."""
    return 1 / _depth(render, nearest)


def _depth_in(camera: Cameras, other: Cameras, depth: Tensor) -> Tensor:
    """Depths [H, W] in one camera's frame of the points that another sees at `depth` [H, W]; no gradient to poses."""
    camera_from_other = (camera.cam_from_world @ other.world_from_cam).detach()
    ray = unproject(torch.ones_like(depth), other.K) @ camera_from_other[2, :3]
    return ray.detach() * depth + camera_from_other[2, 3]
