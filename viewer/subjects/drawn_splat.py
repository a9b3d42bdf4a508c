"""`DrawnSplat`: a splat on the page, at one moment, and as much of it as a browser can draw."""

from __future__ import annotations

from dataclasses import replace

import viser
from torch import Tensor

from ...scene.cameras import Cameras
from ...scene.gaussians import SH_C0, Gaussians
from ...scene.splat import Splat
from ..layers.layer import Layer
from ..layers.splat_layer import UNSEEN, draw_splat, drawable, most_visible, splat_arrays, view_colors
from .canvas import Canvas
from .splat_views import MOVING_GAUSSIANS, SplatViews

MANY_GAUSSIANS = 120_000  # what a browser without a graphics card draws in about a second: larger splats are thinned
FEW_GAUSSIANS = 60_000  # to this


class DrawnSplat:
    """The layer of a splat. It is empty until `show` is called."""

    def __init__(self, canvas: Canvas, layer: Layer, cameras: Cameras | None) -> None:
        self.splat: Splat | None = None
        self.time_s: float | None = None  # the moment that is shown; the first one when None
        self._canvas, self._layer, self._cameras = canvas, layer, cameras
        self._part: Splat | None = None  # what of the splat is drawn
        self._tint: Tensor | None = None
        self._part_tint: Tensor | None = None
        self._draws_all = False
        self._views = SplatViews(canvas.server)
        self._held = True  # until the page has decided how it is seen
        self.follows_cameras = True  # False leaves out the colours that a resting camera sees
        self._colors: tuple[Tensor, Tensor] | None = None  # harmonics, and the colours [N, 3] that came of them

    @property
    def gaussians(self) -> Gaussians | None:
        """All of it at the moment that is shown."""
        return None if self.splat is None else self.splat.at(self.time_s)

    @property
    def is_tinted(self) -> bool:
        """True while it is drawn in colours other than its own."""
        return self._tint is not None

    def as_seen(self) -> Splat | None:
        """The whole splat, in the colours that it is drawn in."""
        if self.splat is None or self._tint is None:
            return self.splat
        colored = replace(self.splat.gaussians, sh=((self._tint - 0.5) / SH_C0)[:, None])
        return replace(self.splat, gaussians=colored)

    @property
    def held(self) -> bool:
        """True while nothing is drawn, as pictures are seen in its place; what is current is drawn at the end of it."""
        return self._held

    @held.setter
    def held(self, value: bool) -> None:
        changed, self._held = value != self._held, value
        if not changed or self._part is None:
            return
        if not value:
            self._draw(self._part)
        elif self._layer.handles:
            self._draw_nothing()

    @property
    def is_large(self) -> bool:
        """True when it has more Gaussians than a browser without a graphics card draws at once."""
        return self.splat is not None and len(self.splat) > MANY_GAUSSIANS

    @property
    def drawn_count(self) -> int:
        """Gaussians on the page, of all that there are."""
        return 0 if self._part is None else len(self._part)

    @property
    def draws_all(self) -> bool:
        """True when all Gaussians of a large splat are drawn, not only those that cover most of the picture."""
        return self._draws_all

    @draws_all.setter
    def draws_all(self, value: bool) -> None:
        if value == self._draws_all:
            return
        self._draws_all = value
        if self.splat is not None and self.is_large:
            self.show(self.splat, self._tint)

    def show(self, splat: Splat, tint: Tensor | None = None) -> None:
        """Draw another splat in place of the present one; `tint` [N, 3] gives colours other than its own."""
        part, part_tint = splat, tint
        if len(splat) > MANY_GAUSSIANS and not self._draws_all:
            # The same ones at all moments: others in each would flicker.
            rows = most_visible(splat.at(self.time_s), FEW_GAUSSIANS)
            part, part_tint = splat.rows(rows), None if tint is None else tint[rows]
        self.splat, self._tint, self._part, self._part_tint = splat, tint, part, part_tint
        self._draw(part)

    def show_moment(self, time_s: float) -> None:
        """Draw it as it is at another moment, where it moves."""
        if self.splat is None or self.splat.time_range_s is None or time_s == self.time_s:
            self.time_s = time_s
            return
        self.time_s = time_s
        assert self._part is not None
        self._draw(self._part)

    def moves(self, client: viser.ClientHandle) -> None:
        """Draw less in a browser whose camera moves."""
        self._views.moves(client)

    def rests(self, client: viser.ClientHandle) -> None:
        """Draw all in a browser whose camera has come to rest, in the colours that are seen from there."""
        center = self._canvas.stage.world(client.camera.position)
        self._views.rests(client, center, true_colors=self.follows_cameras)

    def is_astray(self, client: viser.ClientHandle) -> bool:
        """True when a browser's camera has gone far from where its colours were seen."""
        stage = self._canvas.stage
        return self._views.is_astray(client, stage.world(client.camera.position), stage.center)

    def drop_colors(self, client: viser.ClientHandle) -> None:
        """Draw the colours of all directions in a browser."""
        self._views.drop_colors(client)

    def _draw(self, part: Splat) -> None:
        if self._held:
            self._canvas.redrawn()
            return
        gaussians = part.at(self.time_s)
        colors = self._colors_of(gaussians) if self._part_tint is None else self._part_tint
        kept = drawable(gaussians)
        gaussians, colors = gaussians[kept].detach().to("cpu"), colors[kept]
        arrays = shown = splat_arrays(gaussians, self._canvas.stage, colors)
        thinned = self._views.is_thinned(len(gaussians))
        if thinned:
            shown = arrays.rows(most_visible(gaussians, MOVING_GAUSSIANS).numpy())
        node = draw_splat(self._canvas.server, f"{self._canvas.path}/splat", shown, self._layer.seen)
        self._layer.replace([node])
        self._views.renew(node, gaussians, arrays, tinted=self._part_tint is not None, thinned=thinned)
        self._canvas.redrawn()

    def _draw_nothing(self) -> None:
        """One Gaussian that cannot be seen: browsers sort and shade all of a splat that is only hidden."""
        assert self._part is not None
        node = draw_splat(self._canvas.server, f"{self._canvas.path}/splat", UNSEEN, self._layer.seen)
        self._layer.replace([node])
        self._views.renew(node, self._part.gaussians[:1], UNSEEN, tinted=True, thinned=False)

    def _colors_of(self, gaussians: Gaussians) -> Tensor:
        """Colours [N, 3], worked out anew only for other harmonics: at each moment they would cost half of a redraw.

        A motion changes them by the little that the cameras' directions turn.
        """
        if self._colors is None or self._colors[0] is not gaussians.sh:
            self._colors = gaussians.sh, view_colors(gaussians, self._cameras)
        return self._colors[1]
