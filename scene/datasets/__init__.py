"""Driving data sets: nuScenes-format folders, MMDetection3D info files, and boxes in their conventions."""

from .driving_data import is_driving_data as is_driving_data
from .driving_data import read_driving_log as read_driving_log
