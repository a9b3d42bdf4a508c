"""Training cameras that are refined together with the scene."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ...scene.cameras import Cameras
from ...scene.geometry import se3_exp
from .adam import Optimiser, update
from .table import Table
from .train_config import TrainConfig


class CameraRefinement:
    """A twist (rotation vector in radians, translation) for each view, applied on the left of cam_from_world."""

    def __init__(self, cameras: Cameras, config: TrainConfig, scene_scale: float) -> None:
        self._cameras, self._config, self._scene_scale = cameras, config, scene_scale
        self.table = Table({"twists": torch.zeros(len(cameras), 6, device=cameras.K.device)})

    def pose(self, view: int) -> Tensor:
        """cam_from_world [4, 4] of a view; differentiable where poses are refined."""
        cam_from_world = self._cameras.cam_from_world[view]
        return se3_exp(self.table["twists"][view]) @ cam_from_world if self._config.refine_poses else cam_from_world

    def update(self, step: int) -> None:
        """Apply the gradients of a step of the run."""
        if self._config.refine_poses:
            update(self.table.columns["twists"], Optimiser(self._rates), step)

    def cameras(self) -> Cameras:
        """The cameras of all views as they are now; those that were never drawn are as they were."""
        if not self._config.refine_poses:
            return self._cameras
        with torch.no_grad():
            refined = se3_exp(self.table["twists"]) @ self._cameras.cam_from_world
        return replace(self._cameras, cam_from_world=refined)

    def _rates(self, step: int) -> Tensor:
        c = self._config
        decay = max(c.pose_lr_final, 1e-12) ** (step / c.steps)
        rotation, translation = c.pose_rotation_lr * decay, c.pose_translation_lr * decay * self._scene_scale
        return torch.tensor([rotation] * 3 + [translation] * 3)
