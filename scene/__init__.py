"""The nouns, the geometry between them, and reading and writing them."""

from .boxes import Boxes as Boxes
from .cameras import Cameras as Cameras
from .capture import Capture as Capture
from .capture import Frame as Frame
from .driving import DrivingFrame as DrivingFrame
from .driving import DrivingLog as DrivingLog
from .driving import LidarPoints as LidarPoints
from .errors import BadInputError as BadInputError
from .errors import FewviewError as FewviewError
from .gaussians import Gaussians as Gaussians
from .point_cloud import PointCloud as PointCloud
from .run import Run as Run
