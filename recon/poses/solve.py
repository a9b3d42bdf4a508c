"""From a verified view graph to the best reconstruction: several starts, several strictnesses, one choice."""

from __future__ import annotations

import math

from ...scene.progress import Progress, silent
from .config import PosesConfig
from .focal import UNKNOWN_FOCAL_RATIOS, Lenses
from .mapping import ATTEMPTS, Attempt, Mapper, Model
from .verification import ViewGraph

MANY_VIEWS = 8  # from here on a complete model pins the focal length down by itself: the first sane one is taken
EXIF_TOLERANCE = 1.25  # a focal length that leaves EXIF's by more than this factor has run away


def solve(graph: ViewGraph, lenses: Lenses, config: PosesConfig, progress: Progress = silent) -> Model | None:
    """The model that places most views, and among those the one that explains most observations; None if none does.

    Each strictness in `ATTEMPTS` is tried from each starting focal length until all views of the largest connected
    part of the graph are placed.
    """
    reachable = len(graph.components()[0])
    if reachable < 2:
        return None
    mapper = Mapper(graph, lenses.camera_of_view, config.seed)
    model = "SIMPLE_RADIAL" if config.wants_distortion(reachable) else "SIMPLE_PINHOLE"
    starts = (1.0,) if lenses.is_known else UNKNOWN_FOCAL_RATIOS
    best: Model | None = None
    total = len(ATTEMPTS) * len(starts)
    for done, (attempt, start) in enumerate((a, s) for a in ATTEMPTS for s in starts):
        if best is not None and len(best.views) == reachable:
            if done % len(starts) == 0 or reachable >= MANY_VIEWS:
                break
        placed = len(best.views) if best else 0
        progress("Placing cameras", done, total, {"placed": placed})
        best = _better(best, _attempt(mapper, lenses, model, start, attempt))
    progress("Placing cameras", total, total, {"placed": len(best.views) if best else 0})
    return best


def _attempt(mapper: Mapper, lenses: Lenses, model: str, start: float, attempt: Attempt) -> Model | None:
    """One run; once more with the focal lengths held where they start when they run away."""
    found = mapper.run(lenses.cameras(model, start), attempt)
    if found is None or (found.is_sane() and _keeps_to_exif(found, lenses)):
        return found
    found = mapper.run(lenses.cameras("SIMPLE_PINHOLE", start), attempt, refine_focal=False)
    return found if found is not None and found.is_sane() else None


def _keeps_to_exif(model: Model, lenses: Lenses) -> bool:
    for view in model.views:
        camera_id = lenses.camera_of_view[view]
        known_px = lenses.focal_px[camera_id - 1]
        if known_px is not None:
            found_px = model.reconstruction.camera(camera_id).mean_focal_length()
            if abs(math.log(found_px / known_px)) > math.log(EXIF_TOLERANCE):
                return False
    return True


def _better(a: Model | None, b: Model | None) -> Model | None:
    """More views win, then more observations; the earlier one where they are as good as equal."""
    if a is None or b is None:
        return a if b is None else b
    if len(a.views) != len(b.views):
        return a if len(a.views) > len(b.views) else b
    return b if b.observations > 1.02 * a.observations else a
