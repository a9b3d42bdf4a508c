"""How learning rates and AdamW's first moment change over training: one cycle, by cosines."""

from __future__ import annotations

import math

from torch import nn
from torch.optim import AdamW

from .config import SparseFusionConfig
from .model import SparseFusionModel

RISE = 0.4  # of the steps
LAST_LR_FACTOR = 1e-4
BETAS = (0.9, 0.999)
LOWEST_BETA_FACTOR = 0.85 / 0.95


def cycle(step: int, steps: int, start: float, peak: float, end: float) -> float:
    """The value at a step: from `start` to `peak` at 40 % of the steps, then to `end`."""
    top = RISE * steps
    if step < top:
        return _cosine(start, peak, step / top)
    return _cosine(peak, end, min((step - top) / max(steps - top, 1e-9), 1.0))


def _cosine(a: float, b: float, t: float) -> float:
    return b + (a - b) * (1 + math.cos(math.pi * t)) / 2


def make_optimizer(model: SparseFusionModel, config: SparseFusionConfig) -> AdamW:
    """AdamW with a group for each learning rate and weight decay: trained parts learn slower than new ones.

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


def set_rates(optimizer: AdamW, step: int, steps: int, config: SparseFusionConfig) -> None:
    factor = cycle(step, steps, 1.0, config.peak_lr_factor, LAST_LR_FACTOR)
    beta = BETAS[0] * cycle(step, steps, 1.0, LOWEST_BETA_FACTOR, 1.0)
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor
        group["betas"] = (beta, BETAS[1])
