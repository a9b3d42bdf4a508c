"""`gsplat.utils`: the path by which trainers written for gsplat import these names."""

from ...scene.geometry import rotation_from_quat
from ..depth_points import depth_to_normal as depth_to_normal
from ..depth_points import depth_to_points as depth_to_points
from ..log_values import inverse_log_transform as inverse_log_transform
from ..log_values import log_transform as log_transform

normalized_quat_to_rotmat = rotation_from_quat
