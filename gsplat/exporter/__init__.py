"""`gsplat.exporter`: the path by which trainers written for gsplat import these names."""

from ..splat_export import export_splats as export_splats
