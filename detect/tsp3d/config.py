"""Every number of TSP3D that is chosen: the released ones, and a tiny network that trains on two CPU cores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ...scene.errors import BadInputError
from ..text.text_encoders import TextKind

Preset = Literal["paper", "tiny"]


@dataclass(frozen=True)
class TSP3DConfig:
    """The defaults are the released model; `preset` gives the others."""

    # The parts that are there; each can be left out to see what it is worth.
    pruning: bool = True  # text-guided pruning; without it the decoder's voxels are the backbone's
    completion: bool = True  # completion-based addition of voxels that pruning took

    # The scan.
    points: int = 50_000  # of a scan: a fixed random part of larger ones
    voxel_m: float = 0.01  # edge of the voxels that the backbone starts from

    # Backbone.
    stem_channels: int = 64  # of the first convolution
    stem_strides: int = 4  # of convolution and pooling together: 4 (both halve) or 1 (neither)
    blocks: tuple[int, ...] = (3, 4, 6, 3)  # residual blocks of the four stages, each of which halves the resolution
    stage_channels: tuple[int, ...] = (64, 128, 128, 128)  # of the four stages; the last three must be equal

    # Text.
    text: TextKind = "roberta"  # roberta (of the person's), minilm (out of a package), words (learnt from scratch)
    text_folder: str = ""  # of the text encoder's files, where they are not in a package
    text_dropout: bool = True  # whether the frozen encoder's own dropout is active in training, as in the release

    # Transformers.
    attention_layers: int = 2  # of each of the three transformers
    attention_heads: int = 8  # of every attention
    ffn_channels: int = 128  # hidden, of every feed-forward part
    dropout: float = 0.1  # probability, in the transformers

    # Pruning and addition.
    surface_only: bool = False  # whether the decoder grows onto the backbone's voxels alone, and not into empty space
    coarse_cap: int = 320  # voxels of a scene that the coarse transformer sees in training, drawn at random
    middle_cap: int = 3200  # the same of the middle transformer
    middle_top: int = 4000  # voxels of a scene kept before the middle transformer in training
    fine_top_range: tuple[int, int] = (1200, 4000)  # of the random number that is kept before the output in training
    coarse_threshold: float = 0.7  # of the probability to keep a voxel, on the way to the middle level
    middle_threshold: float = 0.3  # the same on the way to the finest level
    completion_cap: int = (
        2400  # voxels of a scene that may be added back, drawn at random; in evaluation always the same
    )
    completion_threshold: float = 0.15  # of the probability to add a voxel
    keep_half_edges_m: tuple[float, float] = (1.04, 0.52)  # of the cubes about boxes in which voxels are to be kept

    # Supervision.
    positives: int = 32  # voxels nearest to a box that learn it
    jitter: float = 0.05  # of the boxes' numbers in training, either way
    jitter_centers: bool = False  # whether their centres' coordinates are scaled, too, as in the release

    # Training.
    epochs: int = 90  # over all sentences; the released scripts stop by hand
    batch_size: int = 7  # scans of one step of one process
    sentences_per_scan: int = 1  # learnt together in a step, so that the backbone sees their scan once
    prompts_per_scan: int = 0  # detection prompts beside them: "chair . table .", whose targets are all of those
    learning_rate: float = 5e-4  # of AdamW
    weight_decay: float = 5e-4  # of AdamW
    max_gradient_norm: float = 0.1  # L2 over all parameters; larger gradients are scaled down
    milestones: tuple[float, ...] = (0.57, 0.84)  # shares of the run after which the rate is a tenth
    warm_up: float = 0.0  # share of the run in which the rate rises from 0
    names: tuple[str, ...] = ()  # of the objects that it was trained on, for people

    def __post_init__(self) -> None:
        if len(self.blocks) != 4 or len(self.stage_channels) != 4:
            raise BadInputError(f"Four stages are expected, found {self.blocks} and {self.stage_channels}.")
        if len({*self.stage_channels[1:]}) != 1:
            raise BadInputError(f"The last three stages need equal channels, found {self.stage_channels[1:]}.")
        if self.channels % self.attention_heads:
            raise BadInputError(f"{self.channels} channels cannot be shared among {self.attention_heads} heads.")
        if self.stem_strides not in (1, 4):
            raise BadInputError(f"stem_strides is {self.stem_strides}; 1 or 4 is expected.")
        if self.voxel_m <= 0:
            raise BadInputError(f"voxel_m is {self.voxel_m}; a positive length is expected.")
        if self.points < 1 or min(self.coarse_cap, self.middle_cap, self.middle_top, self.completion_cap) < 1:
            raise BadInputError("Numbers of points and voxels should be positive.")

    @property
    def level_edges_m(self) -> tuple[float, float, float]:
        """Edges of the voxels of the coarse, the middle and the fine level."""
        coarse, middle, fine = (self.voxel_m * self.stem_strides * steps for steps in (16, 8, 4))
        return coarse, middle, fine

    @property
    def channels(self) -> int:
        """Channels of the three levels that the decoder works on, and of everything after."""
        return self.stage_channels[-1]


def preset(name: Preset) -> TSP3DConfig:
    """`paper`, or `tiny`, whose voxels start at 4 cm so that its levels have the released sizes."""
    if name == "paper":
        return TSP3DConfig()
    return TSP3DConfig(
        points=30_000,
        voxel_m=0.04,
        stem_channels=16,
        stem_strides=1,
        blocks=(1, 1, 1, 1),
        stage_channels=(24, 48, 48, 48),
        text="minilm",
        text_dropout=False,
        attention_layers=1,
        attention_heads=3,
        ffn_channels=96,
        dropout=0.0,
        coarse_cap=320,
        surface_only=True,
        middle_cap=1000,
        middle_top=1000,
        fine_top_range=(600, 1200),
        completion_cap=800,
        epochs=6,
        batch_size=4,
        sentences_per_scan=4,
        prompts_per_scan=1,
        learning_rate=1.5e-3,
        weight_decay=0.01,
        max_gradient_norm=1.0,
        milestones=(0.7, 0.9),
        warm_up=0.03,
    )
