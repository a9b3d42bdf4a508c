"""Confidence of placed cameras, and the sentences about those that are not sure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pycolmap

from ....scene.readers.safe_paths import listed
from ....scene.run import SURE
from ..correspondences import Image
from ..verification import Pair
from .agreement import agreement
from .camera_features import camera_features
from .cut_off_side import cut_off_side
from .misleading_pairs import MIN_EXPECTED, MOST_DENIED, Contradiction, SeparatedModel
from .open_focal_length import bent_views
from .outvoted_views import outvoted_views
from .second_look import NO_LOOK, PairLook, looks_of, second_look
from .solved_again import Again, moved_deg
from .torn_links import torn_views
from .two_against_two import disputed_views

MAX_NAMED = 4
# Belief at most in cameras that may be the wrong ones of some which contradict each other, or that the focal length or
# the choice of matches leaves open.
OPEN = 0.5
# Mean move in solutions from parts of the matches from which a camera is open, too. Of 946 cameras of generated scenes
# and of choices of the fox that were sure without this seven moved farther, of which three were wrong; of 22 that moved
# by 5 to 8 degrees one was.
UNSTEADY_DEG = 8.0
PATTERNS = 0.5  # of the photographs that show a pattern, for it to be told

# Logistic regression, weights not negative, of "rotation within 5 degrees, centre within a quarter of the scene" on 400
# cameras: 26 scenes of scripts/make_look_alikes.py (seeds 7000, 7100 and 9000, 9 views) and 30 choices of 3 to 12
# photographs of the fox and the chair, drawn towards the weights from before, which 471 others had given. Three are set
# by hand: "uncontradicted", on 430 cameras of 56 other scenes (seeds 14000, 20000 and 21000), where weights fitted anew
# did no better on scenes that they had not seen; "not_alone", on 34 pairs of photographs of the fox and the banana, of
# which 5 of 19 that were told as sure were 6 to 21 degrees off; and "no_pattern", so that nothing that is tiled all
# over is told as sure: by how many tiles a camera is off cannot be seen.
# Features are those of `CameraFeatures.evidence`.
WEIGHTS = {
    "precise": 1.27,
    "linked": 1.0,
    "not_contested": 0.34,
    "uncontradicted": 1.5,
    "no_pattern": 5.0,
    "steady": 0.54,
    "not_alone": 2.7,
}
BIAS = -2.36


def confidence_of_cameras(
    found: SeparatedModel, images: Sequence[Image], bends: Mapping[int, float], again: Again, seed: int = 0
) -> dict[int, float]:
    """Belief in [0, 1] that each camera of a model is within 5 degrees of where it was against the others.

    `bends` are those of `bend_deg`; `again` solves a part of the view graph, see `moved_deg`.
    """
    assert found.model is not None
    moved = moved_deg(found.graph, found.model, found.denied.shares, again, seed)
    agreed = agreement(found.model, found.verified)
    features = camera_features(found, images, moved, agreed)
    views = found.model.views
    doubted = views if cut_off_side(found) else [*torn_views(agreed), *disputed_views(found.denied, views)]
    unsteady = [view for view, deg in moved.items() if deg > UNSTEADY_DEG]
    most = dict.fromkeys([*doubted, *unsteady, *bent_views(bends), *outvoted_views(agreed)], OPEN)
    beliefs = {view: min(most.get(view, 1.0), _logistic(f.evidence())) for view, f in features.items()}
    return against_others(beliefs)


def against_others(beliefs: Mapping[int, float]) -> dict[int, float]:
    """Beliefs of which none is larger than the largest of the others': one camera by itself is nowhere."""
    second = sorted(beliefs.values())[-2:][0]
    return {view: min(belief, second) for view, belief in beliefs.items()}


def _logistic(evidence: Mapping[str, float]) -> float:
    return float(1 / (1 + np.exp(-(BIAS + sum(weight * evidence[name] for name, weight in WEIGHTS.items())))))


def looks_of_registered(
    found: SeparatedModel, images: Sequence[Image], registered: Mapping[int, tuple[np.ndarray, pycolmap.Camera]]
) -> dict[int, PairLook]:
    """Look of each photograph that was registered in a finished model, over all the views of the model."""
    assert found.model is not None
    looks = looks_of(second_look(found.model, [image.grey for image in images], registered)) if registered else {}
    return {view: sum((look for pair, look in looks.items() if view in pair), NO_LOOK) for view in registered}


def confidence_of_registered(look: PairLook, beliefs: Mapping[int, float]) -> float | None:
    """Share of the points that such a photograph must show and does show; None where it must show too few.

    It is no surer than the surest camera of the model that it was registered in: where that may be wrong, so may this.
    """
    if look.expected < MIN_EXPECTED:
        return None
    return min(look.agreeing / max(1, look.agreeing + look.conflicting), max(beliefs.values()))


def notes_on_confidence(names: Sequence[str], confidence: Sequence[float | None]) -> list[str]:
    """Sentences about the cameras that are not sure, and about those of which nothing is known, if there are any."""
    unsure = sorted((c, name) for c, name in zip(confidence, names, strict=True) if c is not None and c < SURE)
    unknown = sorted(name for c, name in zip(confidence, names, strict=True) if c is None)
    notes = []
    if unsure:
        shown = listed([f"{name} ({_percent(c)})" for c, name in unsure], MAX_NAMED)
        notes.append(
            f"Not sure of the cameras of {len(unsure)} of {len(names)} photographs: {shown}. The share is the belief "
            "that a camera points where it did; photographs from in between would help, and --min-confidence leaves "
            "such ones out."
        )
    if unknown:
        notes.append(
            f"Nothing tells whether the cameras of {len(unknown)} of {len(names)} photographs are right: "
            f"{listed(unknown, MAX_NAMED)}. They show too little of what the others do."
        )
    return notes


def _percent(belief: float) -> str:
    """Whole percent of a belief, rounded down: what is just not sure is not told as SURE."""
    return f"{math.floor(100 * belief + 1e-9)}%"


def look_alike_reasons(
    names: Sequence[str], placed: Sequence[int], unplaced: Sequence[int], misleading: Mapping[Pair, Contradiction]
) -> dict[int, str]:
    """A sentence for every view left out whose only matches with the placed ones are of look-alikes."""
    reasons = {}
    for view in unplaced:
        joined = {a + b - view: what for (a, b), what in misleading.items() if view in (a, b)}
        known = {other: what for other, what in joined.items() if other in placed}
        if known:
            other, what = max(known.items(), key=lambda item: (item[1].strength, -item[0]))
            look = what.look
            differs = (
                "it or a neighbour shows a mark that is not there in the others"
                if what.denied > MOST_DENIED
                else f"{look.conflicting} of {look.expected} things that it and its neighbours should show are missing"
            )
            reasons[view] = (
                f"{names[view]} matches {names[other]} only in what looks alike: where those matches put it, "
                f"{differs}. Photographs from in between would join them."
            )
    return reasons


def notes_on_patterns(images: Sequence[Image]) -> list[str]:
    """A sentence about photographs of one thing again and again, if most are."""
    patterns = sum(image.pattern for image in images)
    if not patterns or patterns < PATTERNS * len(images):
        return []
    return [
        f"{patterns} of {len(images)} photographs show one thing again and again at equal steps, such as tiles, "
        "bricks or windows: their cameras may be whole steps off. Photographs that show more of what breaks the "
        "pattern would help."
    ]


def refused_reasons(
    names: Sequence[str], confidence: Mapping[int, float | None], min_confidence: float
) -> dict[int, str]:
    """A sentence for every camera that is less likely right than was asked for; those of unknown confidence stay."""
    return {
        view: f"{names[view]} was placed with a confidence of {_percent(belief)}; {min_confidence:.0%} was asked for."
        for view, belief in confidence.items()
        if belief is not None and belief < min_confidence
    }
