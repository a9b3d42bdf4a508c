"""Many photographs whose cameras tear at a place, solved anew all at once.

Photographs that are placed one after the other around a block or a room go off by a little at every corner, and where
the two ends meet the sum of it tears them apart. Solved all at once there is no end, but a focal length must be known,
and wrong pairs bend all: so the torn model gives the lenses, and pairs of look-alikes are out before.
"""

from __future__ import annotations

import copy

import pycolmap

from .best_model import holds_focal, keeps_to_exif
from .focal_prior import Lenses
from .judge.agreement import agreement
from .judge.torn_links import torn_links
from .mapping import Mapper, Model
from .poses_config import PosesConfig
from .verification import ViewGraph

MANY_VIEWS = 24  # fewer are solved again from parts of their matches, and hold no ring together
NEARLY = 0.95  # of the placed views must be placed again


def untorn(graph: ViewGraph, model: Model, lenses: Lenses, config: PosesConfig) -> Model:
    """The model, or where it is torn one of all views at once that is not and places about as many."""
    if len(model.views) < MANY_VIEWS or not torn_links(agreement(model, graph)):
        return model
    mapper = Mapper(graph, lenses.camera_of_view, config.seed)
    other = mapper.run_globally(_lenses_of(model, lenses), refine_focal=not holds_focal(config, lenses))
    if other is None or not (other.is_sane() and keeps_to_exif(other, lenses)):
        return model
    return model if len(other.views) < NEARLY * len(model.views) or torn_links(agreement(other, graph)) else other


def _lenses_of(model: Model, lenses: Lenses) -> list[pycolmap.Camera]:
    """Lenses as the model has them, whose focal lengths count as known."""
    found = []
    for start in lenses.cameras("SIMPLE_PINHOLE", 1.0):
        is_used = start.camera_id in model.reconstruction.cameras
        camera = copy.deepcopy(model.reconstruction.camera(start.camera_id) if is_used else start)
        camera.has_prior_focal_length = True
        found.append(camera)
    return found
