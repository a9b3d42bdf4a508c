"""AdamW's groups: trained parts learn slower than new ones."""

from __future__ import annotations

from torch import nn
from torch.optim import AdamW

from ...learn.schedules import BETAS
from .config import SparseFusionConfig
from .model import SparseFusionModel
from .released_weights import released_name

_BIAS_TABLE = "relative_position_bias_table"


def make_optimizer(model: SparseFusionModel, config: SparseFusionConfig) -> AdamW:
    """AdamW with a group for each learning rate and weight decay.

    With Swin-T the released configuration has rules by parts of names, of which the longest counts: tables of position
    biases do not decay and learn at the full rate; what has "norm" in its name does not decay, but for the norms of
    the image backbone, which decay as all of it does. Batch norms called "bn", and norms that are only numbered, decay.
    """
    slow: dict[int, float] = {}
    if config.fuses:
        slow |= {id(p): config.lidar_lr_factor for part in model.lidar_parts() for p in part.parameters()}
    backbone: set[int] = set()
    if config.use_images:
        slow |= {id(p): config.trunk_lr_factor for p in model.image_trunk.parameters()}
        backbone = {id(p) for p in model.image_trunk.backbone.parameters()}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        rate = config.learning_rate * slow.get(id(parameter), 1.0)
        decay = config.weight_decay * (config.backbone_decay_factor if id(parameter) in backbone else 1.0)
        if config.image_backbone == "swin_t":
            if name.endswith(_BIAS_TABLE):
                rate, decay = config.learning_rate, 0.0
            elif id(parameter) not in slow and "norm" in released_name(name):
                decay = 0.0
        groups.setdefault((rate, decay), []).append(parameter)
    return AdamW(
        [{"params": p, "lr": lr, "base_lr": lr, "weight_decay": wd} for (lr, wd), p in groups.items()], betas=BETAS
    )
