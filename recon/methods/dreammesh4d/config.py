"""Settings of DreamMesh4D: as released, and for a run of minutes on a processor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ....scene.errors import BadInputError
from ...optimise.train_config import TrainConfig, at_least, fraction
from ..method_contract import Inputs
from ..moving_capture import require_times
from .face_gaussians import PLACES
from .mattes import require_mattes

STEPS_CPU = 2500


@dataclass(frozen=True)
class DreamMesh4dConfig(TrainConfig):
    """The released values. Lengths are in the unit of the mesh, half of its longest side.

    The first part of the run, `static_steps`, refines the mesh and its Gaussians at one moment; moments of the second
    part, which moves them, are fractions of it.
    """

    preset: Literal["auto", "paper", "quick"] = "auto"  # quick on a CPU, as released on a GPU, for what is not asked.
    steps: int = 4000  # Both parts.
    background: tuple[float, float, float] = (1.0, 1.0, 1.0)
    result_moments: int = 0  # Moments at which the motion is kept; 0 for twice the photographs' own, at most 300.
    # -- the mesh and its Gaussians
    max_faces: int = 20_000  # A mesh with more is simplified.
    per_face: int = 6  # Gaussians on each face: 1, 3, 4 or 6.
    initial_scale: float = 1.3  # Factor on their sizes at the start; 1 is that of circles which fill a face.
    initial_opacity: float = 0.9  # Of the Gaussians at the start.
    # -- first part: the static mesh
    static_steps: float = 0.5  # Fraction of the run; 0 for none.
    reference: int = 0  # Number of the moment, in the order of time, that the mesh is the shape of.
    vertex_lr: float = 4.8e-4  # Learning rate of the vertices; 0 leaves them where they are.
    color_lr: float = 1e-3  # Learning rate of the colours.
    opacity_lr: float = 0.02  # Learning rate of the opacities.
    size_lr: float = 5e-3  # Of the log-sizes within the face.
    spin_lr: float = 1e-3  # Of the angles within the face.
    static_rgb_weight: float = 1000.0  # Weight of the picture's error within the matte.
    static_mask_weight: float = 100.0  # Weight of the squared error of the outline.
    static_normal_weight: float = 10.0  # Weight of the angles between neighbouring faces.
    static_laplacian_weight: float = 1.0  # Weight of how far vertices are from the mean of their neighbours.
    variation_weight: float = 1.0  # Weight of the variation of colours, normals and depth from sides not photographed.
    static_prior_weight: float = 0.01  # Weight of the view prior, where there is one.
    static_prior_views: int = 4  # Pictures for it in each step.
    # -- deformation graph
    nodes: int = 1000  # Nodes of the graph.
    neighbours: int = 4  # Nodes that carry a vertex.
    node_sampling: Literal["random", "spread"] = "random"  # Nodes by chance, or such that lie far from each other.
    links: Literal["geodesic", "euclidean"] = "geodesic"  # Nearest along the surface, or straight through the air.
    link_weights: Literal["clamped", "released"] = "clamped"  # Released ones can grow with the distance.
    # -- skinning
    skinning: Literal["hybrid", "lbs", "dqs"] = "hybrid"  # A learned blend, linear blending, or dual quaternions.
    blend_offset: float = 0.4  # Added to the share of linear blending, as released; the paper has none.
    antipodal: bool = True  # Take q and -q for one rotation; the released code does not.
    pivot: Literal["origin", "nodes"] = "origin"  # Nodes turn about the mesh's middle, as released, or each its own.
    # -- network
    channels: int = 32  # Of each plane and scale.
    plane_resolution: int = 64  # Cells of a plane along an axis of space.
    time_resolution: int = 25  # Cells of a plane along time.
    scales: tuple[int, ...] = (1, 2, 4, 8)  # Factors on the resolution in space.
    net_width: int = 64  # Channels of the layer behind the planes.
    network_lr: float = 3.2e-4  # Learning rate of the layers.
    plane_lr: float = 3.2e-3  # Learning rate of the planes.
    lr_final: float = 1.0  # Factor on both at the end of the run, reached log-linearly; released ones are constant.
    # -- second part: the motion
    frames_per_step: int = 4  # Photographs of a step.
    join_until: float = 0.0  # Fraction of the second part over which moments join, outwards; 0 for all at once.
    image_loss: Literal["squared", "image"] = "squared"  # Squared error, as released, or L1 and 1 - SSIM.
    rgb_weight: float = 5000.0  # Weight of the picture's error.
    mask_weight: float = 500.0  # Weight of the squared error of the outline at first.
    mask_weight_final: float = 5000.0  # And at `mask_until`, reached linearly from `mask_from` on.
    mask_from: float = 0.1  # Fraction of the second part.
    mask_until: float = 0.5  # Fraction of the second part.
    normal_weight: float = 100.0  # Weight of the angles between neighbouring faces.
    arap_weight: float = 10.0  # Weight of the as-rigid-as-possible energy at the step's moments.
    arap_from: float = 0.05  # Fraction of the second part from which that energy is looked at.
    between_weight: float = 0.0  # Weight of that energy at moments between; the paper has 10, the release disables it.
    between_every: int = 1  # Steps between two looks at it, which weigh that much more.
    between_window: float = 0.1  # Share of the time in which these moments lie.
    between_moments: int = 10  # Of them in each look.
    prior_weight: float = 0.1  # Weight of the view prior, where there is one.
    prior_views: int = 1  # Pictures for it of each frame.

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "max_faces", "nodes", "neighbours", "channels", "plane_resolution", "time_resolution")
        at_least(self, 1, "net_width", "frames_per_step", "between_every", "between_moments")
        at_least(self, 0, "reference", "result_moments", "static_prior_views", "prior_views", "blend_offset")
        at_least(self, 0, "vertex_lr", "color_lr", "opacity_lr", "size_lr", "spin_lr", "network_lr", "plane_lr")
        at_least(self, 0, "static_rgb_weight", "static_mask_weight", "static_normal_weight", "static_laplacian_weight")
        at_least(self, 0, "variation_weight", "static_prior_weight", "rgb_weight", "mask_weight", "mask_weight_final")
        at_least(self, 0, "normal_weight", "arap_weight", "between_weight", "prior_weight")
        fraction(
            self, "static_steps", "mask_from", "mask_until", "arap_from", "join_until", "between_window", "lr_final"
        )
        choices = {
            "preset": ("auto", "paper", "quick"), "per_face": tuple(PLACES), "node_sampling": ("random", "spread"),
            "links": ("geodesic", "euclidean"), "link_weights": ("clamped", "released"),
            "skinning": ("hybrid", "lbs", "dqs"), "pivot": ("origin", "nodes"), "image_loss": ("squared", "image"),
        }  # fmt: skip
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise BadInputError(f"{name} is {getattr(self, name)!r}; {', '.join(map(str, known))} is expected.")
        if not self.scales or min(self.scales) < 1:
            raise BadInputError(f"scales is {self.scales}; whole numbers of at least 1 are expected.")
        if self.neighbours > 16 or self.result_moments == 1 or not 0 < self.initial_opacity < 1:
            raise BadInputError(
                "neighbours from 1 to 16, result_moments 0 or from 2 on and initial_opacity in (0, 1) are expected, "
                f"found {self.neighbours}, {self.result_moments} and {self.initial_opacity}."
            )
        if not 0 < self.initial_scale < float("inf") or self.static_part == self.steps:
            raise BadInputError(
                "initial_scale above 0 and static_steps that leave some to the motion are expected, found "
                f"{self.initial_scale} and {self.static_steps}."
            )

    @property
    def static_part(self) -> int:
        """Steps of the first part."""
        return int(self.static_steps * self.steps)

    @property
    def moving_part(self) -> int:
        return self.steps - self.static_part

    def mask_weight_at(self, share: float) -> float:
        """Weight of the outline at a share of the second part."""
        if share <= self.mask_from:
            return self.mask_weight
        done = min(1.0, (share - self.mask_from) / max(1e-9, self.mask_until - self.mask_from))
        return self.mask_weight + done * (self.mask_weight_final - self.mask_weight)

    @classmethod
    def quick(cls, **changes: Any) -> DreamMesh4dConfig:
        """Values for minutes on a processor."""
        values: dict[str, Any] = {
            "steps": STEPS_CPU, "static_steps": 0.2, "max_faces": 6000, "nodes": 200, "node_sampling": "spread",
            "channels": 8, "plane_resolution": 32, "time_resolution": 16, "scales": (1, 2), "pivot": "nodes",
            "color_lr": 1e-2, "opacity_lr": 0.05, "size_lr": 1e-2, "spin_lr": 5e-3,
            "network_lr": 5e-3, "plane_lr": 5e-2, "lr_final": 0.1, "frames_per_step": 1, "static_prior_views": 1,
            "join_until": 0.7, "arap_weight": 3.0,
            "variation_weight": 0.0,
            "between_weight": 3.0, "between_every": 4, "between_moments": 4,
        }  # fmt: skip
        return cls(**(values | changes))


def configure(inputs: Inputs, asked: Mapping[str, Any]) -> DreamMesh4dConfig:
    """Config for some photographs: the fields that are asked for, and for the rest what suits the device."""
    require_times(inputs.capture, "dreammesh4d")
    require_mattes(inputs)
    quick = asked.get("preset", "auto") == "quick" or (asked.get("preset", "auto") == "auto" and inputs.on_cpu)
    # A mesh that is given is right: the outlines of Gaussians, which reach beyond their faces, would make it thinner.
    values = {"vertex_lr": 0.0} if quick and inputs.mesh_is_given else {}
    return (DreamMesh4dConfig.quick if quick else DreamMesh4dConfig)(**(values | dict(asked)))
