"""Lenses told apart by what they explain: photographs of one size, without EXIF, that were taken with two of them.

Photographs of one size are taken to share a lens. Where lenses of their own fit clearly better and their focal lengths
fall into two groups, these are the lenses.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pycolmap

from .best_model import solve
from .bundle_adjustment import adjusted, error_px2
from .focal_prior import Lenses
from .mapping import MAX_FOCAL, MIN_FOCAL, Model
from .poses_config import PosesConfig
from .verification import ViewGraph

MOST_VIEWS = 24  # photographs beyond which lenses of their own take long
LEAST_GROUP = 2  # photographs with one lens
APART = 1.2  # times as long is the one focal length as the other
# Reprojection error with own lenses over that with a shared one: of photographs with one lens 0.99 and more, straight
# or bent, of those with two at most 0.94.
OWN_FITS = 0.975
CLEARLY = 1.1  # times as many observations as with one lens
ROUNDS = 3  # of groups and solutions: what one lens bent shows better in a solution with two


def lenses_apart(
    graph: ViewGraph, lenses: Lenses, shared: Model | None, config: PosesConfig
) -> tuple[Lenses, Model] | None:
    """Lenses of two groups of photographs and the solution with them; None where one for each size explains as much."""
    views = graph.components()[0]
    if lenses.is_known or shared is None or not 2 * LEAST_GROUP <= len(views) <= MOST_VIEWS:
        return None
    before = error_px2(adjusted(pycolmap.Reconstruction(shared.reconstruction)))
    found: tuple[Lenses, Model] | None = None
    for _ in range(ROUNDS):
        own = adjusted(_with_own_lenses(shared if found is None else found[1]))
        grouped = _grouped(lenses, own) if error_px2(own) < OWN_FITS * before else None
        if grouped is None or (found is not None and grouped == found[0]):
            break
        model = solve(graph, grouped, config)
        if model is None or not _explains_more(model, shared if found is None else found[1], found is None):
            break
        found = grouped, model
    return found


def _explains_more(model: Model, other: Model, clearly: bool) -> bool:
    """True where more views are placed, or (clearly) more observations are explained, or as many (clearly) better."""
    if len(model.views) != len(other.views):
        return len(model.views) > len(other.views)
    more = model.observations / max(1, other.observations)
    better = error_px2(model.reconstruction) / max(1e-12, error_px2(other.reconstruction))
    return more > (CLEARLY if clearly else 1.0) or (better < (OWN_FITS if clearly else 1.0) and more > 1 / CLEARLY)


def _with_own_lenses(model: Model) -> pycolmap.Reconstruction:
    """A copy in which each view has a lens of its own, whose number is the image's."""
    known, copy = model.reconstruction, pycolmap.Reconstruction()
    for view in model.views:
        image = known.image(view + 1)
        shared = known.camera(image.camera_id)
        focal_px = shared.mean_focal_length()
        own = pycolmap.Camera.create_from_model_name(view + 1, shared.model_name, focal_px, shared.width, shared.height)
        own.params = [float(p) for p in shared.params]
        copy.add_camera_with_trivial_rig(own)
        new = pycolmap.Image(name=image.name, camera_id=view + 1, image_id=view + 1)
        new.points2D = pycolmap.Point2DList([pycolmap.Point2D(point.xy) for point in image.points2D])
        copy.add_image_with_trivial_frame(new, image.cam_from_world())
    placed = {view + 1 for view in model.views}
    for _, point in sorted(known.points3D.items()):
        copy.add_point3D(point.xyz, pycolmap.Track(elements=[e for e in point.track.elements if e.image_id in placed]))
    return copy


def note_on_lenses(names: Sequence[str], before: Lenses, after: Lenses, model: Model) -> list[str]:
    """A sentence about placed photographs that were told apart by their lenses; none where none were.

    Lenses that came out alike in the end are not told: what set the photographs apart was not their focal lengths.
    """
    new = [view for view in model.views if after.camera_of_view[view] > len(before.sizes)]
    of_size = {before.camera_of_view[view] for view in new}
    others = [view for view in model.views if after.camera_of_view[view] in of_size]
    if not new or not others:  # a lens of which no photograph is placed was told apart by nothing
        return []
    new_px, others_px = (model.camera(views[0])[1].mean_focal_length() for views in (new, others))
    if max(new_px, others_px) < APART * min(new_px, others_px):
        return []
    shown = ", ".join(names[view] for view in new[:4]) + (f" and {len(new) - 4} more" if len(new) > 4 else "")
    return [
        f"The photographs were taken with two lenses, or zoomed: the focal length of {shown} is "
        f"{new_px / others_px:.2f} times that of the others, though EXIF does not say so. Photographs with their EXIF "
        "would make it certain."
    ]


def _grouped(lenses: Lenses, own: pycolmap.Reconstruction) -> Lenses | None:
    """Two lenses for the largest group of one size without EXIF, split where focal lengths are farthest apart."""
    unknown = [lens for lens in range(1, len(lenses.sizes) + 1) if lenses.focal_px[lens - 1] is None]
    views = sorted(i - 1 for i in own.reg_image_ids())
    of_lens = {lens: [v for v in views if lenses.camera_of_view[v] == lens] for lens in unknown}
    size = max(unknown, key=lambda lens: (len(of_lens[lens]), -lens))
    longer_px = max(lenses.sizes[size - 1])
    ratio = {}
    for view in of_lens[size]:
        camera = own.camera(own.image(view + 1).camera_id)
        if MIN_FOCAL <= camera.mean_focal_length() / longer_px <= MAX_FOCAL:
            ratio[view] = math.log(camera.mean_focal_length() / longer_px)
    order = sorted(ratio, key=lambda view: ratio[view])
    splits = range(LEAST_GROUP, len(order) - LEAST_GROUP + 1)
    if not splits:
        return None
    at = max(splits, key=lambda k: ratio[order[k]] - ratio[order[k - 1]])
    short, long = order[:at], order[at:]
    if np.median([ratio[v] for v in long]) - np.median([ratio[v] for v in short]) < math.log(APART):
        return None
    fewer = min(long, short, key=len)
    camera_of_view = [*lenses.camera_of_view]
    for view in fewer:
        camera_of_view[view] = len(lenses.sizes) + 1
    return Lenses(camera_of_view, [*lenses.sizes, lenses.sizes[size - 1]], [*lenses.focal_px, None])
