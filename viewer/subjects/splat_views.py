"""`SplatViews`: a drawn splat as each browser is to see it, from where its camera is."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import viser
from torch import Tensor

from ...scene.gaussians import Gaussians
from ..layers.splat_layer import SplatArrays, colors_from, is_view_dependent, most_visible
from ..server import ViewerServer

# Of the distance to the subject: farther from where colours were seen, those of all directions are nearer to the truth.
# On the fox (19 views, degree 3) those of a photograph 0.2 to 0.3 away are 3 to 7 dB nearer, 0.76 away 3 dB farther.
ASTRAY = 0.3
MOVING_GAUSSIANS = 30_000  # what of a splat is drawn while the camera moves: about 0.7 s a frame on two cores


@dataclass
class _Drawing:
    """A node that all browsers have, and the Gaussians [N] and arrays of N rows that it was made from."""

    node: viser.GaussianSplatHandle
    gaussians: Gaussians
    arrays: SplatArrays
    tinted: bool  # with colours that are not the splat's, which no direction changes
    thinned: bool  # it has fewer rows than the arrays


class SplatViews:
    """Fewer Gaussians for a browser whose camera moves, and the colours that it sees for one whose camera rests.

    The page's renderer knows one colour for each Gaussian. Where a camera stands still, it may as well be the one that
    the spherical harmonics give for that camera. It is sent to that browser alone, and only for a splat that has any.
    """

    def __init__(self, server: ViewerServer) -> None:
        self._server = server
        self._lock = threading.Lock()
        self._drawing: _Drawing | None = None
        self._moving: set[int] = set()  # browsers
        self._has: dict[int, object] = {}  # what a browser has in place of what all have
        self._seen_from: dict[int, Tensor] = {}  # where [3] the colours of a browser of its own are seen from

    def is_thinned(self, count: int) -> bool:
        """True when of `count` Gaussians only some are drawn at present, as somebody moves."""
        return count > MOVING_GAUSSIANS and bool(self._moving)

    def renew(
        self,
        node: viser.GaussianSplatHandle,
        gaussians: Gaussians,  # [N] that can be drawn
        arrays: SplatArrays,  # of these
        *,
        tinted: bool,
        thinned: bool,
    ) -> None:
        """The splat was drawn anew, the same for all browsers."""
        with self._lock:
            self._drawing = _Drawing(node, gaussians, arrays, tinted, thinned)
            self._has.clear()
            self._seen_from.clear()

    def moves(self, client: viser.ClientHandle) -> None:
        """A browser's camera has begun to move: draw less there."""
        with self._lock:
            self._moving.add(client.client_id)
            drawing = self._drawing
            if drawing is None or len(drawing.gaussians) <= MOVING_GAUSSIANS:
                return
            if drawing.thinned and client.client_id not in self._has:  # it has no more than that
                return
            rows = most_visible(drawing.gaussians, MOVING_GAUSSIANS).numpy()
            self._send(client, "less", drawing, drawing.arrays.rows(rows))

    def rests(self, client: viser.ClientHandle, center: Tensor, *, true_colors: bool = True) -> None:
        """A browser's camera has come to rest at `center` [3] in the world: draw all there, in the colours seen there.

        Without `true_colors` the colours stay those that all browsers have.
        """
        with self._lock:
            self._moving.discard(client.client_id)
            drawing, wanted = self._drawing, (true_colors, *center.tolist())
            if drawing is None or self._has.get(client.client_id) == wanted:
                return
            if true_colors and not drawing.tinted and is_view_dependent(drawing.gaussians):
                colors = colors_from(drawing.gaussians, center)
                self._send(client, wanted, drawing, drawing.arrays.colored(colors))
                self._seen_from[client.client_id] = center
            elif client.client_id in self._has or drawing.thinned:
                self._send(client, wanted, drawing, drawing.arrays)

    def is_astray(self, client: viser.ClientHandle, center: Tensor, focus: Tensor) -> bool:
        """True when a browser at `center` [3] has colours seen too far from there; `focus` [3] is the subject."""
        seen_from = self._seen_from.get(client.client_id)
        return seen_from is not None and bool((center - seen_from).norm() > ASTRAY * (seen_from - focus).norm())

    def drop_colors(self, client: viser.ClientHandle) -> None:
        """Give a browser the colours of all directions again."""
        with self._lock:
            if self._drawing is not None and client.client_id in self._seen_from:
                self._send(client, "all", self._drawing, self._drawing.arrays)

    def _send(self, client: viser.ClientHandle, what: object, drawing: _Drawing, arrays: SplatArrays) -> None:
        self._has[client.client_id] = what
        self._seen_from.pop(client.client_id, None)
        self._server.update_for(client, drawing.node, buffer=arrays.packed())
