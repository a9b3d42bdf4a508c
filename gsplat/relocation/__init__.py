"""`gsplat.relocation`: the path by which trainers written for gsplat import these names."""

from ..gaussian_relocation import compute_relocation as compute_relocation
