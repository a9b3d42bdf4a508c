"""Camera poses from photographs alone, and how good they are.

The structure-from-motion engine is pycolmap's; what is ours is the choice of features, pairs, lenses and attempts that
lets it succeed on a handful of photographs, and the sentences about those that it cannot place.
"""

from .pose_errors import PairErrors as PairErrors
from .pose_errors import PoseErrors as PoseErrors
from .pose_errors import align_cameras as align_cameras
from .pose_errors import center_errors as center_errors
from .pose_errors import pair_errors as pair_errors
from .pose_errors import pose_errors as pose_errors
from .pose_errors import true_scene_scale as true_scene_scale
from .pose_estimator import PoseEstimator as PoseEstimator
from .pose_estimator import PoseHypotheses as PoseHypotheses
from .pose_estimator import Poses as Poses
from .poses_config import PosesConfig as PosesConfig
from .structure_from_motion import estimate_poses as estimate_poses
from .triangulate import triangulate as triangulate
from .view_selection import most_useful as most_useful
