"""`Photographs`: the part of a subject that is a capture, with its cameras, sparse points and depth."""

from __future__ import annotations

from collections.abc import Callable

import torch
import viser
from torch import Tensor

from ...recon.evidence.depth_file import load_stereo
from ...recon.evidence.depth_maps import Stereo
from ...scene.cameras import Cameras
from ...scene.capture import Capture
from ...scene.errors import FewviewError
from ...scene.run import Run
from ...scene.splat import BLACK, Color
from ..clock import Timeline
from ..layers.camera_layer import draw_cameras, frusta_before, frustum_size
from ..layers.contact_sheet_layer import MAX_PHOTOGRAPHS, cells, draw_photograph
from ..layers.layer import Layer
from ..layers.points_layer import draw_points
from ..pictures import thumbnail
from ..stage import FOCUS_DISTANCE, Stage
from ..viewpoint import Viewpoint
from ..worker import IDLE
from .canvas import Canvas
from .first_view import MIDDLE, camera_of, view_from_behind

NEAR = 0.6  # of the distance to the subject: what stands nearer is in the way
WIDER = 1.6  # a window shows more to the sides than a photograph


class Photographs:
    """A capture on the page: frusta where its cameras are known, else a contact sheet."""

    def __init__(self, capture: Capture, run: Run | None = None) -> None:
        self.capture, self.run = capture, run
        self.background: Color = BLACK  # sRGB under what is transparent: what the splat was trained over
        self.frusta: list[viser.CameraFrustumHandle] = []
        self.frustum_size = 0.3  # page units
        self._layers: dict[str, Layer] = {}
        self._scale = 1.0  # of the stage
        self._in_the_way: set[int] = set()
        self._moment: float | None = None
        self._only_moment = False
        self._listeners: list[Callable[[int], None]] = []

    # -- what there is ----------------------------------------------------------------------------------------------

    @property
    def cameras(self) -> Cameras | None:
        return self.capture.cameras

    @property
    def timeline(self) -> Timeline | None:
        times = self.capture.times_s
        return None if times is None or self.cameras is None else Timeline.over(times.tolist())

    @property
    def metric(self) -> bool:
        """True when a unit of the world is a metre."""
        return self.capture.points is not None and self.capture.points.metric

    def counts(self) -> dict[str, int]:
        """Counts for the page's header, by name."""
        points = 0 if self.capture.points is None else len(self.capture.points)
        return {"photographs": len(self.capture), "sparse points": points}

    def words(self) -> tuple[str, ...]:
        """The times at which they were taken and the cameras that are not sure, for the page's header."""
        told = []
        times = self.capture.times_s
        if times is not None and self.capture.duration_s > 0:
            told.append(f"taken from {float(times.min()):g} s to {float(times.max()):g} s")
        if unsure := len(self.unsure()):
            told.append(f"{unsure} camera{'s' if unsure > 1 else ''} not sure (red)")
        return tuple(told)

    def unsure(self) -> set[int]:
        """The photographs whose estimated camera may be wrong."""
        unsure = {} if self.run is None else self.run.unsure_cameras()
        return {i for i, name in enumerate(self.capture.names) if name in unsure}

    def time_of(self, index: int) -> float | None:
        """The moment at which a photograph was taken, None where it does not say."""
        return self.capture.frames[index].time_s

    @property
    def stereo(self) -> Callable[[], Stereo] | None:
        """Reads the depth maps of a run that has some; they belong to `stereo_views()`."""
        if self.run is None or self.cameras is None or not self.run.depth_path.is_file():
            return None
        return self._stereo

    def stereo_views(self) -> list[int]:
        """The photographs that dense stereo has looked at: those that were not held out."""
        held_out = set(self.capture.test or ())
        return [i for i in range(len(self.capture)) if i not in held_out]

    def _stereo(self) -> Stereo:
        assert self.run is not None
        assert self.cameras is not None
        views = self.stereo_views()
        return load_stereo(
            self.run.depth_path, self.cameras[torch.tensor(views)], [self.capture.names[i] for i in views]
        )

    def middle_view(self) -> int:
        """The photograph nearest to the middle of all: the first one is often at the edge of what was photographed."""
        assert self.cameras is not None
        return int((self.cameras.centers - self.cameras.centers.mean(dim=0)).norm(dim=-1).argmin())

    def first_view(self, stage: Stage) -> Viewpoint | None:
        """From behind the middle photograph, where cameras are known: the scene, and some of the cameras."""
        if self.cameras is None or len(self.cameras) == 0:
            return None
        return view_from_behind(self.cameras, self.middle_view(), frustum_size(self.cameras, stage), stage)

    # -- on a page --------------------------------------------------------------------------------------------------

    def draw(self, canvas: Canvas, layers: dict[str, Layer], points_wanted: bool = True) -> None:
        """Put its layers on the page and into `layers`."""
        self._layers, self._scale = layers, canvas.stage.scale
        points = self.capture.points
        if points is not None and len(points):
            cloud = draw_points(canvas.server, f"{canvas.path}/points", points, canvas.stage)
            layers["points"] = Layer("Sparse points", [cloud], wanted=points_wanted)
        if self.cameras is not None:
            self._draw_cameras(canvas, self.cameras)
        else:
            canvas.worker.submit(lambda: self._draw_contact_sheet(canvas), when=IDLE)

    def _draw_cameras(self, canvas: Canvas, cameras: Cameras) -> None:
        self.frustum_size = frustum_size(cameras, canvas.stage)
        self.frusta = draw_cameras(
            canvas.server,
            f"{canvas.path}/cameras",
            self.capture,
            canvas.stage,
            self.frustum_size,
            canvas.visit,
            self.unsure(),
        )
        held_out = set(self.capture.test or ())
        trained = [f for i, f in enumerate(self.frusta) if i not in held_out]
        self._layers["cameras"] = Layer("Cameras", trained)
        if held_out:
            self._layers["held_out"] = Layer("Held-out cameras", [self.frusta[i] for i in sorted(held_out)])
        for index in range(len(self.capture)):
            canvas.worker.submit(lambda i=index: self._fill_frustum(i), when=IDLE)  # type: ignore[misc]

    def _fill_frustum(self, index: int) -> None:
        try:
            self.frusta[index].image = thumbnail(self.capture, index)
        except (FewviewError, OSError):  # a photograph that has gone leaves its frustum empty
            return

    def _draw_contact_sheet(self, canvas: Canvas) -> None:
        layer = self._layers["sheet"] = Layer("Photographs", [])
        centers, side = cells(min(len(self.capture), MAX_PHOTOGRAPHS))
        for i, center in enumerate(centers):
            if canvas.worker.closed:
                return
            path, picture = f"{canvas.path}/sheet/{i:04d}", thumbnail(self.capture, i, 320)
            layer.replace([*layer.handles, draw_photograph(canvas.server, path, picture, center, side)])

    def points(self) -> Tensor:
        """Sparse points [n, 3] in the world; none where there are none."""
        return torch.zeros(0, 3) if self.capture.points is None else self.capture.points.xyz

    def set_frustum_size(self, size: float) -> None:
        self.frustum_size = max(size, 1e-3)
        for frustum in self.frusta:
            frustum.scale = self.frustum_size

    # -- which cameras are seen -------------------------------------------------------------------------------------

    def on_view(self, listener: Callable[[int], None]) -> None:
        """Call `listener` when somebody looks through the camera of a photograph, with its index."""
        self._listeners.append(listener)

    def look_through(self, index: int | None) -> None:
        """The camera that is looked through, and what stands before it, are not drawn: they would cover everything."""
        self._in_the_way = set()
        if index is not None and self.cameras is not None:
            self._in_the_way = {index, *self._nearer(self.cameras[index], (WIDER, 1.0))}
        self._hide_frusta()

    def look_from(self, view: Viewpoint, stage: Stage) -> None:
        """Hide the frusta that stand before the middle of a view of the scene."""
        self._in_the_way = self._nearer(camera_of(view, stage), MIDDLE)
        self._hide_frusta()

    def _nearer(self, view: Cameras, zone: tuple[float, float]) -> set[int]:
        assert self.cameras is not None
        depths = frusta_before(self.cameras, view, self.frustum_size / self._scale, zone)
        return set(torch.nonzero(depths < NEAR * FOCUS_DISTANCE / self._scale).flatten().tolist())

    def looked_through(self, index: int) -> None:
        """`look_through` by a person, of which others are to know."""
        self.look_through(index)
        for listener in self._listeners:
            listener(index)

    @property
    def only_moment(self) -> bool:
        """True when only the cameras of the moment are shown."""
        return self._only_moment

    @only_moment.setter
    def only_moment(self, value: bool) -> None:
        self._only_moment = value
        self._hide_frusta()

    def show_moment(self, moment: float) -> None:
        self._moment = moment
        if self._only_moment:
            self._hide_frusta()

    def _hide_frusta(self) -> None:
        chosen = set(range(len(self.frusta)))
        if self._only_moment and self._moment is not None and self.timeline is not None:
            chosen = nearest_views(self.capture, self._moment)
        hidden = [f for i, f in enumerate(self.frusta) if i in self._in_the_way or i not in chosen]
        for name in ("cameras", "held_out"):
            if name in self._layers:
                self._layers[name].hide(hidden)


def nearest_views(capture: Capture, moment: float) -> set[int]:
    """The photographs whose time is nearest to a moment; all of them where several were taken at once."""
    assert capture.times_s is not None
    away = (capture.times_s.double() - moment).abs()
    return set(torch.nonzero(away <= away.min() + 1e-9).flatten().tolist())
