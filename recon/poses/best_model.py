"""From a verified view graph to the best reconstruction: several starts, several strictnesses, one choice."""

from __future__ import annotations

import math
from dataclasses import replace

from ...scene.progress import Progress, silent
from .focal_prior import UNKNOWN_FOCAL_RATIOS, Lenses
from .mapping import ATTEMPTS, Attempt, Mapper, Model
from .poses_config import PosesConfig
from .verification import ViewGraph

MANY_VIEWS = 8  # from here on a complete model pins the focal length down by itself: the first sane one is taken
# Of so many views nearly all are enough: to place the few that are left, a looser attempt would begin with all anew.
ENOUGH, NEARLY = 48, 0.95
USUAL_FOCAL_RATIO = 0.85  # of the longer side, between a phone's main camera and a standard lens
USUAL_RADIAL = 0.15  # |k1|; more is believed only where it explains clearly more than none
CLEARLY, CLEARLY_PX = 1.02, 1.05  # times as many observations, and as large a reprojection error
HELD = 0.95  # of its observations a solution counts whose focal length stayed where it started
EXIF_TOLERANCE = 1.25  # a focal length that leaves EXIF's by more than this factor has run away


def solve(graph: ViewGraph, lenses: Lenses, config: PosesConfig, progress: Progress = silent) -> Model | None:
    """The model that places most views, and among those the one that explains most observations; None if none does.

    Each strictness in `ATTEMPTS` is tried from each starting focal length until all views of the largest connected
    part of the graph are placed, of many views nearly all.
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
        is_complete = best is not None and len(best.views) >= (reachable if reachable < ENOUGH else NEARLY * reachable)
        # One of many views pins the focal length down, so that from another start the same would come out.
        pinned = 0 if best is None or (best.focal_held and not lenses.is_known) else len(best.views)
        if is_complete and (done % len(starts) == 0 or pinned >= MANY_VIEWS):
            break
        if done % len(starts) and pinned >= max(MANY_VIEWS, reachable / 2):
            continue
        progress("Placing cameras", done, total, {"placed": len(best.views) if best else 0})
        config = held_once_lost(config, best, lenses)
        best = _better(best, _attempt(mapper, lenses, model, start, attempt, holds_focal(config, lenses)))
        if best is not None and len(best.views) == 2 and not lenses.is_known:
            fixed = mapper.run(lenses.cameras("SIMPLE_PINHOLE", start), attempt, refine_focal=False)
            best = _better(best, fixed)
    progress("Placing cameras", total, total, {"placed": len(best.views) if best else 0})
    return best


def holds_focal(config: PosesConfig, lenses: Lenses) -> bool:
    """True where focal lengths stay as they are known beforehand."""
    return config.hold_focal and lenses.is_known


def held_once_lost(config: PosesConfig, model: Model | None, lenses: Lenses) -> PosesConfig:
    """The config, with known focal lengths held where they ran away in a model of many views, as they would again."""
    lost = model is not None and model.focal_held and len(model.views) >= MANY_VIEWS
    return replace(config, hold_focal=True) if lost and lenses.is_known else config


def solve_again(graph: ViewGraph, lenses: Lenses, config: PosesConfig, number: int) -> Model | None:
    """Another solution of the largest connected part, quickly: starting focal length and lens model follow `number`."""
    reachable = len(graph.components()[0])
    if reachable < 2:
        return None
    mapper = Mapper(graph, lenses.camera_of_view, config.seed + number)
    radial = config.wants_distortion(reachable) and number % 2 == 0
    start = 1.0 if lenses.is_known else UNKNOWN_FOCAL_RATIOS[number % len(UNKNOWN_FOCAL_RATIOS)]
    hold = holds_focal(config, lenses)
    best: Model | None = None
    for attempt in ATTEMPTS[:2]:
        found = _attempt(mapper, lenses, "SIMPLE_RADIAL" if radial else "SIMPLE_PINHOLE", start, attempt, hold)
        best = _better(best, found)
        if best is not None and len(best.views) >= reachable / 2:
            break
    return best


def _attempt(mapper: Mapper, lenses: Lenses, model: str, start: float, attempt: Attempt, hold: bool) -> Model | None:
    """One run; again without distortion where the lens becomes unusual, and with the focal lengths held where they
    start when they run away, or at once with `hold`."""
    found: Model | None = None
    for kind in () if hold else dict.fromkeys((model, "SIMPLE_PINHOLE")):
        new = mapper.run(lenses.cameras(kind, start), attempt)
        if new is None and kind == model:
            return None
        if new is None or not new.is_sane():
            continue
        if keeps_to_exif(new, lenses):
            found = new if found is None or not _explains_more(found, new) else found
            if abs(new.distortion) <= USUAL_RADIAL:
                break
        elif len(new.views) >= MANY_VIEWS:  # it does without distortion, too, and takes longer
            break
    if found is not None:
        return found
    found = mapper.run(lenses.cameras("SIMPLE_PINHOLE", start), attempt, refine_focal=False)
    return found if found is not None and found.is_sane() else None


def _explains_more(radial: Model, pinhole: Model) -> bool:
    """True where distortion places more views, or explains clearly more observations or those clearly better."""
    if len(radial.views) != len(pinhole.views):
        return len(radial.views) > len(pinhole.views)
    more = radial.observations / max(1, pinhole.observations)
    return more > CLEARLY or (more > 1 / CLEARLY and pinhole.error_px > CLEARLY_PX * radial.error_px)


def keeps_to_exif(model: Model, lenses: Lenses) -> bool:
    """True where no focal length that EXIF knows has run away from it."""
    for view in model.views:
        camera_id = lenses.camera_of_view[view]
        known_px = lenses.focal_px[camera_id - 1]
        if known_px is not None:
            found_px = model.reconstruction.camera(camera_id).mean_focal_length()
            if abs(math.log(found_px / known_px)) > math.log(EXIF_TOLERANCE):
                return False
    return True


def _better(a: Model | None, b: Model | None) -> Model | None:
    """More views win, then clearly more observations, then the more usual focal length.

    Two views often say nothing about the focal length: then many explain the same observations.
    """
    if a is None or b is None:
        return a if b is None else b
    if len(a.views) != len(b.views):
        return a if len(a.views) > len(b.views) else b
    explained = [m.observations * (HELD if m.focal_held and len(m.views) > 2 else 1.0) for m in (a, b)]
    if max(explained) > CLEARLY * min(explained):
        return a if explained[0] > explained[1] else b
    return min(a, b, key=lambda m: abs(math.log(m.focal_ratio / USUAL_FOCAL_RATIO)))
