"""The nouns, the geometry between them, and reading and writing them."""

from .cameras import Cameras as Cameras
from .capture import Capture as Capture
from .capture import Frame as Frame
from .errors import BadInputError as BadInputError
from .errors import FewviewError as FewviewError
from .gaussians import Gaussians as Gaussians
from .point_cloud import PointCloud as PointCloud
from .run import Run as Run
