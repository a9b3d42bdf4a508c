"""`write_share`: a splat as one HTML file that opens by itself, on a computer or a phone, without a network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...render import render
from ...render.paths import look_at, orbit
from ...scene.cameras import Cameras
from ...scene.errors import BadInputError
from ...scene.files import write_bytes
from ...scene.formats import splat_bytes
from ...scene.gaussians import Gaussians
from ...scene.geometry import Similarity
from ...scene.one_moment import one_moment
from ...scene.splat import Splat, StaticSplat
from ..stage import FOCUS_DISTANCE, Stage
from .share_page import MARK, share_document

# 16 bytes for each Gaussian and one for each coefficient of its colours, which the page's gzip makes as small as SOG;
# written in seconds, and every coefficient is kept.
SPLAT_NAME = "scene.compressed.ply"
MIN_ALPHA = 1 / 255  # less adds nothing to any pixel
KEY_VIEWS, SECONDS, FRAMES_PER_SECOND = 12, 16.0, 30
LENS_TAN = math.tan(math.radians(50) / 2)  # of the first view of a splat that comes without cameras
SIDES, PROBE_PX, ELEVATION_RAD = 12, 128, math.radians(20)
SWAY_RAD = math.radians(12)  # how far such a view moves to either side


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
    time_s: float | None = None,  # of a splat that moves, the first moment when None
) -> Shared:
    """Write `path`. Besides one moment of the splat, the title and the first views, nothing gets into the file.

    Raises BadInputError when nothing of the splat can be seen, or `path` is another kind of file, and FewviewError
    where the program that shows the splat is not installed.
    """
    _refuse_to_overwrite(path)
    still, lost = one_moment(splat, time_s)
    kept = _kept(still.gaussians)
    if len(kept) == 0:
        raise BadInputError("The splat has no Gaussians that can be seen, so there is nothing to share.")
    # Cameras say best what is up.
    views = _Views.of(cameras, kept, None if still.up is None or cameras is not None else torch.tensor(still.up))
    data, notes = splat_bytes(SPLAT_NAME, StaticSplat(kept.moved(views.file_from_world), still.antialiased))
    under = tuple(still.background if background is None else background)
    view = {
        "filename": SPLAT_NAME,
        "antialiased": still.antialiased,
        "tanX": views.tan_x,
        "tanY": views.tan_y,
        "settings": _settings(views, under),
    }
    page = share_document(title, data, view, (under[0], under[1], under[2]))
    write_bytes(path, page)
    return Shared(path, len(page), len(kept), (*lost, *notes))


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


def _kept(gaussians: Gaussians) -> Gaussians:
    """Those that are finite and can be seen."""
    g = gaussians.detach().to("cpu")
    finite = [t.isfinite().flatten(1).all(1) for t in (g.means, g.quats, g.log_scales, g.sh)]
    return g[torch.stack(finite).all(0) & (g.opacities >= MIN_ALPHA)]


@dataclass(frozen=True)
class _Views:
    """The page's frame (y up, the first view looks along -z, the focus at the origin) and the views in it."""

    file_from_world: Similarity
    positions: Tensor  # [M, 3] first view, then a closed path on which it lies
    targets: Tensor  # [M, 3]
    tan_x: float  # of half the first view's horizontal and vertical field of view
    tan_y: float

    @classmethod
    def of(cls, cameras: Cameras | None, gaussians: Gaussians, up: Tensor | None = None) -> _Views:
        stage = Stage.of(cameras, gaussians, up=up)
        if cameras is None or len(cameras) == 0:
            centers, targets = _sway(stage, gaussians)
            tan_x, tan_y = LENS_TAN, LENS_TAN * 3 / 4
        else:
            centers, targets, lens = _around(cameras, stage)
            tan_x = float(lens.width / (2 * lens.K[0, 0]))
            tan_y = float(lens.height / (2 * lens.K[1, 1]))
        cam_from_world = look_at(centers[0].double(), targets[0].double(), stage.up.double())
        right = cam_from_world[0, :3]
        up = torch.nn.functional.normalize(stage.up.double(), dim=0)
        page_from_world = torch.stack([right, up, torch.linalg.cross(right, up)])
        turned = _similarity(stage, page_from_world)
        # The program turns every file half around z, since splats come with OpenCV's axes.
        half_turn = torch.diag(torch.tensor([-1.0, -1.0, 1.0], dtype=torch.float64))
        return cls(
            _similarity(stage, half_turn @ page_from_world),
            turned(centers.double()),
            turned(targets.double()),
            tan_x,
            tan_y,
        )


def _similarity(stage: Stage, rotation: Tensor) -> Similarity:
    scale = torch.tensor(stage.scale, dtype=torch.float64)
    return Similarity(scale, rotation, -scale * rotation @ stage.center.double())


def _around(cameras: Cameras, stage: Stage) -> tuple[Tensor, Tensor, Cameras]:
    """(centers [M, 3], targets [M, 3], the first view's camera): the middle camera, then the orbit back to it."""
    middle = int((cameras.centers - cameras.centers.mean(0)).norm(dim=-1).argmin())
    center, forward = cameras.centers[middle], cameras.world_from_cam[middle, :3, 2]
    nearest = FOCUS_DISTANCE / stage.scale
    ahead = max(float((stage.center - center) @ forward), 0.3 * nearest)
    path = orbit(cameras, KEY_VIEWS).centers
    path = path.roll(-int((path - center).norm(dim=-1).argmin()), 0)
    centers = torch.cat([center[None], path[1:]])
    targets = torch.cat([(center + ahead * forward)[None], stage.center.expand(len(path) - 1, 3)])
    return centers, targets, cameras[middle]


def _sway(stage: Stage, gaussians: Gaussians) -> tuple[Tensor, Tensor]:
    """(centers [M, 3], targets [M, 3]) before a splat whose cameras nobody knows, moving a little to both sides.

    A splat is sharp where it was photographed from and a blur behind, so of a ring of views the one with the strongest
    edges is taken.
    """
    up = torch.nn.functional.normalize(stage.up, dim=0)
    level = torch.linalg.cross(up, torch.eye(3)[int(up.abs().argmin())])
    level = torch.nn.functional.normalize(level, dim=0)
    ring = _from_sides(stage, up, level, torch.arange(SIDES) * (2 * math.pi / SIDES))
    cameras = Cameras.pinhole(look_at(ring, stage.center, up), PROBE_PX / 2 / LENS_TAN, PROBE_PX, PROBE_PX * 3 // 4)
    strength = []
    for i in range(SIDES):
        with torch.no_grad():
            seen = render(gaussians, cameras[i]).rgb.clamp(0, 1)
        strength.append(float(seen.diff(dim=0).abs().mean() + seen.diff(dim=1).abs().mean()))
    best = strength.index(max(strength)) * (2 * math.pi / SIDES)
    swing = SWAY_RAD * (torch.arange(KEY_VIEWS) * (2 * math.pi / KEY_VIEWS)).sin()
    return _from_sides(stage, up, level, best + swing), stage.center.expand(KEY_VIEWS, 3)


def _from_sides(stage: Stage, up: Tensor, level: Tensor, azimuth_rad: Tensor) -> Tensor:
    """Places [n, 3] around the scene, a little above it."""
    flat = azimuth_rad.cos()[:, None] * level + azimuth_rad.sin()[:, None] * torch.linalg.cross(up, level)
    rise = math.sin(ELEVATION_RAD) * up
    return stage.center + FOCUS_DISTANCE / stage.scale * (math.cos(ELEVATION_RAD) * flat + rise)


def _settings(views: _Views, background: Sequence[float]) -> dict[str, Any]:
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
