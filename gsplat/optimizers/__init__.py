"""`gsplat.optimizers`: the path by which trainers written for gsplat import these names."""

from ..selective_adam import SelectiveAdam as SelectiveAdam
