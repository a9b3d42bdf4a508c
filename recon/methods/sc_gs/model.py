"""SC-GS (Huang et al. 2024, arXiv 2312.14937): Gaussians that sparse control points carry, moved by a network.

First control points alone draw the photographs, as round Gaussians that the network moves (`nodes`); those that
together move most differently are chosen (`chosen nodes`); then dense Gaussians take over, and each is carried by the
control points near it (`gaussians`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace

import torch
from torch import Tensor

from ....learn.schedules import log_linear
from ....scene.carry import blended_turns, carry
from ....scene.control_points import RESIDUALS, ControlPointMotion, with_residuals
from ....scene.farthest_points import farthest_points
from ....scene.filled import filled
from ....scene.gaussians import SH_C0, Gaussians
from ....scene.geometry import quat_multiply
from ....scene.point_cloud import PointCloud
from ....scene.splat import MovingSplat
from ...evidence.dense_flow import FlowField
from ...evidence.film_flow import FilmFlow
from ...optimise.adam import Optimiser, Rate
from ...optimise.adaptive_density_control import AdaptiveDensityControl
from ...optimise.contract import Stage
from ...optimise.dataset import Dataset
from ...optimise.rounds import Rounds
from ...optimise.step import Render, Step
from ...optimise.table import Column, Table
from ..deformation_network import SHIFTS, TURNS, deformation_network
from ..gaussian_splatting.model import GAUSSIANS, GaussianSplatting, densifier_for, gaussians_from_points
from ..moving_capture import MovingFrame, starting_points, time_noise
from .arap_loss import arap_energy, released_neighbours, trajectory_neighbours
from .config import ScGsConfig
from .control_nodes import (
    GAUSSIAN_HYPER,
    adapted_nodes,
    node_table,
    round_gaussians,
    screen_gradient,
    told_apart,
)
from .flow_loss import flow_by_view, flow_loss, rendered_flow
from .node_regularisers import acceleration_loss, elastic_loss
from .node_weights import nearest_points, node_weights

STILL_NODES, NODES, CHOSEN_NODES, DENSE = "still nodes", "nodes", "chosen nodes", "gaussians"  # the stages
SQUARED_WEIGHT = 4.0  # of the squared error, to be about as large as the image loss
TRAJECTORY_MOMENTS = 16  # in which control points are told apart
ARAP_WINDOW, ARAP_NODES, PAPER_MOMENTS = 0.05, 512, 8
ELASTIC_MOMENTS, ELASTIC_NEIGHBOURS, ACCELERATION_INTERVALS = 8, 2, 3
GAUSSIAN_COLUMNS = tuple(field.name for field in fields(Gaussians))
STANDING = (1.0, 0.0, 0.0, 0.0)  # the turn that is none, wxyz
LEAST_MASS = 1e-3  # periodic: what carries less than this of a Gaussian goes


class ScGs(GaussianSplatting):
    """Dense Gaussians, control points, and the network that moves these."""

    config: ScGsConfig

    def __init__(
        self,
        gaussians: Gaussians,  # dense, at the start
        round_ones: Gaussians,  # control points of the first part
        config: ScGsConfig,
        frame: MovingFrame,
        scene_scale: float,
        flow: Mapping[int, list[tuple[int, FlowField]]] | None = None,  # by view: its neighbours in a film, and the way
    ) -> None:
        super().__init__(gaussians, config, scene_scale)
        self.frame, self.flow = frame, flow or {}
        self._learn_to_lie_apart()
        self.nodes = node_table(farthest_choice(round_ones.means, config.nodes), config.hyper_dim)
        self.round_nodes = Table(vars(round_ones))
        self.tables |= {"nodes": self.nodes, "round_nodes": self.round_nodes}
        heads = [SHIFTS, "scale_residuals"]
        heads += ["quat_residuals"] if config.rotation == "residual" else []
        heads += [TURNS] if config.local_frame or config.rotation == "single" else []
        heads += ["opacity_residuals"] if config.predict_opacity else []
        heads += ["color_residuals"] if config.predict_color else []
        self.network = deformation_network(heads, config).to(gaussians.means.device)
        self.modules = {"deformation": self.network}
        self._stages = [stage.name for stage in self.stages()]
        self.part = self._stages[0]
        self.node_control = self._node_control()
        self.index = self._nearest()
        self._noise, self._moves = 0.0, False

    # -- stages ------------------------------------------------------------------------------------------------------

    def stages(self) -> Sequence[Stage]:
        c, first = self.config, self.config.first_part
        still, chosen = int(c.node_still * first), int((1 - c.node_sampling) * first)
        free = first - still - chosen
        learning = {f"round_nodes.{name}": Optimiser(rate) for name, rate in self._round_rates().items()}

        def moving(done: int) -> dict[str, Optimiser]:
            """From a step on at which the network has learned `done` steps."""
            return learning | {"deformation": Optimiser(self._network_rate(c.network_lr, first - still, done))}

        parts = [
            Stage(still, learning, name=STILL_NODES),
            Stage(free, moving(0), name=NODES),
            Stage(chosen, moving(free), name=CHOSEN_NODES),
            Stage(c.second_part, self._dense_optimisers(), forgets=True, name=DENSE),
        ]
        return [stage for stage in parts if stage.steps > 0]

    def _dense_optimisers(self) -> dict[str, Optimiser]:
        c = self.config
        (dense,) = super().stages()
        rates: dict[str, Rate] = {
            "nodes.log_radius": lambda _: c.node_lr,
            "nodes.strength_logits": lambda _: c.node_lr,
            "deformation": self._network_rate(c.dense_network_lr, c.second_part),
        }
        if c.hyper_dim > 0:  # lengths, which count beside those of the world
            hyper_lr, node_hyper_lr = c.hyper_lr * self.frame.unit, c.node_lr * self.frame.unit
            rates |= {f"{GAUSSIANS}.hyper": lambda _: hyper_lr, "nodes.hyper": lambda _: node_hyper_lr}
        if c.motion_mask:
            rates[f"{GAUSSIANS}.mask_logits"] = lambda _: c.hyper_lr
        return {**dense.optimisers, **{name: Optimiser(rate) for name, rate in rates.items()}}

    def _round_rates(self) -> dict[str, Rate]:
        c = self.config
        lr = c.means_lr * self.scene_scale
        return {
            "means": lambda _: lr,
            "log_scales": lambda _: c.scale_lr,
            "opacity_logits": lambda _: c.opacity_lr,
            "sh": lambda _: c.sh_lr,
        }

    def _network_rate(self, start: float, steps: int, done: int = 0) -> Rate:
        """The falling rate of a part of so many steps, from the step `done` of it on."""
        c = self.config
        falls = max(1.0, c.network_rate_falls * steps)
        return lambda step: log_linear(start, c.network_lr_final, min(1.0, (done + step) / falls))

    def _means_rate(self, step: int) -> float:
        c = self.config
        share = min(1.0, step / max(1.0, c.rate_falls * c.second_part))
        return log_linear(c.means_lr, c.means_lr_final, share) * self.scene_scale

    def begin_stage(self, index: int, generator: torch.Generator) -> None:
        self.part = self._stages[index]
        before = self._stages[index - 1] if index > 0 else None
        if self.part == CHOSEN_NODES:
            self._keep_visible()
            kept = farthest_points(self._trajectories().transpose(0, 1).flatten(1), self.config.nodes)
            self.round_nodes.edit_rows(kept.sort().values, {}, kept[:0])
        elif self.part == DENSE and before is not None:
            self._take_over(generator)

    def _take_over(self, generator: torch.Generator) -> None:
        """Control points lie where the round Gaussians lay; the dense ones begin, around them where it is asked."""
        self._keep_visible()
        points = self.round_nodes["means"].detach()
        if self.config.start == "nodes":
            moments = torch.linspace(0, 1, TRAJECTORY_MOMENTS)
            with torch.no_grad():
                shifts = self._outputs(points, moments)[SHIFTS]
            self.nodes = told_apart(points, shifts, self.config.hyper_dim)
            self._begin_around(points, generator)
        else:
            self.nodes = node_table(points, self.config.hyper_dim)
        self.tables["nodes"] = self.nodes
        self.index = self._nearest()

    def _keep_visible(self) -> None:
        """Drop the round Gaussians that no photograph shows: nothing tells them where to go.

        The farthest paths are theirs, so that most control points would be, and carry what is seen to where they stray.
        """
        opacities = self.round_nodes["opacity_logits"].detach().sigmoid()
        visible = (opacities > self.config.node_prune_opacity).nonzero().squeeze(-1)
        if len(visible) >= self.config.neighbours:
            self.round_nodes.edit_rows(visible, {}, visible[:0])

    def _begin_around(self, points: Tensor, generator: torch.Generator) -> None:
        """Dense Gaussians around the control points, in their colours."""
        c, count = self.config, min(self.config.random_points, self.config.max_gaussians)
        rows = torch.arange(count, device=points.device) % len(points)
        size = self.round_nodes["log_scales"].detach().mean().exp()
        means = points[rows] + size * torch.randn(count, 3, generator=generator, device=points.device)
        rgb = (255 * (0.5 + SH_C0 * self.round_nodes["sh"].detach()[rows, 0])).clamp(0, 255)
        cloud = PointCloud(means.cpu(), rgb.round().to(torch.uint8).cpu())
        started = gaussians_from_points(cloud, c, self.scene_scale).to(points.device)
        self.table = self.tables[GAUSSIANS] = Table(vars(started))
        self._learn_to_lie_apart(self.nodes["hyper"].detach()[rows])
        self.densifier = densifier_for(c, count, self.scene_scale, points.device)

    def _learn_to_lie_apart(self, hyper: Tensor | None = None) -> None:
        """The columns that only carried Gaussians have; further dimensions [N, H], all alike where none are given."""
        count, like = self.table.rows, self.table["means"].detach()
        if hyper is None:
            hyper = like.new_full((count, self.config.hyper_dim), GAUSSIAN_HYPER)
        self.table.columns["hyper"] = Column(hyper)
        if self.config.motion_mask:
            self.table.columns["mask_logits"] = Column(like.new_zeros(count))

    # -- the scene at a moment ---------------------------------------------------------------------------------------

    def splat(self, time_s: float | None = None) -> Gaussians:
        moment = self.frame.moment(time_s) + self._noise
        if self.part != DENSE:
            return round_gaussians(self.round_nodes, self._round_means(self._moments(moment))[0])
        said = self._outputs(self.nodes["points"], self._moments(moment))
        if not self._moves:
            said = {name: values.detach() for name, values in said.items()}
        return self._carried({name: values[0] for name, values in said.items()})

    def _moments(self, *values: float) -> Tensor:
        """Moments [T] where the network is."""
        return filled(values, self.table["means"].device)

    def _carried(self, said: dict[str, Tensor]) -> Gaussians:
        """Dense Gaussians where the control points take them, by the network's answers for one moment [M, C]."""
        shifts, turns, weights = said.pop(SHIFTS), said.pop(TURNS), self._weights()
        own = self.table["means"]
        means, blend = carry(
            own.detach(),
            self.nodes["points"].detach(),
            turns,
            shifts,
            torch.cat(list(said.values()), dim=-1),
            self.index,
            weights,
        )
        canonical = Gaussians(**{name: self.table[name] for name in GAUSSIAN_COLUMNS})
        if self.config.rotation == "single":
            turned = quat_multiply(blended_turns(turns, self.index, weights), canonical.quats)
            canonical = replace(canonical, quats=turned)
        # The means' own gradient is that of standing still, as released.
        canonical = replace(canonical, means=own + (means - own.detach()))
        return with_residuals(
            canonical, dict(zip(said, blend.split([RESIDUALS[n] for n in said], dim=-1), strict=True))
        )

    def _outputs(self, points: Tensor, moments: Tensor) -> dict[str, Tensor]:
        """Answers of the network about points [M, 3] at moments [T], by head [T, M, C]; lengths in world units."""
        said: dict[str, Tensor] = self.network(self.frame.places(points.detach()), moments.to(points))
        for name in (SHIFTS, "scale_residuals"):
            said[name] = said[name] * self.frame.unit
        still = filled(STANDING, points.device)
        said[TURNS] = said[TURNS] + still if TURNS in said else still.expand(len(moments), len(points), 4)
        return said

    def _round_means(self, moments: Tensor) -> Tensor:
        """Places [T, M, 3] of the round Gaussians at moments [T]."""
        means = self.round_nodes["means"]
        if self.part == STILL_NODES:
            return means.expand(len(moments), -1, -1)
        return means + self._outputs(means, moments)[SHIFTS]

    def _points_at(self, moments: Tensor) -> Tensor:
        """Places [T, M, 3] of the control points at moments [T], world units, as they are in this stage."""
        if self.part != DENSE:
            return self._round_means(moments)
        points = self.nodes["points"].detach()
        return points + self._outputs(points, moments)[SHIFTS]

    @torch.no_grad()
    def _trajectories(self) -> Tensor:
        """Places [16, M, 3] of the control points at evenly spaced moments."""
        return self._points_at(torch.linspace(0, 1, TRAJECTORY_MOMENTS))

    def _weights(self) -> Tensor:
        """Weights [N, K] of the nearest control points."""
        n = self.nodes
        weights = node_weights(
            self.table["means"], self.table["hyper"], n["points"], n["hyper"], n["log_radius"], n["strength_logits"],
            self.index,
        )  # fmt: skip
        return weights * self.table["mask_logits"].sigmoid()[:, None] if self.config.motion_mask else weights

    def _nearest(self) -> Tensor:
        """Numbers [N, K] of the control points nearest to each Gaussian, in all their dimensions."""
        gaussians = torch.cat([self.table["means"].detach(), self.table["hyper"].detach()], dim=-1)
        nodes = torch.cat([self.nodes["points"].detach(), self.nodes["hyper"].detach()], dim=-1)
        return nearest_points(gaussians, nodes, self.config.neighbours)

    # -- training ----------------------------------------------------------------------------------------------------

    def before_step(self, step: Step) -> None:
        c = self.config
        self._noise = time_noise(step, c.time_noise * self.frame.interval, until=0.25)
        if self.part != DENSE:
            return
        super().before_step(step)
        self._moves = step.stage_step >= c.still * c.second_part or c.first_part == 0
        if step.stage_step % c.neighbours_every == 0:
            self.index = self._nearest()

    def loss(self, step: Step) -> dict[str, Tensor]:
        if self.part == DENSE:
            return super().loss(step) | self._arap(step) | self._flow(step)
        (view,) = step.views
        drawn = step.draw(view)
        if self.part == NODES:
            drawn.info["means2d"].retain_grad()
        if self.config.node_loss == "squared":
            losses = {"photometric": SQUARED_WEIGHT * self._squared_error(step, drawn)}
        else:
            losses = {"photometric": step.photometric()}
        if self.part != STILL_NODES and step.index % self.config.arap_every == 0:
            losses |= self._regularise(step)
        return losses

    def _squared_error(self, step: Step, drawn: Render) -> Tensor:
        """The mean squared error of this step's picture over the pixels that count."""
        (view,) = step.views
        image, (target, mask) = step.as_photographed(view, drawn), step.target(view)
        error = (image - target).square().mean(-1)
        return error.mean() if mask is None else error[mask].mean()

    def _regularise(self, step: Step) -> dict[str, Tensor]:
        """The first part's own losses on how control points move, in network units."""
        c, unit = self.config, self.frame.unit
        losses: dict[str, Tensor] = {}
        now = self.frame.moment(step.time_s(step.views[0]))
        if c.elastic_weight > 0:
            window = now + self.frame.interval * (self._random(step, ELASTIC_MOMENTS) - 0.5)
            paths = self._points_at(window) / unit
            near = nearest_points(paths[0], paths[0], ELASTIC_NEIGHBOURS + 1)[:, 1:].long()
            weights = torch.ones(near.shape, device=paths.device)
            losses["elastic"] = c.arap_every * c.elastic_weight * elastic_loss(paths, near, weights)
        if c.acceleration_weight > 0:
            delta = ACCELERATION_INTERVALS * self.frame.interval
            three = self._points_at(self._moments(now - delta, now, now + delta)) / unit
            losses["acceleration"] = c.arap_every * c.acceleration_weight * acceleration_loss(*three)
        if c.node_arap_weight > 0 and c.arap != "off":
            losses["arap"] = c.arap_every * c.node_arap_weight * self._arap_energy(step)
        return losses

    def _arap(self, step: Step) -> dict[str, Tensor]:
        c = self.config
        share = step.stage_step / c.second_part
        if c.arap == "off" or not self._moves or share >= c.arap_until or step.index % c.arap_every != 0:
            return {}
        falling = min(1.0, max(0.0, 16 * share - 1))
        weight = log_linear(c.arap_weight, c.arap_weight_final, falling)
        return {"arap": c.arap_every * weight * self._arap_energy(step)}

    def _flow(self, step: Step) -> dict[str, Tensor]:
        """The loss on the film's flow to the frame before or after, whichever is drawn."""
        c, (view,) = self.config, step.views
        share, neighbours = step.stage_step / c.second_part, self.flow.get(view)
        if not neighbours or not self._moves or share >= c.flow_until or step.index % c.flow_every != 0:
            return {}
        chosen = torch.randint(len(neighbours), (), generator=step.generator, device=step.generator.device)
        other, field = neighbours[int(chosen)]
        now, then = step.renders[view].gaussians, self.splat(step.time_s(other))
        drawn, opacity = rendered_flow(now, then.means, step.camera(view), step.camera(other))
        image, target, _ = step.compared(view)
        apart = abs(self.frame.moment(step.time_s(other)) - self.frame.moment(step.time_s(view)))
        loss = flow_loss(drawn, opacity, field, (image - target).abs().mean(-1), apart)
        falling = min(1.0, max(0.0, (share - c.flow_falls) / max(c.flow_until - c.flow_falls, 1e-9)))
        return {"flow": c.flow_every * log_linear(c.flow_weight, c.flow_weight_final, falling) * loss}

    def _arap_energy(self, step: Step) -> Tensor:
        """The sum over control points, at most 512 of them, in network units."""
        if self.config.arap == "paper":
            moments = self._random(step, PAPER_MOMENTS)
            paths = self._points_at(moments) / self.frame.unit
            if self.part == DENSE:
                radius = self.nodes["log_radius"].exp() / self.frame.unit
            else:
                radius = paths.new_full((paths.shape[1],), 0.1)
            index, weights = trajectory_neighbours(paths.detach().transpose(0, 1), radius)
            return arap_energy(paths[0], paths[1], index, weights).sum()
        window = self._random(step, 1) + ARAP_WINDOW * (self._random(step, 2) - 0.5)
        before, after = self._points_at(window) / self.frame.unit
        index, weights = released_neighbours(before.detach())
        energies = arap_energy(before, after, index, weights)
        if len(energies) <= ARAP_NODES:
            return energies.sum()
        chosen = torch.randperm(len(energies), generator=step.generator, device=energies.device)[:ARAP_NODES]
        return energies[chosen].sum()

    def _random(self, step: Step, count: int) -> Tensor:
        return torch.rand(count, generator=step.generator, device=step.generator.device)

    def visible_rows(self, step: Step) -> Mapping[str, Tensor]:
        return super().visible_rows(step) if self.part == DENSE else {}

    def after_step(self, step: Step) -> None:
        self._noise = 0.0
        if self.part == NODES:
            self.node_control.after_step(step, self.round_nodes, 0.0)
        if self.part != DENSE:
            return
        if self._adapts(step.stage_step) and isinstance(self.densifier, AdaptiveDensityControl):
            self._adapt_nodes(self.densifier)
        super().after_step(step)
        if self.config.rounds.at(step.index):  # rows are others then, even where there are as many as before
            self.index = self._nearest()

    def _adapts(self, stage_step: int) -> bool:
        c = self.config
        if c.adaptive == "once":
            return stage_step == int(c.adaptive_at * c.second_part)
        every = max(1, int(c.adaptive_every * c.second_part))
        return c.adaptive == "periodic" and self._moves and stage_step % every == 0 and stage_step <= 5 * every

    def _adapt_nodes(self, control: AdaptiveDensityControl) -> None:
        nodes, table = self.nodes, self.table
        stay, parents, points, hyper = adapted_nodes(
            nodes["points"].detach(), nodes["hyper"].detach(), table["means"].detach(), table["hyper"].detach(),
            self.index, self._weights().detach(), screen_gradient(control),
            LEAST_MASS if self.config.adaptive == "periodic" else 0.0,
        )  # fmt: skip
        if len(stay) + len(parents) >= self.config.neighbours:
            nodes.edit_rows(stay, {"points": points, "hyper": hyper}, parents)
            self.index = self._nearest()

    def _node_control(self) -> AdaptiveDensityControl:
        """The densification of the first part's round Gaussians."""
        c = self.config
        first = c.first_part
        return AdaptiveDensityControl(
            Rounds(int(c.node_still * first), int(c.node_sampling * first), c.densify_every),
            count=self.round_nodes.rows,
            budget=max(c.node_candidates, c.nodes),
            scene_scale=self.scene_scale,
            grow_gradient=c.grow_gradient,
            split_scale=c.split_scale,
            prune_opacity=c.node_prune_opacity,
            prune_scale=0.0,
            opacity_resets=0,
            device=self.round_nodes["means"].device,
        )

    # -- what continuing needs, and what comes out -------------------------------------------------------------------

    def state(self) -> dict[str, Tensor]:
        nodes = {f"nodes/{name}": tensor for name, tensor in self.node_control.state().items()}
        return super().state() | nodes | {"index": self.index}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        super().load_state({name: t for name, t in state.items() if "/" not in name and name != "index"})
        self.node_control.load_state({n.removeprefix("nodes/"): t for n, t in state.items() if n.startswith("nodes/")})
        self.index = state["index"].to(self.table["means"].device)

    @torch.no_grad()
    def result(self) -> MovingSplat:
        times_s = self.frame.kept_times_s(self.config.result_moments)
        moments = torch.tensor([self.frame.moment(float(t)) for t in times_s])
        if self.part == DENSE:
            points = self.nodes["points"].detach()
            drawn = Gaussians(**{name: self.table[name] for name in GAUSSIAN_COLUMNS})
            index, weights, said = self.index, self._weights(), self._outputs(points, moments)
        else:  # interrupted: each round Gaussian is its own control point
            points = self.round_nodes["means"].detach()
            drawn = round_gaussians(self.round_nodes, points)
            index = torch.arange(len(points), dtype=torch.int32, device=points.device)[:, None]
            weights, still = points.new_ones(len(points), 1), filled(STANDING, points.device)
            said = {SHIFTS: self._round_means(moments) - points, TURNS: still.expand(len(moments), len(points), 4)}
        motion = ControlPointMotion(
            times_s, points.clone(), neighbours=index, weights=weights,
            **{name: values.contiguous() for name, values in said.items()},
        )  # fmt: skip
        return MovingSplat(drawn.detach(), self.config.antialiased, background=self.config.background, motion=motion)


def farthest_choice(points: Tensor, count: int) -> Tensor:
    """At most `count` spread-out points [M, 3]."""
    return points[farthest_points(points, count).sort().values]


def initialise(
    dataset: Dataset, config: ScGsConfig, device: torch.device | str = "cpu", flow: FilmFlow | None = None
) -> ScGs:
    """Dense Gaussians at the data set's points or random ones, and as many of them as control points to begin with."""
    generator = torch.Generator().manual_seed(config.seed)
    points = starting_points(dataset, config, generator)
    gaussians = gaussians_from_points(points, config, dataset.scene_scale)
    spread = farthest_points(points.xyz, max(config.nodes, min(config.node_candidates, len(points)) // 2))
    chosen = points[spread.sort().values]
    round_ones = gaussians_from_points(chosen, replace(config, sh_degree=0), dataset.scene_scale)
    size = round_ones.log_scales.mean()
    round_ones = replace(round_ones, log_scales=size.expand(len(chosen), 3).clone())
    frame = MovingFrame.of(dataset, points.xyz)
    known = None if flow is None else flow_by_view(flow, dataset)
    return ScGs(gaussians.to(device), round_ones.to(device), config, frame, dataset.scene_scale, known)
