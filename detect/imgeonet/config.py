"""Every number of ImGeoNet that is chosen: the paper's, and a tiny model that trains on two CPU cores."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from ...scene.datasets.scannet_classes import DETECTION_CLASSES
from ...scene.errors import BadInputError
from ..tasks.indoor_task import ARKIT_CLASSES

Preset = Literal["paper", "paper-arkit", "tiny"]
SCALES = 3  # of the 3D networks and the head; each halves the voxels of the one before


@dataclass(frozen=True)
class ImGeoNetConfig:
    """The defaults are the released ScanNet model; `preset` gives the others."""

    classes: tuple[str, ...] = DETECTION_CLASSES  # in the order of the labels
    yaw: bool = False  # whether boxes turn about the vertical axis; without it they lie along the axes
    geometry: bool = True  # whether voxels are weighted by their occupancy; without it the network is ImVoxelNet

    # Space.
    voxels: tuple[int, int, int] = (40, 40, 16)  # along x, y, z; multiples of 4
    voxel_m: float = 0.16  # edge of a voxel
    # Middle of the volume: a fixed point of the axis-aligned scene, or a place relative to the mean camera position.
    origin: Literal["scene", "cameras"] = "scene"
    origin_m: tuple[float, float, float] = (0.0, 0.0, 0.5)  # that point, or the offset from the mean camera position
    # From the mean camera position along the mean viewing direction, level; cameras that look all around have none.
    look_ahead_m: float = 0.0
    shift_std_m: tuple[float, float, float] = (0.7, 0.7, 0.0)  # of the volume's random shift in training

    # Photographs.
    image_width_px: int = 640  # of the network's input, a multiple of 32; photographs fill it without changing shape
    image_height_px: int = 480  # the same
    train_views: int = 20  # photographs of a room in a training step, drawn by chance
    test_views: int = 50  # in evaluation, evenly spaced; all where a room has fewer
    views_at_once: int = 4  # that pass the image network together in evaluation, which bounds the memory

    # Image network.
    image_backbone: Literal["resnet50", "efficientnet-lite0", "light"] = "resnet50"  # light: four residual blocks
    light_channels: tuple[int, ...] = (16, 32, 48, 64)  # of the light backbone's stages
    # Parts that keep their weights: none, the stem with the first stage, or the whole backbone. In the last two cases
    # batch norms use their stored statistics.
    image_frozen: Literal["none", "stem", "all"] = "stem"
    # Of the map with stride 4 that is taken from the feature pyramid, and of the neck's finest scale; each coarser one
    # has twice as many.
    feature_channels: int = 256

    # 3D networks.
    occupancy_channels: int = 128  # of the occupancy network's finest scale, the same
    head_channels: int = 128  # of each scale that the head sees

    # Training.
    epochs: int = 36  # passes over the rooms; the release counts 12 epochs of three passes each
    batch_size: int = 1  # rooms of one step of one process
    learning_rate: float = 1e-4  # of AdamW
    backbone_lr_factor: float = 0.1  # of the image backbone
    weight_decay: float = 1e-4  # of AdamW
    rate_drops: tuple[float, ...] = (8 / 12, 11 / 12)  # parts of the run after which rates fall to a tenth
    max_gradient_norm: float = 35.0  # L2 over all parameters; larger gradients are scaled down
    occupancy_loss_weight: float = 10.0  # of the occupancy's focal loss
    surface_margin_m: float = 0.32  # from the depth that a camera measured, within which a voxel is occupied
    anchors_needed: int = 27  # inside of a box on the scale that learns it
    positives: int = 18  # anchors of a box that learn it, at most: those nearest to its middle

    # Boxes.
    candidates: int = 1000  # voxels of each scale with the highest scores that give a box
    min_score: float = 0.01  # of a box
    nms_iou: float = 0.25  # overlap with a box of the same class and a higher score, above which a box goes

    def __post_init__(self) -> None:
        if not self.classes or len(set(self.classes)) != len(self.classes):
            raise BadInputError(f"classes {list(self.classes)} cannot be used; one name or more, all different.")
        if any(n < 4 or n % 4 for n in self.voxels):
            raise BadInputError(f"voxels {self.voxels} cannot be used; three multiples of 4 are expected.")
        if self.image_width_px % 32 or self.image_height_px % 32:
            raise BadInputError(
                f"Images of {self.image_width_px} x {self.image_height_px} pixels do not fit the network; "
                "multiples of 32 are expected."
            )
        for name in ("voxel_m", "train_views", "test_views", "views_at_once", "candidates"):
            if getattr(self, name) <= 0:
                raise BadInputError(f"{name} is {getattr(self, name)}; a number above 0 is expected.")


def preset(name: Preset) -> ImGeoNetConfig:
    """`paper` (ScanNet), `paper-arkit` (ARKitScenes: 17 classes, boxes with a yaw), or `tiny`."""
    if name == "paper":
        return ImGeoNetConfig()
    if name == "paper-arkit":
        return replace(
            ImGeoNetConfig(),
            classes=ARKIT_CLASSES,
            yaw=True,
            origin="cameras",
            origin_m=(0.0, 0.0, 0.0),
            image_width_px=256,
            image_height_px=192,
            batch_size=8,
            min_score=0.0,
            nms_iou=0.15,
        )
    return ImGeoNetConfig(
        voxels=(32, 32, 12),
        voxel_m=0.2,
        origin="cameras",
        origin_m=(0.0, 0.0, -0.3),
        look_ahead_m=2.5,
        shift_std_m=(0.3, 0.3, 0.0),
        image_width_px=160,
        image_height_px=128,
        train_views=10,
        views_at_once=10,
        image_backbone="efficientnet-lite0",
        image_frozen="all",
        feature_channels=32,
        occupancy_channels=16,
        head_channels=32,
        epochs=24,
        learning_rate=1e-3,
        max_gradient_norm=10.0,
    )
