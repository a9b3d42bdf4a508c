"""CoherentGS (Paliwal et al. 2024, arXiv 2403.19495): a Gaussian for each pixel, bound to the pixel's ray.

First monocular depth is brought to scale by what matches between the views. Then a decoder moves all Gaussians of a
view together along their rays, and another decides their opacities, while sizes follow the pixels; in the end sizes
are free.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ....scene.gaussians import SH_C0, Gaussians
from ....scene.splat import Splat, StaticSplat
from ...optimise.adam import Optimiser, Rate
from ...optimise.contract import Model, Stage
from ...optimise.step import Render, Step
from ...optimise.table import Table
from .coherence_losses import coarse_l1, disparity_variation, pooled
from .coherent_decoder import CoherentDecoder
from .config import CoherentConfig
from .prepared_views import PreparedViews
from .unseen import guessed_gaussians

ALIGNMENT, BOUND, FREE = "alignment", "decoders", "free sizes"  # the stages
PIXELS, RESIDUALS = "pixels", "residuals"  # tables, besides that of the alignment
DEPTH, OPACITY = "depth_decoder", "opacity_decoder"  # modules
LINE = ("scale", "offset")  # columns of the alignment, by view
LEAST_DEPTH = 0.05  # units: nothing comes nearer to its own camera


class Coherent(Model):
    """Gaussians behind the pixels of a few views, moved by decoders."""

    def __init__(self, prepared: PreparedViews, config: CoherentConfig, device: torch.device | str) -> None:
        lattice = prepared.lattice
        self.config, self.prepared = config, prepared
        self.matches = [m.to(device) for m in prepared.matches]
        self.depths = [z.to(device) for z in prepared.depths]
        self.shown_layers = [layer.to(device) for layer in prepared.shown_layers]
        self.kept = [c.flatten().nonzero()[:, 0].to(device) for c in lattice.counts]  # pixels that have a Gaussian
        self.layers = [layer.to(device).flatten()[k] for layer, k in zip(prepared.layers, self.kept, strict=True)]
        self.centers = (lattice.cameras.centers / prepared.unit).to(device)
        self.rays = [r.to(device) for r in lattice.rays]
        colors = torch.cat([p.to(device).reshape(-1, 3)[k] for p, k in zip(lattice.colors, self.kept, strict=True)])
        views, count = len(lattice), len(colors)
        self.pixels = Table(
            {
                "log_scales": torch.zeros(count, 3, device=device),
                "quats": torch.tensor([1.0, 0, 0, 0], device=device).repeat(count, 1),
                "logits": torch.zeros(count, device=device),  # of opacity, beside what the decoder says
                "sh": ((colors.float() / 255 - 0.5) / SH_C0)[:, None],
            }
        )
        self.alignment = Table({name: torch.full((views,), float(name == "scale"), device=device) for name in LINE})
        self.tables, self.modules = {ALIGNMENT: self.alignment, PIXELS: self.pixels}, {}
        if config.decoder == "free":
            free = {name: torch.zeros(count, device=device) for name in (DEPTH, OPACITY)}
            self.tables[RESIDUALS] = Table(free)
        else:
            self.size = tuple(max(sizes) for sizes in zip(*(c.shape for c in lattice.counts), strict=True))
            height, width = (math.ceil(n / config.decoder_spacing) for n in self.size)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(config.seed)
                for name, capacity in ((DEPTH, config.depth_capacity), (OPACITY, config.opacity_capacity)):
                    self.modules[name] = CoherentDecoder(views, height, width, config.layers, capacity).to(device)
        self._stages = self.stages()
        self.part = self._stages[0].name
        self._now: tuple[list[Tensor], Gaussians] | None = None  # depths and Gaussians of the step that is being made
        with torch.no_grad():
            self._bind_sizes(self._decoded()[0])

    # -- stages ------------------------------------------------------------------------------------------------------

    def stages(self) -> Sequence[Stage]:
        c = self.config
        aligning = {f"{ALIGNMENT}.scale": c.alignment_scale_lr, f"{ALIGNMENT}.offset": c.alignment_offset_lr}
        free = {
            f"{PIXELS}.log_scales": c.scale_lr,
            f"{PIXELS}.quats": c.quat_lr,
            f"{PIXELS}.logits": c.own_opacity_lr,
        }
        learning = {name: Optimiser(_constant(rate)) for name, rate in free.items() if rate > 0}
        if c.color_lr > 0 or (c.sh_degree > 0 and c.sh_rest_lr > 0):
            learning[f"{PIXELS}.sh"] = Optimiser(self._color_rates)
        parts = [
            Stage(
                c.first_part,
                {name: Optimiser(_cosine(rate, c.first_part), epsilon=1e-8) for name, rate in aligning.items()},
                name=ALIGNMENT,
            ),
            Stage(c.bound_steps, self._residual_optimisers(0), name=BOUND),
            Stage(c.second_part - c.bound_steps, learning | self._residual_optimisers(c.bound_steps), name=FREE),
        ]
        return [part for part in parts if part.steps > 0]

    def _residual_optimisers(self, done: int) -> dict[str, Optimiser]:
        """Those of the residuals, from a step on at which they have learned `done` steps."""
        c = self.config
        rates = {
            DEPTH: _cyclic(c.depth_lr_low, c.depth_lr, c.depth_cycle * c.second_part, done),
            OPACITY: _cyclic(c.opacity_lr_low, c.opacity_lr, c.opacity_cycle * c.second_part, done),
        }
        if c.decoder == "free":
            return {f"{RESIDUALS}.{name}": Optimiser(rate) for name, rate in rates.items()}
        return {name: Optimiser(rate, "adamw", epsilon=1e-8, weight_decay=0.01) for name, rate in rates.items()}

    def _color_rates(self, step: int) -> Tensor:
        rates = torch.full((3 * self.pixels["sh"].shape[1],), self.config.sh_rest_lr)
        rates[:3] = self.config.color_lr
        return rates

    def begin_stage(self, index: int, generator: torch.Generator) -> None:
        self.part = self._stages[index].name

    # -- the scene ---------------------------------------------------------------------------------------------------

    def _aligned(self) -> list[Tensor]:
        """Depth [h, w] of each view after the alignment, units."""
        return [self.alignment["scale"][v] * z + self.alignment["offset"][v] for v, z in enumerate(self.depths)]

    def _decoded(self) -> tuple[list[Tensor], list[Tensor]]:
        """Depth, in units, and opacity logit of the Gaussians of each view [M]."""
        c, depths, logits = self.config, [], []
        start = math.log(c.initial_opacity / (1 - c.initial_opacity))
        own = self.pixels["logits"].split([len(k) for k in self.kept])
        residuals = zip(self._residuals(DEPTH), self._residuals(OPACITY), own, strict=True)
        for z, kept, (nearer, clearer, more) in zip(self._aligned(), self.kept, residuals, strict=True):
            depths.append((z.flatten()[kept] + c.depth_range * torch.tanh(nearer)).clamp_min(LEAST_DEPTH))
            logits.append(start + c.opacity_range * torch.tanh(clearer) + more)
        return depths, logits

    def _residuals(self, name: str) -> list[Tensor]:
        """Residuals of the Gaussians of each view [M], before their bounds: the channel of each one's own layer."""
        if self.config.decoder == "free":
            return list(self.tables[RESIDUALS][name].split([len(k) for k in self.kept]))
        decoded, found = self.modules[name](), []
        if self.config.decoder_spacing > 1:
            decoded = F.interpolate(decoded, self.size, mode="bilinear")
        for view, (z, kept, layer) in enumerate(zip(self.depths, self.kept, self.layers, strict=True)):
            channels = decoded[view, :, : z.shape[0], : z.shape[1]].flatten(1)[:, kept]
            found.append(channels.gather(0, layer[None])[0])
        return found

    def splat(self, time_s: float | None = None) -> Gaussians:
        return self._gaussians(*self._decoded()) if self._now is None else self._now[1]

    def _gaussians(self, depths: list[Tensor], logits: list[Tensor]) -> Gaussians:
        means = [
            self.centers[v] + z[:, None] * self.rays[v].reshape(-1, 3)[kept]
            for v, (z, kept) in enumerate(zip(depths, self.kept, strict=True))
        ]
        own = self.pixels
        return Gaussians(
            self.prepared.unit * torch.cat(means), own["quats"], own["log_scales"], torch.cat(logits), own["sh"]
        )

    @torch.no_grad()
    def result(self) -> Splat:
        """The Gaussians of the pixels, and where it is asked for, guesses of what no photograph shows after them."""
        depths, logits = self._decoded()
        gaussians = self._gaussians(depths, logits).detach()
        if self.config.unseen == "filled":
            whole = [self.prepared.unit * z.cpu() for z in self._whole(depths)]
            guesses = guessed_gaussians(self.prepared, whole, self.config.border).to(gaussians.means.device)
            more = gaussians.sh.shape[1] - guesses.sh.shape[1]
            gaussians = Gaussians.cat([gaussians, replace(guesses, sh=F.pad(guesses.sh, (0, 0, 0, more)))])
        return StaticSplat(gaussians, self.config.antialiased, background=self.config.background)

    # -- training ----------------------------------------------------------------------------------------------------

    def before_step(self, step: Step) -> None:
        if self.part == ALIGNMENT:
            return
        done = step.index - self.config.first_part
        wanted = (self.config.degree_at(done) + 1) ** 2
        if self.pixels["sh"].shape[1] < wanted:
            self.pixels.widen("sh", wanted)
        depths, logits = self._decoded()
        if done == 0 or (self.part == BOUND and done % self.config.reset_every == 0):
            self._bind_sizes(depths)
        self._now = depths, self._gaussians(depths, logits)

    @torch.no_grad()
    def _bind_sizes(self, depths: list[Tensor]) -> None:
        """Give every Gaussian the size of its pixel at its depth: round, `footprint` halves of it."""
        focal_px = self.prepared.lattice.cameras.K[:, 1, 1].tolist()
        half = torch.cat([z * 0.5 / f for z, f in zip(depths, focal_px, strict=True)])
        sizes = (self.config.footprint * self.prepared.unit * half).log()
        rows = torch.arange(len(sizes), device=sizes.device)
        self.pixels.overwrite_rows("log_scales", rows, sizes[:, None].expand(-1, 3))

    def loss(self, step: Step) -> dict[str, Tensor]:
        (view,) = step.views
        number = self.prepared.views.index(view)
        if self.part == ALIGNMENT:
            return {"flow": self._flow_distance(number, self._aligned())}
        c, done = self.config, step.index - self.config.first_part
        assert self._now is not None
        drawn = self._draw(step, view, done)
        losses = {"photometric": step.photometric()}
        if c.pyramid > 1:
            image, (target, mask) = step.as_photographed(view, drawn), step.target(view)
            if mask is not None:
                image, target = image * mask[..., None], target * mask[..., None]
            losses["coarse"] = (1 - c.dssim_weight) * coarse_l1(image, target, c.pyramid)
        if c.smoothness_weight > 0:
            assert drawn.depth is not None
            variation = disparity_variation(
                drawn.depth / self.prepared.unit, self.shown_layers[number], c.layers, c.layered_share(done)
            )
            losses["smoothness"] = c.smoothness_weight * variation
        if c.flow_weight > 0:
            losses["flow"] = c.flow_weight * self._flow_distance(number, self._whole(self._now[0]))
        return losses

    def _draw(self, step: Step, view: int, done: int) -> Render:
        """This step's picture with its depth, drawn larger by chance and averaged."""
        c, factor = self.config, 1
        if c.supersampling > 1 and done >= c.supersampling_from * c.second_part:
            g = step.generator
            factor = 1 + int(torch.randint(c.supersampling, (), generator=g, device=g.device))
        if factor == 1:
            return step.draw(view, depth=True)
        camera = step.camera(view)
        fine = step.draw_from(camera.resized(camera.width * factor, camera.height * factor), depth=True)
        assert fine.depth is not None
        alpha = pooled(fine.alpha, factor)
        depth = pooled(fine.depth * fine.alpha, factor) / (alpha + 1e-6)
        drawn = replace(fine, rgb=pooled(fine.rgb, factor), alpha=alpha, depth=depth)
        step.renders[view] = drawn
        return drawn

    def _whole(self, depths: list[Tensor]) -> list[Tensor]:
        """Depths [h, w] of each view, the Gaussians' own [M], and the aligned ones where there is none."""
        return [
            z.flatten().index_copy(0, kept, own).reshape(z.shape)
            for z, kept, own in zip(self._aligned(), self.kept, depths, strict=True)
        ]

    def _flow_distance(self, number: int, depths: list[Tensor]) -> Tensor:
        """Distance, in units, from what one view shows to its matches in all others, by depths [h, w] (section 3.2)."""
        points = [self.centers[v] + z[..., None] * self.rays[v] for v, z in enumerate(depths)]
        own = [m.distance(points[number], points[m.j]) for m in self.matches if m.i == number]
        return torch.stack(own).sum()

    def after_step(self, step: Step) -> None:
        self._now = None


def _constant(rate: float) -> Rate:
    return lambda step: rate


def _cosine(start: float, steps: int) -> Rate:
    return lambda step: start * (1 + math.cos(math.pi * step / steps)) / 2


def _cyclic(low: float, high: float, half: float, done: int) -> Rate:
    """The rate that rises over `half` steps and falls over as many, to half the height in each cycle that follows."""

    def rate(step: int) -> float:
        at = (done + step) / max(half, 1.0)
        cycle = math.floor(at / 2)
        return low + (high - low) * max(0.0, 1 - abs(at - 2 * cycle - 1)) / 2**cycle

    return rate
