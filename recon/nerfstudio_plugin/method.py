"""The specification of the method for `ns-train`: its parts, and learning rates as InstantSplat has them."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

import torch
from nerfstudio.configs.base_config import LocalWriterConfig, LoggingConfig, MachineConfig, ViewerConfig
from nerfstudio.engine.optimizers import AdamOptimizerConfig
from nerfstudio.engine.schedulers import Scheduler, SchedulerConfig
from nerfstudio.engine.trainer import TrainerConfig
from nerfstudio.plugins.types import MethodSpecification
from nerfstudio.utils.writer import EventName

from ..methods.instantsplat.config import RATE_HORIZON, instantsplat_config
from .datamanager import PhotographsConfig
from .model import InstantSplatModelConfig
from .pipeline import InstantSplatPipelineConfig

_PAPER = instantsplat_config()


@dataclass
class LogLinearConfig(SchedulerConfig):
    """A learning rate that falls log-linearly."""

    _target: type = field(default_factory=lambda: LogLinear)
    """target class to instantiate"""
    factor: float = 0.01
    """Factor on the learning rate after `steps`."""
    steps: int = 1000
    """Steps after which the factor is reached; it goes on falling."""


class LogLinear(Scheduler):
    """nerfstudio's own exponential decay keeps NumPy numbers, with which PyTorch 2.6 refuses to load a checkpoint."""

    config: LogLinearConfig

    def get_scheduler(self, optimizer: torch.optim.Optimizer, lr_init: float) -> torch.optim.lr_scheduler.LRScheduler:
        factor, steps = self.config.factor, self.config.steps
        return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: factor ** (step / steps))


class Shown(enum.Enum):
    """Figures that nerfstudio measures, but has no name for in its table of steps."""

    TRAIN_LOSS = "Train Loss"


def _adam(lr: float) -> AdamOptimizerConfig:
    return AdamOptimizerConfig(lr=lr, eps=1e-15)


fewview_instantsplat = MethodSpecification(
    config=TrainerConfig(
        method_name="fewview-instantsplat",
        max_num_iterations=_PAPER.steps,
        steps_per_save=_PAPER.steps,
        steps_per_eval_batch=0,
        steps_per_eval_image=100,
        steps_per_eval_all_images=_PAPER.steps,
        machine=MachineConfig(device_type="cuda" if torch.cuda.is_available() else "cpu"),
        pipeline=InstantSplatPipelineConfig(
            datamanager=PhotographsConfig(cache_images_type="uint8"),
            model=InstantSplatModelConfig(),
        ),
        optimizers={
            "means": {
                "optimizer": _adam(_PAPER.means_lr),  # of the camera extent, times a factor of each Gaussian's own
                "scheduler": LogLinearConfig(steps=RATE_HORIZON),
            },
            "features_dc": {"optimizer": _adam(_PAPER.sh_lr), "scheduler": None},
            "features_rest": {"optimizer": _adam(_PAPER.sh_rest_lr), "scheduler": None},
            "opacities": {"optimizer": _adam(_PAPER.opacity_lr), "scheduler": None},
            "scales": {"optimizer": _adam(_PAPER.scale_lr), "scheduler": None},
            "quats": {"optimizer": _adam(_PAPER.quat_lr), "scheduler": None},
            "camera_opt": {
                "optimizer": _adam(_PAPER.pose_rotation_lr),
                "scheduler": LogLinearConfig(factor=_PAPER.pose_lr_final, steps=_PAPER.steps),
            },
        },
        logging=LoggingConfig(
            local_writer=LocalWriterConfig(
                enable=True,
                stats_to_track=(Shown.TRAIN_LOSS, EventName.ITER_TRAIN_TIME, EventName.CURR_TEST_PSNR, EventName.ETA),
            )
        ),
        viewer=ViewerConfig(websocket_host="127.0.0.1"),
        vis="viewer",
    ),
    description="InstantSplat by Fewview: a few photographs, with cameras or without, to a splat; also on a CPU.",
)
