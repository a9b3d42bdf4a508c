"""Camera poses from photographs alone, and how good they are.

The structure-from-motion engine is pycolmap's; what is ours is the choice of features, pairs, lenses and attempts that
lets it succeed on a handful of photographs, and the sentences about those that it cannot place.
"""

from .config import Poses as Poses
from .config import PosesConfig as PosesConfig
from .estimate import estimate_poses as estimate_poses
from .metrics import PairErrors as PairErrors
from .metrics import PoseErrors as PoseErrors
from .metrics import align_cameras as align_cameras
from .metrics import pair_errors as pair_errors
from .metrics import pose_errors as pose_errors
from .select import most_useful as most_useful
from .triangulate import triangulate as triangulate
