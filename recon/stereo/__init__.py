"""Dense stereo for a few views: one contract, several providers."""

from .contract import DepthMap as DepthMap
from .contract import Stereo as Stereo
