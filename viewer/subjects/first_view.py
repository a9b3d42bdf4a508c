"""The first view of a scene with cameras: near to what was photographed, and with some of the cameras in it."""

from __future__ import annotations

import numpy as np

from ...render.aim import look_at
from ...scene.cameras import Cameras
from ..layers.camera_layer import frusta_before
from ..stage import Stage
from ..viewpoint import Viewpoint

STEPS_BACK = (0.1, 0.2, 0.3, 0.4, 0.5)  # of the distance to the focus; farther back the scene would be small
RISE = 0.5  # of the way back: cameras beside the middle one are then seen below the subject
WANTED = 3  # cameras in the picture
MIDDLE = (0.5, 0.5)  # of the width and the height: where nothing may stand before the subject


def view_from_behind(cameras: Cameras, index: int, size: float, stage: Stage) -> Viewpoint:
    """The viewpoint on the page behind one of the cameras, no farther back than some frusta of a page size are seen.

    Those that stand before the middle of the picture do not count, as they are hidden there.
    """
    through = stage.view_of(cameras[index])
    found: list[tuple[int, Viewpoint]] = []
    for back in STEPS_BACK:
        ahead = through.look_at - through.position
        rise = RISE * back * float(np.linalg.norm(ahead)) * stage.up.numpy()
        view = Viewpoint(through.position - back * ahead + rise, through.look_at, through.fov_rad)
        camera = camera_of(view, stage)
        seen = frusta_before(cameras, camera, size / stage.scale).isfinite()
        seen &= ~frusta_before(cameras, camera, size / stage.scale, MIDDLE).isfinite()
        found.append((int(seen.sum()), view))
        if found[-1][0] >= min(WANTED, len(cameras) - 1):
            break
    return max(found, key=lambda counted: counted[0])[1]


def camera_of(view: Viewpoint, stage: Stage) -> Cameras:
    """The camera [] in the world of an upright viewpoint on the page, in a square window."""
    center, target = (stage.world(point) for point in (view.position, view.look_at))
    return Cameras.pinhole(look_at(center, target, stage.up), 50 / np.tan(view.fov_rad / 2), 100, 100)
