"""Analysis by synthesis after any pose estimator: better cameras for photographs of one object (SparseAGS).

Zhao and Tulsiani, "Sparse-view Pose Estimation and Reconstruction via Analysis by Generative Synthesis", NeurIPS 2024:
the object is made from the photographs, the cameras move to where it looks like them, and what contradicts the others,
or was not placed at all, is looked for everywhere around the object.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from ...scene.cameras import Cameras
from ...scene.capture import Capture
from ...scene.errors import BadInputError
from ...scene.progress import Progress, silent
from ...scene.run import SURE
from ..evidence.view_prior import ViewPrior
from ..poses.pose_estimator import PoseHypotheses, Poses
from .synthesis.object_views import has_silhouette, object_views
from .synthesis.pose_rounds import FoundPoses, Photograph, reconsidered
from .synthesis.pose_search import distinct
from .synthesis.synthesis_config import SynthesisConfig
from .synthesis.synthesise import Synthesis, synthesise

OTHER_EXPLANATION_DEG = 20.0  # least turn between hypotheses: nearer ones are one camera, refined more or less
OTHERS_KEPT = 4


def refined_by_synthesis(
    poses: Poses,
    photographs: Capture | None = None,  # that the poses were estimated from
    config: SynthesisConfig = SynthesisConfig(),  # noqa: B008
    *,
    view_prior: ViewPrior | None = None,
    progress: Progress = silent,
) -> Poses:
    """The same photographs with cameras that agree with one object; also those that had none, where they agree, too.

    Without `photographs` nothing that is unplaced is looked for; other cameras that `poses.hypotheses` has for them are
    looked at, too. Alpha or masks say what the object is; where only some
    photographs have them the others keep their cameras, and where none has the whole picture is taken for it. Held-out
    photographs have no say, and are fitted to the finished object. The world stays the given one as nearly as the
    cameras allow. Points and depths belong to the cameras as they were, and are left out. Where there is an answer of
    another system, too (`poses.other`), the object is made from both, and the one is kept that shows photographs better
    which it is made without. Raises BadInputError for fewer than three placed photographs to learn from, and for
    silhouettes that cannot be used.
    """
    first = _refined(replace(poses, other=None), photographs, config, view_prior, progress)
    if poses.other is None:
        return first
    try:
        second = _refined(poses.other, photographs, config, view_prior, progress)
    except BadInputError:  # such as too few with a silhouette
        return first
    return _more_alike(first, second)


def _more_alike(first: Poses, second: Poses) -> Poses:
    """The answer whose object looks more like photographs that it is made without; unplaced ones count as the worst."""
    looks = [_distances(answer) for answer in (first, second)]
    worst = max(max(look.values()) for look in looks)
    photographs = looks[0].keys() | looks[1].keys()
    one, two = (sum(look.get(name, worst) for name in photographs) / len(photographs) for look in looks)
    kept = first if one <= two else second
    note = (
        "Of two answers, neither of which could be believed by itself, an object was made each: the one kept is "
        f"{min(one, two):.3f} away from photographs that it is made without, the other {max(one, two):.3f}."
    )
    return replace(kept, notes=(*kept.notes, note))


def _distances(answer: Poses) -> dict[str, float]:
    figures = answer.stats["synthesis"]
    return figures["distance_when_left_out"] or figures["distance"]


def _refined(
    poses: Poses, photographs: Capture | None, config: SynthesisConfig, view_prior: ViewPrior | None, progress: Progress
) -> Poses:
    given = poses.capture
    assert given.cameras is not None
    held_out = set(given.test or ())
    learning = [i for i in range(len(given)) if i not in held_out]
    lost = [] if photographs is None else sorted(set(poses.unplaced) - set(photographs.test or ()))
    bare: list[int] = []  # without a silhouette where others have one
    if any(has_silhouette(given, i) for i in learning):
        bare = [i for i in learning if not has_silhouette(given, i)]
        learning = [i for i in learning if i not in bare]
        lost = [view for view in lost if photographs is not None and has_silhouette(photographs, view)]
    joined = _joined(given.subset(learning), photographs, lost)
    views = object_views(joined, config.side_px)
    unknown = range(len(learning), len(joined))
    proposed = {
        k: poses.hypotheses[view].cameras.cam_from_world
        for k, view in enumerate(lost, len(learning))
        if view in poses.hypotheses
    }
    trusted = [k for k, i in enumerate(learning) if (poses.confidence[i] or 0.0) >= SURE]
    made = synthesise(
        views, unknown, config, trusted=trusted, proposed=proposed, view_prior=view_prior, progress=progress
    )
    to_given = made.look_at_from_given.inverse()
    assert joined.cameras is not None
    cameras = replace(joined.cameras, cam_from_world=made.cam_from_world).transformed(to_given)
    # By view of the capture that the poses were estimated from.
    refined = {poses.placed[i]: (given.frames[i], cameras[k]) for k, i in enumerate(learning)}
    names = [poses.placed[i] for i in learning] + lost
    for k in made.views[len(learning) :]:
        refined[names[k]] = joined.frames[k], cameras[k]
    for i in bare:
        refined[poses.placed[i]] = given.frames[i], replace(given.cameras[i], times_s=None)
    for i in sorted(held_out):
        refined[poses.placed[i]] = given.frames[i], _registered(given.subset([i]), made, config)
    placed = sorted(refined)
    outdated = {f"Not placed: {poses.unplaced[view]}" for view in poses.unplaced if view in refined}
    corrected = {names[view] for view in made.corrected}  # their confidence was of another camera
    belief = {v: c for v, c in zip(poses.placed, poses.confidence, strict=True) if v not in corrected}
    capture = Capture(
        tuple(refined[view][0] for view in placed),
        given.source,
        cameras=Cameras.stack([refined[view][1] for view in placed]),
        test=None if given.test is None else tuple(placed.index(poses.placed[i]) for i in sorted(held_out)),
        notes=tuple(note for note in given.notes if note not in outdated),
        cameras_are_estimated=given.cameras_are_estimated,
        origin=given.origin,
        unit=given.unit,
    )
    hypotheses = {
        names[k]: _hypotheses(found, joined.cameras[k], made, to_given)
        for k, found in made.found.items()
        if k in made.views
    }
    return Poses(
        capture,
        placed,
        {view: reason for view, reason in poses.unplaced.items() if view not in refined},
        poses.seconds | {f"synthesis, {part}": seconds for part, seconds in made.seconds.items()},
        poses.stats | {"placed": len(placed), "synthesis": _stats(made, [joined.names[k] for k in range(len(joined))])},
        tuple(belief.get(view) for view in placed),
        dict(poses.hypotheses) | hypotheses,
        notes=(*poses.notes, *_notes(made, joined.names, len(learning), [given.names[i] for i in bare])),
    )


def _joined(known: Capture, photographs: Capture | None, lost: Sequence[int]) -> Capture:
    """The placed photographs, then the others with lenses like theirs and poses that mean nothing."""
    assert known.cameras is not None
    if photographs is None or not lost:
        return replace(known, points=None, test=None)
    frames = [photographs.frames[view] for view in lost]
    cameras = known.cameras
    longer = torch.maximum(cameras.width, cameras.height)
    focal = (cameras.K[:, 0, 0] / longer).median()
    guessed = [
        Cameras.pinhole(torch.eye(4), focal * max(frame.width, frame.height), frame.width, frame.height)
        for frame in frames
    ]
    every = Cameras.stack([replace(cameras[i], times_s=None) for i in range(len(cameras))] + guessed)
    return replace(known, frames=(*known.frames, *frames), cameras=every, points=None, test=None)


def _registered(one: Capture, made: Synthesis, config: SynthesisConfig) -> Cameras:
    """The camera [] of a held-out photograph, moved to where the finished object looks like it."""
    assert one.cameras is not None
    views = object_views(replace(one, points=None, test=None), config.side_px)
    views = views.transformed(made.look_at_from_given)
    pose = reconsidered(made.gaussians, Photograph(views, 0), views.cameras.cam_from_world[0], config.rounds)
    moved = replace(one.cameras, cam_from_world=pose[None]).transformed(made.look_at_from_given.inverse())
    return moved[0]


def _hypotheses(found: FoundPoses, lens: Cameras, made: Synthesis, to_given: Any) -> PoseHypotheses:
    """The best of those that differ; their scores are distances of appearance, negated."""
    order = found.distance.argsort()
    poses, distance = found.cam_from_world[order], found.distance[order]
    chosen = distinct(poses, OTHER_EXPLANATION_DEG)[:OTHERS_KEPT]
    lenses = Cameras.stack([replace(lens, times_s=None)] * len(chosen))
    return PoseHypotheses(replace(lenses, cam_from_world=poses[chosen]).transformed(to_given), -distance[chosen])


def _stats(made: Synthesis, names: Sequence[str]) -> dict[str, Any]:
    """Figures for reports, photographs by name."""
    left_out = None
    if made.left_out is not None:
        left_out = {names[view]: round(float(made.left_out[view]), 4) for view in made.views}
    return {
        "distance": {names[view]: round(float(made.distances[view]), 4) for view in made.views},
        "distance_when_left_out": left_out,
        "removed": [names[view] for view in made.removed],
        "corrected": [names[view] for view in made.corrected],
    }


def _notes(made: Synthesis, names: Sequence[str], placed_before: int, bare: Sequence[str]) -> list[str]:
    """Sentences for the person about the cameras that were doubted, and those that were found."""
    notes = [
        f"The cameras were refined by making the object from the {len(made.views)} photographs; points that the first "
        "estimate gave belong to the old cameras and are left out."
    ]
    notes += [
        f"{name} has no mask of the object and the others do: it had no part in that, and its camera is as it was."
        for name in bare
    ]
    for view in made.removed:
        outcome = (
            "its camera was found anew by searching around the object"
            if view in made.corrected
            else "the search found nothing better than its first camera, which was kept near where it was"
        )
        notes.append(f"{names[view]} contradicted the other photographs; {outcome}.")
    for view in range(placed_before, len(names)):
        if view in made.views:
            notes.append(f"{names[view]}, which was not placed before, was found by searching around the object.")
        else:
            notes.append(f"{names[view]} was searched for around the object, and fits nowhere.")
    return notes
