"""DreamMesh4D (Li et al. 2024, arXiv 2410.06756): a mesh with Gaussians on its faces, moved by a deformation graph.

First the mesh and its Gaussians are refined at one moment (`static mesh`); then all of that stands, and a network
learns how the nodes of a deformation graph move, which carry the vertices by hybrid skinning (`motion`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ....learn.schedules import log_linear
from ....scene.cameras import Cameras
from ....scene.cotangent_weights import WeightedEdges, cotangent_weights
from ....scene.filled import filled
from ....scene.gaussians import Gaussians
from ....scene.geometry import quat_exp, quat_log, quat_multiply
from ....scene.mesh_bound import MeshBoundMotion
from ....scene.mesh_topology import edges, face_normals
from ....scene.skinning import node_transforms, skin
from ....scene.splat import MovingSplat
from ....scene.triangle_mesh import Mesh
from ...evidence.view_prior import ViewPrior, distillation_loss
from ...optimise.adam import Optimiser, Rate
from ...optimise.contract import Model, Stage
from ...optimise.step import Render, Step
from ...optimise.table import Table
from ..moving_capture import MovingFrame
from .config import DreamMesh4dConfig
from .deformation_graph import DeformationGraph, deformation_graph
from .face_gaussians import THICKNESS, bound_gaussians, face_places
from .hexplane import NodeNetwork
from .joining_moments import JoiningMoments
from .mattes import matte
from .surface_losses import arap_energy, face_pairs, laplacian_loss, normal_consistency, total_variation
from .turned_views import novel_view

STATIC, MOVING = "static mesh", "motion"  # the stages
GAUSSIANS, MESH, NETWORK = "gaussians", "mesh", "deformation"
ROOM = 1.25  # half the network's box, in the unit of the mesh: what moves leaves its place
ADAMW: dict[str, Any] = {"kind": "adamw", "betas": (0.9, 0.99)}
GRAPH_PARTS = ("nodes", "index", "weights")


class DreamMesh4d(Model):
    """A mesh at rest, Gaussians on its faces, and a network that moves the nodes which carry it."""

    def __init__(
        self,
        mesh: Mesh,  # at rest
        gaussians: Table,
        config: DreamMesh4dConfig,
        frame: MovingFrame,
        reference_views: Sequence[int],  # of the moment of the static mesh
        joining: JoiningMoments,  # of the training views, in their order
        up: Tensor,  # [3]
        prior: ViewPrior | None = None,
    ) -> None:
        device = mesh.vertices.device
        self.config, self.frame, self.prior, self.up = config, frame, prior, up.to(device)
        self.joining = joining
        self.faces, self.reference_views = mesh.faces, tuple(reference_views)
        self.face, self.barycentric = (t.to(device) for t in face_places(len(mesh), config.per_face))
        self.gaussians, self.mesh = gaussians, Table({"vertices": mesh.vertices})
        self.tables = {GAUSSIANS: self.gaussians, MESH: self.mesh}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.network = NodeNetwork(
                config.channels, config.plane_resolution, config.time_resolution, config.scales, config.net_width
            ).to(device)
        self.modules = {NETWORK: self.network}
        self.graph: DeformationGraph | None = None  # made when the motion begins, of the mesh as it is then
        self.edges = edges(mesh.faces)
        self.pairs = face_pairs(self.edges.of_face)
        self._stages = [stage.name for stage in self.stages()]
        self.part = self._stages[0]
        self._forget_the_mesh()

    # -- stages ------------------------------------------------------------------------------------------------------

    def stages(self) -> Sequence[Stage]:
        c = self.config
        rates: dict[str, Rate] = {
            f"{GAUSSIANS}.sizes": lambda _: c.size_lr,
            f"{GAUSSIANS}.spins": lambda _: c.spin_lr,
            f"{GAUSSIANS}.opacity_logits": lambda _: c.opacity_lr,
            f"{GAUSSIANS}.sh": lambda _: c.color_lr,
        }
        if c.vertex_lr > 0:
            rates[f"{MESH}.vertices"] = lambda _: c.vertex_lr * self.frame.unit
        learning = {"heads": c.network_lr, "trunk": c.network_lr, "planes": c.plane_lr}
        moving: dict[str, Rate] = {f"{NETWORK}.{name}": self._falling(lr) for name, lr in learning.items()}
        parts = [
            Stage(c.static_part, {name: Optimiser(rate, **ADAMW) for name, rate in rates.items()}, name=STATIC),
            Stage(
                c.moving_part,
                {name: Optimiser(rate, **ADAMW) for name, rate in moving.items()},
                views_per_step=c.frames_per_step,
                view_weights=self.joining.weights if c.join_until > 0 else None,
                name=MOVING,
            ),
        ]
        return [stage for stage in parts if stage.steps > 0]

    def _falling(self, start: float) -> Rate:
        c = self.config
        return lambda step: log_linear(start, c.lr_final * start, step / c.moving_part)

    def begin_stage(self, index: int, generator: torch.Generator) -> None:
        self.part = self._stages[index]
        self._forget_the_mesh()

    def _forget_the_mesh(self) -> None:
        """Compute anew what follows from the vertices, when it is asked for."""
        self._rest: Gaussians | None = None
        self._weighted: WeightedEdges | None = None
        self._moved: dict[float, tuple[Tensor, Tensor]] = {}

    # -- the scene at a moment ---------------------------------------------------------------------------------------

    def splat(self, time_s: float | None = None) -> Gaussians:
        if self.part == STATIC:
            return self._at_rest()
        vertices, turns = self.moved([self.frame.moment(time_s)])[0]
        rest, corners, weights = self._standing(), self.faces[self.face], self.barycentric[..., None]
        means = (weights * vertices[corners]).sum(1)
        turned = quat_exp((weights * turns[corners]).sum(1))
        return Gaussians(means, quat_multiply(turned, rest.quats), rest.log_scales, rest.opacity_logits, rest.sh)

    def moved(self, moments: Sequence[float]) -> list[tuple[Tensor, Tensor]]:
        """(vertices [V, 3], rotation vectors [V, 3]) at moments from 0 to 1; once for each moment of a step."""
        new = [moment for moment in dict.fromkeys(moments) if moment not in self._moved]
        if new:
            self._moved |= dict(zip(new, self._deformed(new), strict=True))
        return [self._moved[moment] for moment in moments]

    def _deformed(self, moments: Sequence[float]) -> list[tuple[Tensor, Tensor]]:
        c, graph, rest = self.config, self.deformation_graph(), self.mesh["vertices"].detach()
        center = filled(self.frame.center.tolist(), rest.device)
        nodes = (graph.nodes - center) / self.frame.unit
        said = self.network(nodes / ROOM, self._to_network(moments, rest.device))
        vertices = (rest - center) / self.frame.unit
        found = []
        for t in range(len(moments)):
            turns, shares = said["turns"][t], said["shares"][t]
            affine, duals = node_transforms(
                turns, ROOM * said["translations"][t], said["strains"][t], nodes if c.pivot == "nodes" else None
            )
            if c.skinning != "hybrid":
                shares = torch.full_like(shares, float(c.skinning == "lbs"))
            places, rotations = skin(
                vertices, affine, duals, shares, quat_log(turns), graph.index, graph.weights,
                offset=c.blend_offset if c.skinning == "hybrid" else 0.0, antipodal=c.antipodal,
            )  # fmt: skip
            found.append((center + self.frame.unit * places, rotations))
        return found

    def _to_network(self, moments: Sequence[float], device: torch.device) -> Tensor:
        """Moments from 0 to 1 as the network takes them: within -1 and 1, which are never trained (as released)."""
        count = self.frame.moments
        return 2 * (filled(moments, device) * (count - 1) + 1) / (count + 1) - 1

    def deformation_graph(self) -> DeformationGraph:
        """The graph of the mesh as the static part has left it; the same for the rest of the run."""
        if self.graph is None:
            c = self.config
            self.graph = deformation_graph(
                self.mesh["vertices"].detach(), self.faces, c.nodes, c.neighbours, links=c.links,
                link_weights=c.link_weights, sampling=c.node_sampling, generator=torch.Generator().manual_seed(c.seed),
            )  # fmt: skip
        return self.graph

    def _at_rest(self) -> Gaussians:
        thickness = THICKNESS * self.frame.unit
        return bound_gaussians(
            self.gaussians, self.mesh["vertices"], self.faces, self.face, self.barycentric, thickness
        )

    def _standing(self) -> Gaussians:
        """The Gaussians at rest, of the part in which none of them learns."""
        if self._rest is None:
            with torch.no_grad():
                self._rest = self._at_rest()
        return self._rest

    # -- training ----------------------------------------------------------------------------------------------------

    def before_step(self, step: Step) -> None:
        self._moved = {}
        if self.part == MOVING and self.config.join_until > 0:
            standing = self.joining.before_joining(step.stage_step)
            if standing is not None:  # those that join begin with the shape of their neighbour
                first, last = self._to_network(standing, self.faces.device).tolist()
                self.network.planes.hold(first, last)

    def loss(self, step: Step) -> dict[str, Tensor]:
        return self._static_loss(step) if self.part == STATIC else self._moving_loss(step)

    def _static_loss(self, step: Step) -> dict[str, Tensor]:
        c = self.config
        view = self.reference_views[step.stage_step % len(self.reference_views)]
        losses = self._picture_losses(step, [view], c.static_rgb_weight, c.static_mask_weight, within=True)
        vertices = self.mesh["vertices"]
        if c.vertex_lr > 0:
            if len(self.pairs) and c.static_normal_weight > 0:
                consistency = normal_consistency(vertices, self.faces, self.pairs)
                losses["normals"] = c.static_normal_weight * consistency
            if c.static_laplacian_weight > 0:
                smooth = laplacian_loss(vertices, self.edges.ends) / self.frame.unit
                losses["laplacian"] = c.static_laplacian_weight * smooth
        return losses | self._around(step, [view] * c.static_prior_views, c.static_prior_weight, c.variation_weight)

    def _moving_loss(self, step: Step) -> dict[str, Tensor]:
        c, share = self.config, step.stage_step / self.config.moving_part
        moments = [self.frame.moment(step.time_s(view)) for view in step.views]
        shapes = self.moved(moments)  # all moments in one pass of the network
        losses = self._picture_losses(step, step.views, c.rgb_weight, c.mask_weight_at(share))
        vertices, turns = (torch.stack(part) for part in zip(*shapes, strict=True))
        if len(self.pairs) and c.normal_weight > 0:
            losses["normals"] = c.normal_weight * normal_consistency(vertices, self.faces, self.pairs)
        if c.arap_weight > 0 and share >= c.arap_from:
            losses["arap"] = c.arap_weight * self.arap(vertices, turns)
        if c.between_weight > 0 and share >= c.arap_from and step.stage_step % c.between_every == 0:
            start = (1 - c.between_window) * float(torch.rand((), generator=step.generator, device=self.faces.device))
            between = torch.linspace(start, start + c.between_window, c.between_moments).tolist()
            vertices, turns = (torch.stack(part) for part in zip(*self.moved(between), strict=True))
            losses["between"] = c.between_every * c.between_weight * self.arap(vertices, turns)
        return losses | self._around(step, [v for v in step.views for _ in range(c.prior_views)], c.prior_weight)

    def arap(self, vertices: Tensor, turns: Tensor) -> Tensor:
        """Sum over shapes [T, V, 3] of the energy by the vertices' own rotations [T, V, 3], in units of the mesh.

        Negative cotangents, of edges between two obtuse faces, count as none: rotations that are not the best could
        make of them what is less than no energy at all.
        """
        rest = self.mesh["vertices"].detach()
        if self._weighted is None:
            found = cotangent_weights(rest, self.faces)
            self._weighted = WeightedEdges(found.ends, found.weights.clamp_min(0))
        unit = self.frame.unit
        return arap_energy(rest / unit, vertices / unit, quat_exp(turns), self._weighted).sum()

    def _picture_losses(
        self, step: Step, views: Sequence[int], rgb_weight: float, mask_weight: float, *, within: bool = False
    ) -> dict[str, Tensor]:
        """Sums over views of the errors of picture and outline; `within` looks at the picture inside the matte only."""
        rgb, outline = [], []
        for view in views:
            drawn = step.draw(view)
            wanted = matte(step.dataset.view(view, step.level))
            assert wanted is not None  # looked at when the run was configured
            outline.append((drawn.alpha - wanted).square().mean())
            if self.config.image_loss == "image":
                rgb.append(step.photometric([view]))
                continue
            image, target, counts = step.compared(view)
            error = (image - target).square()
            for part in (counts, wanted if within else None):
                error = error if part is None else error * part[..., None]
            rgb.append(error.mean())
        return {"rgb": rgb_weight * torch.stack(rgb).sum(), "mask": mask_weight * torch.stack(outline).sum()}

    def _around(
        self, step: Step, views: Sequence[int], prior_weight: float, variation_weight: float = 0.0
    ) -> dict[str, Tensor]:
        """Losses of pictures from sides that were not photographed, one at the moment of each of the views."""
        has_prior = self.prior is not None and prior_weight > 0
        if not has_prior and variation_weight == 0:
            return {}
        priors, variation = [], []
        for view in views:
            camera = novel_view(step.camera(view), self.frame.center.to(self.up), self.up, step.generator)
            features = None
            if variation_weight > 0:
                features = face_normals(self.mesh["vertices"], self.faces)[self.face]
            drawn = step.draw_from(camera, time_s=step.time_s(view), depth=variation_weight > 0, features=features)
            if variation_weight > 0:
                assert drawn.depth is not None
                assert drawn.features is not None
                depth = (drawn.depth / self.frame.unit)[..., None]
                variation.append(sum(map(total_variation, (drawn.rgb, drawn.features, depth)), drawn.rgb.new_zeros(())))
            if has_prior:
                priors.append(self._prior_loss(step, view, camera, drawn))
        losses = {"variation": variation_weight * torch.stack(variation).sum()} if variation else {}
        return losses | ({"prior": prior_weight * torch.stack(priors).sum()} if priors else {})

    def _prior_loss(self, step: Step, view: int, camera: Cameras, drawn: Render) -> Tensor:
        """A scalar whose gradient by a picture over white is the prior's, given the photographs of its moment."""
        assert self.prior is not None
        time_s, dataset = step.time_s(view), step.dataset
        known = [i for i in dataset.train if dataset.time_s(i) == time_s]
        white = drawn.rgb.new_ones(3)
        behind = white if step.background is None else white - step.background
        image = drawn.rgb + (1 - drawn.alpha)[..., None] * behind
        photographs = torch.stack([dataset.view(i, step.level).target(white) for i in known])
        cameras = Cameras.stack([step.camera(i) for i in known])
        progress = step.index / step.steps
        return distillation_loss(
            image, self.prior.gradient(image.detach(), camera, photographs, cameras, progress, time_s=time_s)
        )

    # -- what continuing needs, and what comes out -------------------------------------------------------------------

    def state(self) -> dict[str, Tensor]:
        return {} if self.graph is None else {name: getattr(self.graph, name) for name in GRAPH_PARTS}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        device = self.faces.device
        self.graph = DeformationGraph(*(state[name].to(device) for name in GRAPH_PARTS)) if state else None
        self._forget_the_mesh()

    @torch.no_grad()
    def result(self) -> MovingSplat:
        times_s = self.frame.kept_times_s(self.config.result_moments)
        rest = self.mesh["vertices"].detach()
        shapes = [(rest, torch.zeros_like(rest))] * len(times_s)  # interrupted before anything moved
        if self.part == MOVING:
            shapes = self._deformed([self.frame.moment(float(t)) for t in times_s])
        positions, turns = (torch.stack(part) for part in zip(*shapes, strict=True))
        motion = MeshBoundMotion(
            times_s, positions, turns, rest.clone(), self.faces.int(), self.face.int(), self.barycentric.clone()
        )
        gaussians = self._at_rest().detach()
        return MovingSplat(gaussians, self.config.antialiased, background=self.config.background, motion=motion)
