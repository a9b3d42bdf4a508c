"""The report's pictures: taken from the run once, then encoded as small as the report's size asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ...recon.evidence.depth_file import load_stereo
from ...render.paths import orbit
from ...scene.capture import Capture, evenly_spaced, fit_size
from ...scene.errors import FewviewError
from ...scene.images import load_pixels
from ...scene.run import Run
from ...scene.run_splat import load_run_splat
from ..depth_colors import depth_picture
from ..pictures import error_map, opaque, render_rgb8, resize_to, thumbnail
from .report_values import background, is_held_out, mapping, ranked_views

MAX_PICTURE_PX, MAX_SHEET_PX = 640, 200
MAX_SHEET = 60  # photographs on the contact sheet
WORST, MEDIAN, BEST = 5, 1, 3  # views that are shown where there are more
PLACES = ("", "2nd ", "3rd ", "4th ", "5th ")  # WORST of them
DEPTH_VIEWS = 3
ORBIT_VIEWS = 4  # a full turn of the orbit; the last is its lowest point and not shown


@dataclass(frozen=True)
class Level:
    """Sizes and quality at which pictures are encoded."""

    picture_px: int
    sheet_px: int
    quality: int


LEVELS = (Level(640, 200, 85), Level(560, 160, 78), Level(448, 128, 70), Level(320, 96, 55))  # best first


@dataclass(frozen=True)
class Picture:
    pixels: np.ndarray  # uint8 [H, W, 3]
    caption: str


@dataclass(frozen=True)
class View:
    """One measured view."""

    name: str
    rank: str  # worst, best, ..., empty in between
    held_out: bool
    metrics: Mapping[str, Any]
    pictures: tuple[Picture, ...]  # photograph, rendering, error, and what nobody had seen; some may be missing


@dataclass(frozen=True)
class Pictures:
    """All that the report shows; every part may be empty."""

    around: tuple[Picture, ...]
    sheet: tuple[tuple[Picture, bool], ...]  # with whether it was held out
    views: tuple[View, ...]  # from the worst to the best
    depth: tuple[Picture, ...]
    mesh: tuple[Picture, ...]

    @classmethod
    def of(cls, run: Run, metrics: Mapping[str, Any], capture: Capture | None) -> Pictures:
        """Parts that are missing or damaged are left out."""
        under = background(metrics)
        return cls(
            tuple(_or_nothing(lambda: _around(run, capture))),
            tuple(_or_nothing(lambda: _sheet(capture, under))),
            tuple(_views(run, metrics)),
            tuple(_or_nothing(lambda: _depth(run, capture, under))),
            tuple(_or_nothing(lambda: _mesh(run, metrics))),
        )


def _or_nothing(make: Callable[[], list]) -> list:
    try:
        return make()
    except (FewviewError, OSError):  # the report is about what is there
        return []


def _around(run: Run, capture: Capture | None) -> list[Picture]:
    """The splat from one end of the photographed side, its middle and its other end."""
    if capture is None or capture.cameras is None or not run.splat_path.is_file():
        return []
    splat = load_run_splat(run)
    path = orbit(capture.cameras, ORBIT_VIEWS)
    names = ("from one side", "from the middle, higher up", "from the other side")
    # Of what moves its first moment, one halfway and the last: three pictures that say that it does.
    moments = (
        [None] * len(names) if splat.time_range_s is None else np.linspace(*splat.time_range_s, len(names)).tolist()
    )
    return [
        Picture(
            render_rgb8(splat, path[i], MAX_PICTURE_PX, moment),
            name if moment is None else f"{name}, at {moment:.3g} s",
        )
        for i, (name, moment) in enumerate(zip(names, moments, strict=True))
    ]


def _sheet(capture: Capture | None, under: Sequence[float] | None) -> list[tuple[Picture, bool]]:
    if capture is None:
        return []
    held_out = set(capture.test or ())
    chosen = evenly_spaced(range(len(capture)), MAX_SHEET)
    pictures = []
    for i in chosen:
        found = _or_nothing(lambda i=i: [Picture(thumbnail(capture, i, MAX_SHEET_PX, under), capture.names[i])])  # type: ignore[misc]
        pictures += [(picture, i in held_out) for picture in found]
    return pictures


def _views(run: Run, metrics: Mapping[str, Any]) -> list[View]:
    views = ranked_views(metrics)
    return [
        View(str(v.get("name", "?")), rank, is_held_out(v), v, tuple(_compared(run, metrics, v)))
        for v, rank in _chosen(views)
    ]


def _chosen(views: list[Mapping[str, Any]]) -> list[tuple[Mapping[str, Any], str]]:
    """The views to show, with their rank, of `views` from the worst to the best."""
    n = len(views)
    if n <= WORST + MEDIAN + BEST:
        return [(v, "" if n == 1 else "worst" if i == 0 else "best" if i == n - 1 else "") for i, v in enumerate(views)]
    worst = [(v, f"{place}worst") for v, place in zip(views, PLACES, strict=False)]
    best = [(v, f"{place}best") for v, place in zip(views[-BEST:], PLACES[BEST - 1 :: -1], strict=True)]
    return [*worst, (views[n // 2], "median"), *best]


def _compared(run: Run, metrics: Mapping[str, Any], view: Mapping[str, Any]) -> list[Picture]:
    rendering, photo = picture_inside(run, view.get("render")), picture_inside(run, view.get("photo"))
    pictures = []
    if photo is not None:
        photo = _shrunk(opaque(photo, background(metrics)), MAX_PICTURE_PX)
        pictures.append(Picture(photo, "photograph"))
    if rendering is not None:
        rendering = _shrunk(opaque(rendering), MAX_PICTURE_PX)
        pictures.append(Picture(rendering, "rendering"))
    if photo is not None and rendering is not None:
        photo = resize_to(photo, rendering.shape[1], rendering.shape[0])
        pictures.append(Picture(error_map(rendering, photo), "error"))
    unseen = picture_inside(run, view.get("unseen"))
    if unseen is not None:
        pictures.append(Picture(_shrunk(opaque(unseen), MAX_PICTURE_PX), "striped: seen by no training photograph"))
    return pictures


def picture_inside(run: Run, relative: Any) -> np.ndarray | None:
    """Pixels of a picture inside the run; None when it is absent, damaged or outside."""
    if not isinstance(relative, str):
        return None
    path = (run.path / relative).resolve()
    if not path.is_relative_to(run.path.resolve()) or not path.is_file():
        return None
    try:
        return load_pixels(path)
    except FewviewError:
        return None


def _mesh(run: Run, metrics: Mapping[str, Any]) -> list[Picture]:
    """The contact sheet that `fewview mesh` made."""
    path = run.renders_path / "mesh" / f"{run.mesh_path.stem}.png"
    if not path.is_file() or not mapping(metrics, "mesh"):
        return []
    return [Picture(load_pixels(path), "photograph, splat, mesh, and the shape of the mesh")]


def _depth(run: Run, capture: Capture | None, under: Sequence[float] | None) -> list[Picture]:
    """A few training photographs, each followed by what stereo found in it."""
    if capture is None or capture.cameras is None or not run.depth_path.is_file():
        return []
    held_out = set(capture.test or ())
    views = evenly_spaced([i for i in range(len(capture)) if i not in held_out], DEPTH_VIEWS)
    names = [capture.names[i] for i in views]
    stereo = load_stereo(run.depth_path, capture.cameras[torch.tensor(views)], names)
    pictures = []
    for i, name, found in zip(views, names, stereo.maps, strict=True):
        depth = depth_picture(found.depth.numpy())
        height, width = depth.shape[:2]
        photo = resize_to(thumbnail(capture, i, MAX_PICTURE_PX, under), width, height)
        pictures += [Picture(_shrunk(photo, MAX_PICTURE_PX), name), Picture(_shrunk(depth, MAX_PICTURE_PX), "depth")]
    return pictures


def sized_pixels(pixels: np.ndarray, max_side_px: int) -> np.ndarray:
    """uint8 [H, W, 3 or 4] over nothing, with the longer side at most `max_side_px`."""
    return _shrunk(opaque(pixels), max_side_px)


def _shrunk(pixels: np.ndarray, max_side_px: int) -> np.ndarray:
    width, height = fit_size(pixels.shape[1], pixels.shape[0], max_side_px)
    return pixels if width == pixels.shape[1] else resize_to(pixels, width, height)


def sized(picture: Picture, max_side_px: int) -> np.ndarray:
    """The picture's pixels, its longer side at most `max_side_px`."""
    return _shrunk(picture.pixels, max_side_px)
