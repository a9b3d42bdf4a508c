"""AdamW's groups: trained parts learn slower than new ones."""

from __future__ import annotations

from torch import nn
from torch.optim import AdamW

from ...learn.schedules import BETAS
from .config import SparseFusionConfig
from .model import SparseFusionModel


def make_optimizer(model: SparseFusionModel, config: SparseFusionConfig) -> AdamW:
    """AdamW with a group for each learning rate and weight decay.

    Norms and the Swin backbone's position biases do not decay where that backbone is used.
    """
    factors: dict[int, float] = {}
    if config.fuses:
        factors |= {id(p): config.lidar_lr_factor for part in model.lidar_parts() for p in part.parameters()}
    backbone: set[int] = set()
    if config.use_images:
        factors |= {id(p): config.trunk_lr_factor for p in model.image_trunk.parameters()}
        backbone = {id(p) for p in model.image_trunk.backbone.parameters()}
    fixed = _undecayed(model) if config.image_backbone == "swin_t" else set()
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter in model.parameters():
        if not parameter.requires_grad:
            continue
        rate = config.learning_rate * factors.get(id(parameter), 1.0)
        decay = config.weight_decay * (config.backbone_decay_factor if id(parameter) in backbone else 1.0)
        groups.setdefault((rate, 0.0 if id(parameter) in fixed else decay), []).append(parameter)
    return AdamW(
        [{"params": p, "lr": lr, "base_lr": lr, "weight_decay": wd} for (lr, wd), p in groups.items()], betas=BETAS
    )


def _undecayed(model: nn.Module) -> set[int]:
    norms = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm)
    found = {id(p) for module in model.modules() if isinstance(module, norms) for p in module.parameters()}
    return found | {id(p) for name, p in model.named_parameters() if "relative_position_bias" in name}
