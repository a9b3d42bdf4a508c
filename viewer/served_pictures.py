"""`ServedPictures`: a splat as pictures of our renderer, for browsers without a graphics card.

Such a browser takes seconds for a frame of what the server renders in a twentieth of one, and would get megabytes for
every moment of what moves besides. So each is sent a picture from where its camera is, as the background: small ones
while the camera or time moves, then one as large as the page, whose depth hides what lies behind the splat. All
Gaussians are in it, with all their harmonics. A browser with a graphics card draws the splat itself.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import torch
import viser
from torch import Tensor

from ..recon.pipeline.seen_pixels import marked_unseen
from ..scene.capture import fit_size
from .overlays import FAR, NEAR
from .panel_context import Context
from .pictures import rendered, rgb8
from .subjects.splat_subject import SplatSubject

MOVING_SIDE_PX = (
    640  # of the longer side of a picture, which is shown as large as the page: sharp enough for what moves
)
MOVING_QUALITY = 85
STILL_SIDE_PX = 2560  # of a picture that stays; larger windows show it enlarged
STILL_QUALITY = 95
DEPTH_SIDE_PX = 512  # of the depth that comes with it
DEPTH_STEP = 1 / 256  # page units: finer steps are noise that does not compress
PICTURES_FROM = 4000  # Gaussians; fewer are drawn in a browser's own software as quickly


class ServedPictures:
    """One for the page. Pictures are made on the page's worker, so that only the latest of each browser is."""

    def __init__(self, context: Context, on_change: Callable[[], object]) -> None:
        self._context, self._on_change = context, on_change
        self._stands_for: SplatSubject | None = None
        self._lock = threading.Lock()
        context.server.renderers.when_card(self.refresh)
        context.server.on_client_connect(self.moved)
        context.overlays.within, context.overlays.sent_within = lambda: self.in_place, self._sent_within

    @property
    def in_place(self) -> bool:
        """True while browsers see pictures in place of the splat."""
        return self._stands_for is not None

    def refresh(self) -> None:
        """Make new pictures soon: something other than a camera has changed what is seen."""
        self._context.worker.submit(self.decide, replaces="/pictures")

    def decide(self) -> None:
        """Show pictures in place of the splat where they do, and else the splat itself."""
        with self._lock:  # the page asks once before its worker does
            before, self._stands_for = self._stands_for, self._shown_alone()
            for subject in self._context.of_kind(SplatSubject):
                if subject.drawn is not None:
                    subject.drawn.held = subject is self._stands_for
        if self._stands_for is not before:
            self._on_change()
        for client in list(self._context.server.get_clients().values()):
            if self.in_place:
                self._send(client)
            elif before is not None:
                self._context.show_background(client)

    def moved(self, client: viser.ClientHandle) -> None:
        """The camera of a browser is on its way."""
        self._context.worker.submit(lambda: self._send(client), replaces=f"/picture/{client.client_id}")

    def rested(self, client: viser.ClientHandle) -> None:
        """The camera of a browser, and what it sees, has come to rest."""
        self._context.worker.submit(lambda: self._send_sharp(client), replaces=f"/picture/{client.client_id}")

    def _shown_alone(self) -> SplatSubject | None:
        """The subject whose splat pictures can stand for: the only one that is seen, where browsers have no card."""
        if self._context.server.renderers.has_card:
            return None
        splats = [s for s in self._context.of_kind(SplatSubject) if s.splat is not None and "splat" in s.layers]
        seen = [s for s in splats if s.layers["splat"].seen]
        if len(seen) != 1 or seen[0].splat is None or len(seen[0].splat) < PICTURES_FROM:
            return None
        return seen[0]

    def _sent_within(self, client: viser.ClientHandle) -> bool:
        if self.in_place:
            self.rested(client)
        return self.in_place

    def _send(self, client: viser.ClientHandle) -> None:
        if (drawn := self._drawn(client, MOVING_SIDE_PX)) is not None:
            client.scene.set_background_image(drawn[0], format="jpeg", jpeg_quality=MOVING_QUALITY)

    def _send_sharp(self, client: viser.ClientHandle) -> None:
        if (drawn := self._drawn(client, STILL_SIDE_PX)) is not None:
            picture, depth = drawn
            width, height = fit_size(depth.shape[1], depth.shape[0], DEPTH_SIDE_PX)
            small = torch.nn.functional.interpolate(depth[None, None], (height, width), mode="nearest")[0, 0]
            depth = ((small / DEPTH_STEP).round() * DEPTH_STEP).clamp(NEAR, FAR)
            client.scene.set_background_image(picture, format="jpeg", jpeg_quality=STILL_QUALITY, depth=depth.numpy())

    def _drawn(self, client: viser.ClientHandle, max_side_px: int) -> tuple[np.ndarray, Tensor] | None:
        """The picture uint8 [H, W, 3] for a browser with its depth float32 [H, W] in page units.

        It is far where the splat is thinner than half, and near under overlays. None where the browser has gone, or
        pictures do not stand for a splat any more.
        """
        context, subject = self._context, self._stands_for
        if subject is None or subject.drawn is None or client.client_id not in context.server.get_clients():
            return None
        if (splat := subject.drawn.as_seen()) is None:
            return None
        camera = context.camera_of(client)
        drawn = rendered(splat, camera, max_side_px, subject.drawn.time_s)
        (height, width), rgb = drawn.alpha.shape, drawn.rgb
        if context.look.marks_unseen:  # stripes where the background shines through, in its place
            under = torch.tensor(splat.background)
            stripes = marked_unseen(under.expand(height, width, 3), torch.zeros(height, width, dtype=torch.bool))
            rgb = rgb + (1 - drawn.alpha[..., None]) * (stripes - under)
        picture = rgb8(rgb)
        depth = torch.where(drawn.alpha < 0.5, torch.inf, drawn.expected_depth * context.stage.scale)
        covered = context.overlays.laid_over(picture, camera.resized(width, height))
        return picture, depth.masked_fill(torch.from_numpy(covered), NEAR)
