"""`Playback`: a moving splat as pictures of our renderer while its time runs, where browsers have no graphics card.

Such a browser takes seconds to sort and draw what the server renders in a twentieth of one, and would get two megabytes
for every moment besides. So each gets a picture from where its camera is, as the background, and the splat itself again
when time stands still. Browsers with a graphics card get the splat at every moment.
"""

from __future__ import annotations

import threading

from .panel_context import Context
from .pictures import render_rgb8
from .subjects.drawn_splat import DrawnSplat
from .subjects.splat_subject import SplatSubject
from .subjects.subject import Subject

SIDE_PX = 640  # of the longer side of a picture, which is shown as large as the page: sharp enough for what moves
PICTURES_FROM = 4000  # Gaussians; fewer are drawn in a browser's own software as quickly
STILL_SECONDS = 0.6  # after the last moment, until the splat is drawn again
JPEG_QUALITY = 85


class Playback:
    """One for the page. `show` is called on the page's worker, so that only the latest moment is drawn."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._timer: threading.Timer | None = None

    def close(self) -> None:
        """No more calls."""
        if self._timer is not None:
            self._timer.cancel()

    def show(self, subject: Subject, moment: float) -> None:
        """Show a moment of a subject."""
        drawn = self._drawn_by_pictures(subject)
        if drawn is None:
            subject.show_moment(moment)
            return
        assert isinstance(subject, SplatSubject)
        try:
            self._send(subject, moment)
            drawn.held = True  # now that there is a picture in its place
            subject.show_moment(moment)
        finally:
            self._rest_later()

    def _drawn_by_pictures(self, subject: Subject) -> DrawnSplat | None:
        """The drawn splat of a subject where pictures show the same: the only one that is seen, in its own colours."""
        server = self._context.server
        if not isinstance(subject, SplatSubject) or subject.drawn is None or subject.splat is None:
            return None
        if server.renderers.has_card or not server.get_clients():
            return None
        seen = [s for s in self._context.of_kind(SplatSubject) if s.layers["splat"].seen and s.splat is not None]
        moves = subject.splat.time_range_s is not None
        few = subject.drawn.drawn_count < PICTURES_FROM
        return None if few or not moves or seen != [subject] or subject.drawn.is_tinted else subject.drawn

    def _send(self, subject: SplatSubject, moment: float) -> None:
        assert subject.splat is not None
        for client in list(self._context.server.get_clients().values()):
            camera = self._context.camera_of(client)
            picture = render_rgb8(subject.splat, camera, SIDE_PX, moment)
            client.scene.set_background_image(picture, format="jpeg", jpeg_quality=JPEG_QUALITY)

    def _rest_later(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = threading.Timer(
            STILL_SECONDS, lambda: self._context.worker.submit(self._rest, replaces="/playback/rest")
        )
        self._timer.daemon = True
        self._timer.start()

    def _rest(self) -> None:
        """Draw the splat again in place of its pictures."""
        for subject in self._context.of_kind(SplatSubject):
            if subject.drawn is not None and subject.drawn.held:
                subject.drawn.held = False
        for client in list(self._context.server.get_clients().values()):
            self._context.show_background(client)
