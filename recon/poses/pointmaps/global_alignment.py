"""Pairwise pointmaps to one scene: the global alignment of DUSt3R as InstantSplat uses it (arXiv 2403.20309)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ....scene.cameras import Cameras
from ....scene.errors import BadInputError, FewviewError
from ....scene.geometry import Similarity, se3_from, se3_inverse
from ....scene.progress import Progress, silent
from ...evidence.depth_maps import MAX_CONFIDENCE, DepthMap, Stereo
from ..pose_errors import align_cameras
from .alignment_loss import alignment_loss
from .alignment_variables import MEAN_EDGE_SCALE, Observations, Variables
from .pair_prediction import Edge, PairPrediction
from .stitching import Stitched, components, stitch

BETAS = (0.9, 0.9)  # of Adam: the released code forgets squared gradients fast


@dataclass(frozen=True)
class AlignmentConfig:
    """Settings of global alignment."""

    focal_averaging: bool = True  # all views get the mean of their focal lengths, which is then held
    iterations: int = 300  # gradient steps; 0 gives the pointmaps as stitched along the spanning tree
    lr: float = 0.01  # of all parameters at the start
    min_lr: float = 1e-6  # at the end of its cosine
    focal_px: float | None = None  # known focal length of all views at the sizes of the pointmaps, which is then held

    def __post_init__(self) -> None:
        if self.iterations < 0 or not 0 < self.min_lr <= self.lr:
            raise BadInputError(
                "The alignment needs iterations >= 0 and 0 < min_lr <= lr, found "
                f"{self.iterations}, {self.min_lr:g} and {self.lr:g}."
            )
        if self.focal_px is not None and not self.focal_px > 0:
            raise BadInputError(f"focal_px should be positive, found {self.focal_px:g}.")

    def lr_at(self, step: int) -> float:
        return self.min_lr + (self.lr - self.min_lr) * (1 + math.cos(math.pi * step / self.iterations)) / 2


@dataclass(frozen=True)
class Aligned:
    """One scene out of pairs."""

    stereo: Stereo  # of the views in `views`
    views: list[int]  # ascending, those that pairs join
    unaligned: list[int]  # the others, which share nothing with them
    world_from_edge: dict[Edge, Similarity]  # of the pairs that count; their scales' geometric mean is 0.5
    loss: Tensor  # [iterations] float32, before each step

    def note(self, names: Mapping[int, str] | Sequence[str] | None = None) -> str | None:
        """A sentence that names the views left out, by `names` where given; None where all are aligned."""
        if not self.unaligned:
            return None
        named = ", ".join(str(v) if names is None else names[v] for v in self.unaligned)
        which = f"View {named} shares" if len(self.unaligned) == 1 else f"Views {named} share"
        return f"{which} nothing with the aligned views (no pair that joins them has a confidence above 1): left out."


def align_pairs(
    predictions: Mapping[Edge, PairPrediction],
    config: AlignmentConfig = AlignmentConfig(),
    progress: Progress = silent,
    cameras: Cameras | None = None,  # known ones, indexed by the pairs' indices, at the sizes of the pointmaps
) -> Aligned:
    """Cameras, depth maps and confidences that explain the pointmaps of all ordered pairs best.

    The world is the frame of the first view of the strongest pair, or that of `cameras`, which then are held; its unit
    is set by the edges' mean scale or by the cameras. Views of different sizes are welcome. Pairs whose confidence is 1
    everywhere do not count; of views that no pair joins, the largest group is aligned.
    Raises FewviewError when no pair counts, ValueError when a view's pointmaps differ in size.
    """
    scores = {edge: pair.score for edge, pair in sorted(predictions.items()) if not pair.is_empty}
    everyone = sorted({view for edge in predictions for view in edge})
    views = _largest_group(everyone, scores, len(predictions))
    place = {view: k for k, view in enumerate(views)}
    local_scores = {(place[i], place[j]): score for (i, j), score in scores.items() if i in place}
    pairs = {(i, j): predictions[views[i], views[j]] for i, j in local_scores}
    known = None if cameras is None else cameras[torch.tensor(views)]
    confidences = _largest_confidences(pairs, len(views))
    stitched = stitch(pairs, local_scores, confidences, config.focal_px)
    observations = _observations(pairs, confidences)
    variables = _start(stitched, observations, config, known)
    variables, losses = _optimised(variables, observations, config, known is not None, progress)
    factor = _world_unit(variables)
    edges = {(views[i], views[j]): s for (i, j), s in zip(pairs, _similarities(variables, factor), strict=True)}
    unaligned = [view for view in everyone if view not in place]
    return Aligned(_stereo(variables, confidences, factor), views, unaligned, edges, losses)


def _largest_group(everyone: list[int], scores: Mapping[Edge, float], n_pairs: int) -> list[int]:
    """The largest set of views that the scored edges join; FewviewError where they join none."""
    position = {view: k for k, view in enumerate(everyone)}
    groups = components({(position[i], position[j]): score for (i, j), score in scores.items()}, len(everyone))
    if not groups or len(groups[0]) < 2:
        raise FewviewError(
            f"None of the {n_pairs} pairs shows the same thing in both photographs: confidence is 1 everywhere. "
            "Take photographs that overlap by half or more."
        )
    return [everyone[k] for k in groups[0]]


def _largest_confidences(pairs: Mapping[Edge, PairPrediction], n: int) -> list[Tensor]:
    """For each view the pixelwise maximum [H, W] over all edges that it is in."""
    found: dict[int, Tensor] = {}
    for edge, pair in pairs.items():
        for view, confidence in zip(edge, (pair.confidence_i, pair.confidence_j), strict=True):
            if view in found and found[view].shape != confidence.shape:
                raise ValueError(
                    f"expected pointmaps of one size for a view, found {tuple(found[view].shape)} and "
                    f"{tuple(confidence.shape)}"
                )
            found[view] = torch.maximum(found[view], confidence) if view in found else confidence
    return [found[view] for view in range(n)]


def _observations(pairs: Mapping[Edge, PairPrediction], confidences: list[Tensor]) -> Observations:
    """The pairs as the objective reads them; points are not copied where they are dense float32 already."""
    points = [p.float().contiguous() for pair in pairs.values() for p in (pair.points_i, pair.points_j)]
    weights = [
        c.float().clamp_min(1).log().contiguous()
        for pair in pairs.values()
        for c in (pair.confidence_i, pair.confidence_j)
    ]
    sizes = tuple((c.shape[0], c.shape[1]) for c in confidences)
    return Observations(tuple(pairs), tuple(points), tuple(weights), sizes)


def _start(stitched: Stitched, observations: Observations, config: AlignmentConfig, known: Cameras | None) -> Variables:
    """The variables of the stitched scene: in the frame of known cameras, else at the edges' mean scale."""
    units = observations.units
    sizes = torch.tensor([p.shape[:2] for p in stitched.points], dtype=torch.float64)
    focal_px = torch.tensor(stitched.focal_px, dtype=torch.float64)[:, None].expand(-1, 2)
    centers_px = sizes.flip(1) / 2
    world_from_cam = stitched.world_from_cam
    if known is not None:
        stitched = stitched.moved(align_cameras(se3_inverse(world_from_cam), known.cam_from_world))
        world_from_cam = known.world_from_cam.double()
        focal_px = known.K.double().diagonal(dim1=-2, dim2=-1)[:, :2]
        centers_px = known.K[:, :2, 2].double()
        stitched = replace(stitched, world_from_cam=world_from_cam)
    else:
        scales = torch.stack([stitched.world_from_edge[edge].scale for edge in observations.edges]) * units
        factor = MEAN_EDGE_SCALE / scales.log().mean().exp()
        eye = torch.eye(3, dtype=torch.float64)
        stitched = stitched.moved(Similarity(factor, eye, torch.zeros(3, dtype=torch.float64)))
        world_from_cam = stitched.world_from_cam
        if config.focal_averaging:
            focal_px = focal_px.mean().expand_as(focal_px)
    edges = [stitched.world_from_edge[edge] for edge in observations.edges]
    return Variables.of(world_from_cam, focal_px, centers_px, stitched.depths(), edges, units, known is None)


def _optimised(
    variables: Variables,
    observations: Observations,
    config: AlignmentConfig,
    known_cameras: bool,
    progress: Progress,
) -> tuple[Variables, Tensor]:
    """Better variables, and the loss [iterations] before each step.

    Adam's first steps are of full length even from the very optimum, and 300 may not suffice to come back to it:
    where they do not, which is where the pairs agree perfectly, the start is returned.
    """
    start = variables.at_rest()
    free = [variables.log_depth, variables.edge_quats, variables.edge_logs, variables.edge_log_scales]
    if not known_cameras:
        free += [variables.pose_quats, variables.pose_logs]
        if not config.focal_averaging and config.focal_px is None:
            free.append(variables.phi)
    for parameter in free:
        parameter.requires_grad_()
    optimizer = torch.optim.Adam(free, betas=BETAS, fused=True)
    losses = torch.zeros(config.iterations)
    for step in range(config.iterations):
        optimizer.param_groups[0]["lr"] = config.lr_at(step)
        optimizer.zero_grad()
        loss = alignment_loss(variables, observations)
        loss.backward()
        optimizer.step()
        losses[step] = loss.detach()
        progress("Aligning pairs", step + 1, config.iterations, {"loss": float(losses[step])})
    end = variables.at_rest()
    is_better = config.iterations > 0 and float(alignment_loss(end, observations)) < float(losses[0])
    return (end if is_better else start), losses


def _world_unit(variables: Variables) -> Tensor:
    """[] what lengths are multiplied with in the end: the edges' mean scale from their own units to the pointmaps'.

    1 where known cameras set the size of the world.
    """
    return variables.edge_units.log().mean().exp() if variables.normalise_scales else torch.tensor(1.0)


def _similarities(variables: Variables, factor: Tensor) -> list[Similarity]:
    """world_from_edge of every edge."""
    scales, rotations, translations = variables.edge()
    scales = factor * scales
    return [Similarity(s, r, s * t) for s, r, t in zip(scales, rotations, translations, strict=True)]


def _stereo(variables: Variables, confidences: list[Tensor], factor: Tensor) -> Stereo:
    sizes = [tuple(c.shape) for c in confidences]
    focal_px, centers_px = variables.focal_px(), variables.centers_px
    K = torch.eye(3).repeat(len(sizes), 1, 1)
    K[:, 0, 0], K[:, 1, 1] = focal_px.unbind(1)
    K[:, :2, 2] = centers_px
    rotations, translations = variables.pose()
    cam_from_world = se3_inverse(se3_from(rotations, factor * translations))
    height, width = torch.tensor(sizes).unbind(1)
    depths = (factor * variables.log_depth.exp()).split([h * w for h, w in sizes])
    maps = tuple(
        DepthMap(d.reshape(c.shape), c.float().clamp(1, MAX_CONFIDENCE))
        for d, c in zip(depths, confidences, strict=True)
    )
    return Stereo(Cameras(cam_from_world, K, width, height), maps)
