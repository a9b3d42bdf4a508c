"""`write_share`: a splat as one HTML file that opens by itself, on a computer or a phone, without a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...scene.cameras import Cameras
from ...scene.carried_splat import carried_splat
from ...scene.control_points import ControlPointMotion
from ...scene.errors import BadInputError
from ...scene.files import write_bytes
from ...scene.formats import splat_bytes
from ...scene.gaussians import Gaussians
from ...scene.one_moment import one_moment
from ...scene.splat import Color, MovingSplat, Splat, StaticSplat
from ..clock import pace
from .first_views import FirstViews
from .moving_pack import MAX_DEGREE, packed
from .share_page import MARK, moving_document, program_version, share_document

# 16 bytes for each Gaussian and one for each coefficient of its colours, which the page's gzip makes as small as SOG;
# written in seconds, and every coefficient is kept.
SPLAT_NAME = "scene.compressed.ply"
UNPLAYED = ("opacity_residuals", "color_residuals")  # of a motion, which the page's shader does not know
MIN_ALPHA = 1 / 255  # less adds nothing to any pixel
SECONDS, FRAMES_PER_SECOND = 16.0, 30  # of the way around a still splat
MOVING_BYTES = 8_000_000  # of a page that plays; what is sent by mail or messengers may be no larger


@dataclass(frozen=True)
class Shared:
    """A page that was written."""

    path: Path
    size_bytes: int  # of the whole page
    gaussians: int  # that were kept
    notes: tuple[str, ...]  # what the page cannot show as it is


def write_share(
    splat: Splat,
    path: Path,
    title: str,
    cameras: Cameras | None = None,  # [n] of the photographs, which know where to look from
    background: Sequence[float] | None = None,  # [3] sRGB in [0, 1]; that of the splat when None
    time_s: float | None = None,  # of a splat that moves, all of it or the first moment when None
) -> Shared:
    """Write `path`. Besides the splat, the title and the first views, nothing gets into the file.

    A splat that moves is played, unless a moment is chosen. Raises BadInputError when nothing of the splat can be seen,
    or `path` is another kind of file, and FewviewError where the program that shows a still splat is not installed.
    """
    _refuse_to_overwrite(path)
    if time_s is None and isinstance(splat, MovingSplat):
        page, count, notes = _moving_page(splat, title, cameras, background)
    else:
        page, count, notes = _still_page(*one_moment(splat, time_s), title, cameras, background)
    write_bytes(path, page)
    return Shared(path, len(page), count, notes)


def _still_page(
    still: StaticSplat,
    lost: tuple[str, ...],
    title: str,
    cameras: Cameras | None,
    background: Sequence[float] | None,
) -> tuple[bytes, int, tuple[str, ...]]:
    program_version()  # told before the views are looked for
    kept = still.gaussians.detach().to("cpu")[_seen(still.gaussians)]
    views = _views(still, kept, cameras)
    data, notes = splat_bytes(SPLAT_NAME, StaticSplat(kept.moved(views.file_from_world), still.antialiased))
    under = _color(still, background)
    view = {
        "filename": SPLAT_NAME,
        "antialiased": still.antialiased,
        "tanX": views.tan_x,
        "tanY": views.tan_y,
        "settings": _settings(views, under),
    }
    return share_document(title, data, view, under), len(kept), (*lost, *notes)


def _moving_page(
    splat: MovingSplat, title: str, cameras: Cameras | None, background: Sequence[float] | None
) -> tuple[bytes, int, tuple[str, ...]]:
    """The page with the highest degree of view-dependent colours that MOVING_BYTES have room for."""
    splat, changed = carried_splat(splat)
    assert isinstance(splat.motion, ControlPointMotion)
    kept = splat.to("cpu").rows(_seen(splat.gaussians))
    views = _views(splat, kept.at(), cameras)
    in_page, under = kept.moved(views.page_from_world), _color(splat, background)
    found = splat.gaussians.sh_degree
    first, last = splat.time_range_s
    view = {
        "tanX": views.tan_x,
        "tanY": views.tan_y,
        "position": views.positions[0].tolist(),
        "target": views.targets[0].tolist(),
        "speed": pace(first, last),
    }
    for degree in range(min(found, MAX_DEGREE), -1, -1):
        pack = packed(in_page, degree)
        page = moving_document(title, pack.data, {**pack.header, **view, "background": list(under)}, under)
        if len(page) <= MOVING_BYTES:
            break
    notes = changed
    if degree < found:
        notes += (f"The page shows view-dependent colours of degree {degree} of the {found} that the splat has.",)
    if set(splat.motion.residuals()) & {*UNPLAYED}:
        notes += ("The page shows the opacities and colours of the canonical splat, which this one changes in time.",)
    if len(page) > MOVING_BYTES:
        notes += (
            f"The page has {len(page) / 1e6:.1f} MB, more than some mail takes; `fewview edit` makes it smaller.",
        )
    return page, len(kept), notes


def _views(splat: Splat, seen: Gaussians, cameras: Cameras | None) -> FirstViews:
    if len(seen) == 0:
        raise BadInputError("The splat has no Gaussians that can be seen, so there is nothing to share.")
    # Cameras say best what is up.
    return FirstViews.of(cameras, seen, None if splat.up is None or cameras is not None else torch.tensor(splat.up))


def _color(splat: Splat, background: Sequence[float] | None) -> Color:
    red, green, blue = splat.background if background is None else background
    return float(red), float(green), float(blue)


def _refuse_to_overwrite(path: Path) -> None:
    """Only a page that was shared before may be written over: never the report, or a person's own file."""
    if path.suffix.lower() not in (".html", ".htm"):
        raise BadInputError(
            f"{path.name} does not end in .html, which a page needs to open; give it another name with -o."
        )
    if path.is_dir():
        raise BadInputError(f"{path} is a folder; name a file that ends in .html with -o.")
    if path.is_file():
        with path.open("rb") as file:
            if MARK.encode() not in file.read(400):
                raise BadInputError(
                    f"{path} exists and is no page made by `fewview share`; choose another name with -o."
                )


def _seen(gaussians: Gaussians) -> Tensor:
    """bool [N]: those that are finite and can be seen."""
    g = gaussians.detach().to("cpu")
    finite = [t.isfinite().flatten(1).all(1) for t in (g.means, g.quats, g.log_scales, g.sh)]
    return torch.stack(finite).all(0) & (g.opacities >= MIN_ALPHA)


def _settings(views: FirstViews, background: Sequence[float]) -> dict[str, Any]:
    """The program's settings, version 2 of its schema; it fills in the fields of view for its window."""
    position, target = (t[0].tolist() for t in (views.positions, views.targets))
    off = {"enabled": False}
    step = round(SECONDS * FRAMES_PER_SECOND / len(views.positions))
    return {
        "version": 2,
        "tonemapping": "none",
        "highPrecisionRendering": False,
        "background": {"color": list(background)},
        "postEffectSettings": {
            "sharpness": {**off, "amount": 0},
            "bloom": {**off, "intensity": 0.1, "blurLevel": 2},
            "grading": {**off, "brightness": 1, "contrast": 1, "saturation": 1, "tint": [1, 1, 1]},
            "vignette": {**off, "intensity": 0.5, "inner": 0.3, "outer": 0.75, "curvature": 1},
            "fringing": {**off, "intensity": 0.5},
        },
        "animTracks": [
            {
                "name": "around",
                "duration": SECONDS,
                "frameRate": FRAMES_PER_SECOND,
                "loopMode": "repeat",
                "interpolation": "spline",
                "smoothness": 1,
                "keyframes": {
                    "times": [i * step for i in range(len(views.positions))],
                    "values": {
                        "position": views.positions.flatten().tolist(),
                        "target": views.targets.flatten().tolist(),
                        "fov": [0.0] * len(views.positions),
                    },
                },
            }
        ],
        "cameras": [{"initial": {"position": position, "target": target, "fov": 60}}],
        "annotations": [],
        "startMode": "animTrack",
    }
