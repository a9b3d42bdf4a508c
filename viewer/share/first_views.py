"""`FirstViews`: where a shared page looks from, found from the cameras of a splat or from the splat alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ...render import render
from ...render.paths import look_at, orbit
from ...scene.cameras import Cameras
from ...scene.gaussians import Gaussians
from ...scene.geometry import Similarity
from ..stage import FOCUS_DISTANCE, Stage

KEY_VIEWS = 12
LENS_TAN = math.tan(math.radians(50) / 2)  # of the first view of a splat that comes without cameras
SIDES, PROBE_PX, ELEVATION_RAD = 12, 128, math.radians(20)
SWAY_RAD = math.radians(12)  # how far such a view moves to either side


@dataclass(frozen=True)
class FirstViews:
    """The page's frame (y up, the first view looks along -z, the focus at the origin) and the views in it."""

    page_from_world: Similarity
    file_from_world: Similarity  # of the file for the SuperSplat Viewer, which turns it half around z
    positions: Tensor  # [M, 3] first view, then a closed path on which it lies
    targets: Tensor  # [M, 3]
    tan_x: float  # of half the first view's horizontal and vertical field of view
    tan_y: float

    @classmethod
    def of(cls, cameras: Cameras | None, gaussians: Gaussians, up: Tensor | None = None) -> FirstViews:
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
            turned,
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
