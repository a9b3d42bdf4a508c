"""Every number of SparseFusion that is chosen: the paper's, and a tiny model that trains on two CPU cores."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from ...scene.errors import BadInputError

Preset = Literal["paper", "paper-swin", "tiny"]


@dataclass(frozen=True)
class SparseFusionConfig:
    """The defaults are the released ResNet-50 model; `preset` gives the others."""

    # The parts that are there; each can be left out to see what it is worth.
    use_images: bool = True  # without: LiDAR alone, which is TransFusion-L
    use_lidar: bool = True  # without: cameras alone
    semantic_transfer: bool = True  # camera features help to choose the LiDAR queries
    geometric_transfer: bool = True  # LiDAR depths go into the image features

    # Space.
    point_range_m: tuple[float, ...] = (-54.0, -54.0, -5.0, 54.0, 54.0, 3.0)  # x, y, z from, then x, y, z to
    voxel_m: tuple[float, float, float] = (0.075, 0.075, 0.2)  # x, y, z
    points_per_voxel: int = 10  # the first ones are averaged, the others dropped
    max_voxels_train: int = 120_000  # of a sample, in the order of their first points
    max_voxels_test: int = 160_000  # the same in evaluation
    sweeps: int = 11  # LiDAR sweeps of a sample: the key sweep and those before it

    # LiDAR trunk.
    encoder_channels: tuple[int, ...] = (16, 32, 64, 128)  # of the stages; each but the last halves the resolution
    bev_channels: tuple[int, int] = (128, 256)  # of the BEV backbone's two blocks
    bev_layers: int = 5  # convolutions in a block after its first
    bev_neck_channels: int = 256  # of each of the neck's two halves
    lidar_frozen: bool = True  # whether trunk and decoder keep the weights that they start from, beside images

    # Image trunk.
    image_width_px: int = 800  # of the network's input, a multiple of 32
    image_height_px: int = 448  # the same
    image_backbone: Literal["resnet50", "swin_t", "light"] = "resnet50"  # light: four stages of residual blocks
    light_channels: tuple[int, ...] = (16, 32, 48, 64)  # of the light backbone's stages
    neck_channels: int = 256  # of the image feature pyramid
    image_frozen: bool = True  # whether the stem and the first stage stay, and batch norms use their stored statistics

    # Queries and transformers.
    lidar_queries: int = 200  # for each sample
    image_queries: int = 200  # for each sample, over all its views
    hidden_channels: int = 128  # of queries and of the features that they attend to
    attention_heads: int = 8  # of every attention
    ffn_channels: int = 256  # hidden, of every feed-forward part
    head_channels: int = 64  # hidden, of every prediction head
    dropout: float = 0.1  # probability, in the transformers

    # Training.
    epochs: int = 6  # over the class-balanced samples
    batch_size: int = 4  # samples of one step of one process
    learning_rate: float = 1e-4  # at the start of the cycle
    peak_lr_factor: float = 8.0  # the cycle's highest rate, at 40 % of the steps, over its first
    trunk_lr_factor: float = 0.1  # of the image trunk
    lidar_lr_factor: float = 0.1  # of the LiDAR's parts, beside images: they start from a LiDAR detector's weights
    weight_decay: float = 0.01  # of AdamW
    backbone_decay_factor: float = 1.0  # of the image backbone's weight decay
    max_gradient_norm: float = 0.1  # L2 over all parameters; larger gradients are scaled down
    position_loss_weight: float = 0.25  # of the boxes' L1 in the LiDAR, view and fusion stages
    heatmap_loss_weight: float = 0.1  # of both heatmaps
    max_rotation_rad: float = 0.785  # of the augmentation, either way
    scale_range: tuple[float, float] = (0.9, 1.1)  # of the world's and of each image's random scale
    shift_std_m: float = 0.5  # of the world's random shift along each axis
    balance_classes: bool = True  # whether samples with rare classes are seen more often (CBGS)

    def __post_init__(self) -> None:
        if not (self.use_images or self.use_lidar):
            raise BadInputError("A detector without images and without LiDAR has nothing to see; leave one of them on.")
        if self.image_width_px % 32 or self.image_height_px % 32:
            raise BadInputError(
                f"Images of {self.image_width_px} x {self.image_height_px} pixels do not fit the network; "
                "multiples of 32 are expected."
            )
        if self.hidden_channels % self.attention_heads:
            raise BadInputError(
                f"{self.hidden_channels} channels cannot be shared among {self.attention_heads} attention heads."
            )
        nx, ny, _ = self.grid
        if nx % self.bev_stride or ny % self.bev_stride:
            raise BadInputError(
                f"A grid of {nx} x {ny} voxels cannot be divided by {self.bev_stride}; choose another voxel size."
            )

    @property
    def fuses(self) -> bool:
        """True where there are queries of both kinds."""
        return self.use_images and self.use_lidar

    @property
    def freezes_lidar(self) -> bool:
        """A LiDAR detector alone learns in any case."""
        return self.lidar_frozen and self.fuses

    @property
    def transfers_semantics(self) -> bool:
        return self.fuses and self.semantic_transfer

    @property
    def transfers_geometry(self) -> bool:
        return self.fuses and self.geometric_transfer

    @property
    def grid(self) -> tuple[int, int, int]:
        """Voxels along x, y, z."""
        low, high = self.point_range_m[:3], self.point_range_m[3:]
        nx, ny, nz = (round((b - a) / v) for a, b, v in zip(low, high, self.voxel_m, strict=True))
        return nx, ny, nz

    @property
    def bev_stride(self) -> int:
        """Voxels along the side of a BEV cell."""
        return int(2 ** (len(self.encoder_channels) - 1))

    @property
    def bev_size(self) -> tuple[int, int]:
        """BEV cells along x, y."""
        return self.grid[0] // self.bev_stride, self.grid[1] // self.bev_stride

    @property
    def cell_m(self) -> tuple[float, float]:
        """Size of a BEV cell along x, y."""
        return self.voxel_m[0] * self.bev_stride, self.voxel_m[1] * self.bev_stride


def preset(name: Preset) -> SparseFusionConfig:
    """`paper` (ResNet-50), `paper-swin` (Swin-T), or `tiny`, all of which learns from random weights."""
    if name == "paper":
        return SparseFusionConfig()
    if name == "paper-swin":
        return replace(
            SparseFusionConfig(),
            image_backbone="swin_t",
            image_frozen=False,
            batch_size=3,
            learning_rate=7.5e-5,
            backbone_decay_factor=5.0,
        )
    return SparseFusionConfig(
        voxel_m=(0.3, 0.3, 0.4),
        max_voxels_train=30_000,
        max_voxels_test=30_000,
        sweeps=3,
        encoder_channels=(16, 24, 32),
        bev_channels=(32, 64),
        bev_layers=2,
        bev_neck_channels=32,
        lidar_frozen=False,
        image_width_px=256,
        image_height_px=160,
        image_backbone="light",
        neck_channels=32,
        image_frozen=False,
        lidar_queries=80,
        image_queries=80,
        hidden_channels=32,
        attention_heads=4,
        ffn_channels=64,
        head_channels=32,
        dropout=0.0,
        epochs=20,
        batch_size=2,
        learning_rate=3e-4,
        peak_lr_factor=5.0,
        trunk_lr_factor=1.0,
        lidar_lr_factor=1.0,
        max_gradient_norm=5.0,
        heatmap_loss_weight=1.0,
        balance_classes=False,
    )
