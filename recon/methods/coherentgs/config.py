"""Settings of CoherentGS: as released, as in the paper, and for two minutes on a processor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ....scene.errors import BadInputError
from ...optimise.train_config import TrainConfig, at_least, fraction
from ..method_contract import Inputs, background_of

MOST_VIEWS = 9
# Released values for 2, 3 and 4 photographs. From 5 to 9 on the capacity of the decoders grows as it does from 3 to 4;
# as many Gaussians as there are photographs lie on a surface, and their opacities a together stay those of four: then
# 1 - (1 - a)^N is the same.
DEPTH_CAPACITY = {2: 10, 3: 15, 4: 18}
OPACITY_CAPACITY = {2: 6, 3: 10, 4: 12}
INITIAL_OPACITY = {2: 0.6, 3: 0.5, 4: 0.35}


@dataclass(frozen=True)
class CoherentConfig(TrainConfig):
    """The released values, for 14,000 steps: 1,000 of alignment, 13,000 of the decoders.

    Lengths are in units in which the nearest surface is 4/3 away, as in the LLFF scenes that the values were found on.
    """

    preset: Literal["auto", "released", "paper", "quick"] = "auto"  # quick on a CPU, as released on a GPU.
    steps: int = 14_000  # Both stages.
    background: tuple[float, float, float] = (1.0, 1.0, 1.0)  # White: a hole in a training view is paid for.
    spacing_px: int = 1  # Pixels between Gaussians: one for each pixel, or for each square of this side.
    layers: int = 5  # Parts of a photograph by depth, each with a channel of its own in the decoders.
    # -- alignment of the monocular depth
    alignment: Literal["learned", "inverse", "off"] = "learned"  # Scale and offset of depth, of inverse depth, or none.
    alignment_steps: float = 1 / 14  # learned: fraction of the run.
    alignment_scale_lr: float = 1.0  # learned: rate of the scale at the start; it falls to 0 by a cosine.
    alignment_offset_lr: float = 5.0  # learned: rate of the offset.
    # -- decoders
    decoder: Literal["shared", "free"] = "shared"  # Residuals from decoders, or each Gaussian's own (an ablation).
    decoder_spacing: int = 1  # Gaussians along a side for each pixel of the decoders, which are enlarged in between.
    depth_capacity: int = 15  # Channels of the depth decoder are 16, 8 and 4 times this.
    opacity_capacity: int = 10  # Channels of the opacity decoder, likewise.
    initial_opacity: float = 0.5  # Opacity of every Gaussian at the start.
    depth_range: float = 50.0  # Most that a Gaussian moves along its ray.
    opacity_range: float = 100.0  # Most that its opacity logit changes.
    depth_lr: float = 1e-4  # Highest rate of the depth decoder in the first cycle; half in each that follows.
    depth_lr_low: float = 1e-6  # Lowest rate.
    depth_cycle: float = 1 / 13  # Fraction of the decoders' steps over which the rate rises, and falls again.
    opacity_lr: float = 1e-5  # The same for the opacity decoder.
    opacity_lr_low: float = 1e-6  # Lowest rate of it.
    opacity_cycle: float = 2 / 13  # Fraction over which it rises, and falls again.
    # -- Gaussians
    footprint: float = 1.2  # Size of a Gaussian, in half pixels.
    reset_every: int = 100  # Steps between two resets of the sizes to their pixels.
    reset_until: float = 8 / 13  # Fraction of the decoders' steps after which sizes are free.
    scale_lr: float = 1e-4  # Rate of the log-scales, when free.
    quat_lr: float = 1e-5  # Rate of the quaternions, when scales are free.
    color_lr: float = 0.0  # Rate of the base colours; 0 keeps those of the pixels, as released (paper: 5e-4).
    own_opacity_lr: float = 0.0  # Rate of each Gaussian's own opacity logit, once sizes are free; released: none.
    sh_rest_lr: float = 5e-5  # Rate of view-dependent colour.
    sh_degree: int = 3  # Highest degree of view-dependent colour, 0 to 3.
    sh_every: float = 1 / 13  # Fraction of the decoders' steps after which it rises again, once sizes are free.
    # -- losses
    pyramid: int = 5  # Sizes at which pictures are compared by L1, each half the one before.
    smoothness_weight: float = 5.0  # Weight of the total variation of disparity.
    layered_from: float = 0.35  # Share within layers at the start, 1 at the end (paper: from 0).
    flow_weight: float = 0.01  # Weight of the distance between matching pixels' Gaussians, as released (paper: 0.1).
    supersampling: int = 4  # Pictures are drawn at up to this many times their size, by chance, and averaged.
    supersampling_from: float = 5 / 13  # Fraction of the decoders' steps after which they are.
    # -- what no photograph shows
    unseen: Literal["empty", "filled"] = "empty"  # Left empty, or guessed from what is around it.
    border: float = 0.25  # filled: how far beyond each photograph, in its longer sides.

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(
            self,
            1,
            "spacing_px",
            "layers",
            "decoder_spacing",
            "depth_capacity",
            "opacity_capacity",
            "reset_every",
            "pyramid",
        )
        at_least(self, 1, "supersampling")
        at_least(self, 0, "alignment_scale_lr", "alignment_offset_lr", "depth_range", "opacity_range", "depth_lr")
        at_least(
            self, 0, "depth_lr_low", "opacity_lr", "opacity_lr_low", "footprint", "scale_lr", "quat_lr", "color_lr"
        )
        at_least(self, 0, "own_opacity_lr", "sh_rest_lr", "smoothness_weight", "flow_weight", "border")
        fraction(self, "alignment_steps", "depth_cycle", "opacity_cycle", "reset_until", "sh_every", "layered_from")
        fraction(self, "supersampling_from")
        choices = {
            "preset": ("auto", "released", "paper", "quick"), "alignment": ("learned", "inverse", "off"),
            "decoder": ("shared", "free"), "unseen": ("empty", "filled"),
        }  # fmt: skip
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise BadInputError(f"{name} is '{getattr(self, name)}'; {', '.join(known)} is expected.")
        if not 0 < self.initial_opacity < 1 or not 0 <= self.sh_degree <= 3:
            raise BadInputError(
                "initial_opacity in (0, 1) and a degree from 0 to 3 are expected, found "
                f"{self.initial_opacity} and {self.sh_degree}."
            )

    @property
    def first_part(self) -> int:
        """Steps of the alignment."""
        return int(self.alignment_steps * self.steps) if self.alignment == "learned" else 0

    @property
    def second_part(self) -> int:
        """Steps of the decoders."""
        return self.steps - self.first_part

    @property
    def bound_steps(self) -> int:
        """Steps of the second part in which sizes are those of pixels."""
        return int(self.reset_until * self.second_part)

    def degree_at(self, done: int) -> int:
        """Degree of view-dependent colour after so many steps of the second part."""
        if done < self.bound_steps:
            return 0
        if self.sh_every == 0:
            return self.sh_degree
        return min(self.sh_degree, 1 + int((done - self.bound_steps) / (self.sh_every * self.second_part)))

    def layered_share(self, done: int) -> float:
        """Share g of the total variation that is taken within layers, after so many steps of the second part."""
        return self.layered_from + (1 - self.layered_from) * done / self.second_part

    @classmethod
    def paper(cls, **changes: Any) -> CoherentConfig:
        """Values as the paper has them, where the released code has others."""
        return cls(**({"color_lr": 5e-4, "layered_from": 0.0, "flow_weight": 0.1} | changes))

    @classmethod
    def quick(cls, **changes: Any) -> CoherentConfig:
        """Values for two minutes on a processor.

        Found on three of the bundled photographs, which are ray cast, by the nine others. Gaussians every second pixel;
        sizes, colours and opacities are soon free, which gains 1.4 dB in so few steps.
        """
        values: dict[str, Any] = {
            "steps": 300, "spacing_px": 2, "alignment": "inverse",
            "decoder_spacing": 2, "depth_capacity": 2, "opacity_capacity": 2,
            "depth_lr": 1e-3, "depth_lr_low": 1e-4, "opacity_lr": 1e-3, "opacity_lr_low": 1e-4,
            "depth_cycle": 0.25, "opacity_cycle": 0.25, "flow_weight": 0.1, "reset_until": 0.1,
            "sh_degree": 0, "quat_lr": 1e-2, "scale_lr": 3e-2, "color_lr": 1e-2, "own_opacity_lr": 5e-2,
            "supersampling": 1, "unseen": "filled", "gaussian_dropout": 0.3,
        }  # fmt: skip
        return cls(**(values | changes))


def configure(inputs: Inputs, asked: Mapping[str, Any]) -> CoherentConfig:
    """Config for some photographs: the fields that are asked for, and for the rest what suits them and the device.

    Raises BadInputError unless there are two to nine photographs to train on.
    """
    views = len(inputs.dataset.train)
    if not 2 <= views <= MOST_VIEWS:
        raise BadInputError(
            f"coherentgs needs 2 to {MOST_VIEWS} photographs to train on, found {views}: take --method 3dgs, or "
            "--views to train on fewer."
        )
    preset = asked.get("preset", "auto")
    if preset == "auto":
        preset = "quick" if inputs.on_cpu else "released"
    presets: dict[str, Callable[..., CoherentConfig]] = {
        "released": CoherentConfig, "paper": CoherentConfig.paper, "quick": CoherentConfig.quick
    }  # fmt: skip
    values: dict[str, Any] = {"initial_opacity": initial_opacity(views)}
    if preset == "quick":
        values["background"] = background_of(inputs.dataset)
    else:
        values |= {"depth_capacity": capacity(DEPTH_CAPACITY, views)}
        values |= {"opacity_capacity": capacity(OPACITY_CAPACITY, views)}
    return presets.get(preset, CoherentConfig)(**(values | dict(asked)))  # which refuses others


def capacity(released: Mapping[int, int], views: int) -> int:
    """Capacity of a decoder for so many photographs."""
    return released.get(views, released[4] + (released[4] - released[3]) * (views - 4))


def initial_opacity(views: int) -> float:
    """Opacity of every Gaussian at the start for so many photographs."""
    if views in INITIAL_OPACITY:
        return INITIAL_OPACITY[views]
    return 1 - (1 - INITIAL_OPACITY[4]) ** (4 / views)
