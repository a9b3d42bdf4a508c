"""The nouns, the geometry between them, and reading and writing them."""

from typing import TYPE_CHECKING

from ..lazy import lazily

if TYPE_CHECKING:
    from .cameras import Cameras as Cameras
    from .capture import Capture as Capture
    from .capture import Frame as Frame
    from .errors import BadInputError as BadInputError
    from .errors import FewviewError as FewviewError
    from .gaussians import Gaussians as Gaussians
    from .point_cloud import PointCloud as PointCloud
    from .run import Run as Run

__getattr__ = lazily(
    __name__,
    {
        "Cameras": "cameras",
        "Capture": "capture",
        "Frame": "capture",
        "BadInputError": "errors",
        "FewviewError": "errors",
        "Gaussians": "gaussians",
        "PointCloud": "point_cloud",
        "Run": "run",
    },
)
