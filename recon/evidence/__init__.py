"""Dense stereo for a few views: one contract, several providers."""

from .depth_maps import DepthMap as DepthMap
from .depth_maps import Stereo as Stereo
