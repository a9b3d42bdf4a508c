"""`CanvasWipe`: a photograph over a part of the 3D view of every browser that looks from where it was taken.

Where the page draws the splat the picture is viser's background with depth: near left of the line, where it hides the
scene, and far right of it. Where pictures stand for the splat it is a part of these. What turns about the place of the
camera sees the photograph turned as well; who leaves that place sees the scene alone.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import viser

from ..scene.cameras import Cameras
from ..scene.splat import BLACK
from .overlays import FAR, NEAR
from .panel_context import Context
from .pictures import behind

SIDE_PX = 720  # height of the picture at most, which is shown as large as the canvas
SAME_PLACE = 0.02  # page units; a scene has a few
LEAST_COSINE = 0.2  # of the angle between photograph and view: towards 90 degrees the picture would be infinitely large
JPEG_QUALITY = 90


class CanvasWipe:
    """One for the page. `show` says what lies over the view from now on, `hide` that nothing does."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._photograph: tuple[np.ndarray, Cameras, float] | None = None
        self._covered: set[int] = set()  # browsers that see it
        self._followed: set[int] = set()  # browsers whose camera is listened to
        context.overlays.shown.append(self)

    def show(self, photograph: np.ndarray, camera: Cameras, share: float) -> None:
        """Lay a photograph [H, W, 3] uint8, taken by `camera` [] at that size, over `share` of its width."""
        self._photograph = photograph, camera, share
        self._draw()

    def hide(self) -> None:
        """The scene alone."""
        self._photograph = None
        self._draw()

    def _draw(self) -> None:
        for client in list(self._context.server.get_clients().values()):
            if client.client_id not in self._followed and self._photograph is not None:
                self._followed.add(client.client_id)
                client.camera.on_update(self._moved)
            self._draw_in(client)

    def _moved(self, camera: Any) -> None:
        client = camera.client
        if self._context.overlays.within():
            return
        if self._photograph is not None or client.client_id in self._covered:
            self._context.worker.submit(lambda: self._draw_in(client), replaces=f"/wipe/{client.client_id}")

    def _draw_in(self, client: viser.ClientHandle) -> None:
        if self._context.overlays.sent_within(client):
            self._covered.discard(client.client_id)
            return
        height = min(max(int(client.camera.image_height), 1), SIDE_PX)
        laid = self.over(self._context.camera_of(client, height))
        if laid is not None:
            picture, seen = laid
            depth = np.where(seen, NEAR, FAR)
            client.scene.set_background_image(picture, format="jpeg", jpeg_quality=JPEG_QUALITY, depth=depth)
            self._covered.add(client.client_id)
        elif client.client_id in self._covered:
            self._covered.discard(client.client_id)
            self._context.show_background(client)

    def over(self, view: Cameras) -> tuple[np.ndarray, np.ndarray] | None:
        """The photograph as a camera sees it, and where; None where it looks from elsewhere, or to another side."""
        if self._photograph is None:
            return None
        photograph, camera, share = self._photograph
        apart = float((view.centers - camera.centers).norm()) * self._context.stage.scale
        facing = float(view.world_from_cam[:3, 2] @ camera.world_from_cam[:3, 2])
        if apart > SAME_PLACE or facing < LEAST_COSINE:
            return None
        splat = self._context.active.splat
        ground = behind(BLACK if splat is None else splat.background, striped=False)[0, 0]
        return laid_over(photograph, camera, view, share, ground)


def laid_over(
    photograph: np.ndarray,  # uint8 [h, w, 3]
    camera: Cameras,  # [] that took it, at its size
    view: Cameras,  # [] from the same place
    share: float,  # of the photograph's width that is seen, from the left
    ground: np.ndarray,  # uint8 [3]
) -> tuple[np.ndarray, np.ndarray]:
    """The photograph as `view` sees it, uint8 [H, W, 3], and where it is seen, bool [H, W]; elsewhere is `ground`."""
    width, height = int(view.width), int(view.height)
    turn = (camera.cam_from_world[:3, :3] @ view.cam_from_world[:3, :3].T).double().numpy()
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])  # centres of pixels are whole numbers in OpenCV
    photograph_from_view = camera.K.double().numpy() @ turn @ np.linalg.inv(view.K.double().numpy())
    matrix = np.linalg.inv(half) @ photograph_from_view @ half
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    at = np.stack([x, y, np.ones_like(x)], axis=-1) @ photograph_from_view.T
    column, row = (at[..., i] / np.where(at[..., 2] == 0, 1, at[..., 2]) for i in (0, 1))
    inside = (at[..., 2] > 0) & (row >= 0) & (row <= photograph.shape[0])
    inside &= (column >= 0) & (column <= photograph.shape[1])
    seen = inside & (column <= share * photograph.shape[1])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    picture = cv2.warpPerspective(photograph, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    picture[~seen] = ground
    edge = np.zeros_like(seen)
    edge[:, :-1] = seen[:, :-1] & ~seen[:, 1:] & inside[:, 1:]
    picture[edge | np.roll(edge, -1, axis=1)] = 255  # a line two pixels wide
    return picture, seen
