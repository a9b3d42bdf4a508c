"""The nouns, the geometry between them, and reading and writing them."""

from typing import TYPE_CHECKING

from ..lazy import lazily

if TYPE_CHECKING:
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
    from .scan import Scan as Scan
    from .scan import Sentence as Sentence
    from .splat import MovingSplat as MovingSplat
    from .splat import Splat as Splat
    from .splat import StaticSplat as StaticSplat
    from .triangle_mesh import Mesh as Mesh

__getattr__ = lazily(
    __name__,
    {
        "Boxes": "boxes",
        "Cameras": "cameras",
        "Capture": "capture",
        "Frame": "capture",
        "DrivingFrame": "driving",
        "DrivingLog": "driving",
        "LidarPoints": "driving",
        "BadInputError": "errors",
        "FewviewError": "errors",
        "Gaussians": "gaussians",
        "PointCloud": "point_cloud",
        "Run": "run",
        "Scan": "scan",
        "Sentence": "scan",
        "MovingSplat": "splat",
        "Splat": "splat",
        "StaticSplat": "splat",
        "Mesh": "triangle_mesh",
    },
)
