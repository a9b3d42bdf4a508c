"""`gsplat.distributed`: the path by which trainers written for gsplat import these names."""

from ..one_process import cli as cli
