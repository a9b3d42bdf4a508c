"""`DrivingSubject`: a driving log, of which one key frame is shown, in the metres of its LiDAR."""

from __future__ import annotations

import numpy as np
import torch
import viser
from torch import Tensor

from ...scene.boxes import Boxes
from ...scene.cameras import Cameras
from ...scene.datasets.nuscenes_classes import as_detection_classes
from ...scene.driving import DrivingFrame, DrivingLog
from ...scene.errors import FewviewError
from ..clock import KEY_FRAMES, Timeline
from ..layers.camera_layer import draw_cameras
from ..layers.driving_layer import HEIGHT, LIDAR_POINT_SIZE, draw_boxes, draw_lidar, lidar_colors
from ..layers.layer import Layer
from ..pictures import thumbnail
from ..stage import Stage
from ..viewpoint import Viewpoint
from ..worker import IDLE
from .canvas import Canvas
from .subject import Facts, Subject

# The frame's metres on the page: the LiDAR is its origin, z is up, and y points to where the car is going.
DRIVING_STAGE = Stage(torch.zeros(3), 0.1, torch.tensor([0.0, 0.0, 1.0]))
FRUSTUM_M = 2.0
FROM_M, TO_M = (0.0, -22.0, 14.0), (0.0, 6.0, -1.0)  # the first view: from behind and above, along the road
FOV_RAD = 1.1
FIRST_SCORE = 0.3  # detections below are hidden to begin with
TRUE_COLOR = (40, 200, 90)  # of annotated boxes where there are detections, which keep their classes' colours


class DrivingSubject(Subject):
    """A log and the key frame of it that is shown; the clock goes from key frame to key frame."""

    def __init__(self, title: str, log: DrivingLog, index: int = 0, notes: tuple[str, ...] = ()) -> None:
        """Reads the key frame at `index`, which is seen first. Raises BadInputError when it cannot be read."""
        super().__init__(title, notes)
        self.log, self.index, self.frame = log, index, log[index]
        self.coloring, self.min_score = HEIGHT, FIRST_SCORE
        self.problem: tuple[int, str] | None = None  # index of a key frame that was asked for, why it is not shown
        self._through: int | None = None
        self._canvas: Canvas | None = None

    # -- what it is -------------------------------------------------------------------------------------------------

    @property
    def cameras(self) -> Cameras | None:
        return self.frame.capture.cameras

    @property
    def timeline(self) -> Timeline | None:
        return Timeline(1, len(self.log), KEY_FRAMES, self.index + 1) if len(self.log) > 1 else None

    @property
    def metric(self) -> bool:
        return True

    def facts(self) -> Facts:
        return Facts({"key frames": len(self.log)})

    def own_stage(self) -> tuple[int, Stage]:
        return 1, DRIVING_STAGE

    @property
    def truth(self) -> Boxes | None:
        """With the classes of the detection task."""
        return None if self.frame.truth is None else as_detection_classes(self.frame.truth)

    @property
    def detections(self) -> Boxes | None:
        """Those whose score is high enough."""
        found = self.frame.detections
        if found is None:
            return None
        found = as_detection_classes(found)
        return found if found.scores is None else found[found.scores >= self.min_score]

    @property
    def true_color(self) -> tuple[int, int, int] | None:
        """One colour for the true boxes where there are detections, None for those of their classes."""
        return None if self.frame.detections is None else TRUE_COLOR

    # -- on a page --------------------------------------------------------------------------------------------------

    @property
    def canvas(self) -> Canvas:
        assert self._canvas is not None
        return self._canvas

    def draw(self, canvas: Canvas) -> None:
        self._canvas = canvas
        for key, name in (("points", "LiDAR points"), ("photographs", "Cameras"), ("truth", "True boxes")):
            self.layers[key] = Layer(name, [])
        if self.frame.detections is not None:
            self.layers["detections"] = Layer("Detected boxes", [])
        self._draw_frame()

    def points(self) -> Tensor:
        return self.frame.points.xyz

    def first_view(self, stage: Stage, up: np.ndarray) -> Viewpoint:
        position, look_at = (stage.place(torch.tensor(p)).astype(float) for p in (FROM_M, TO_M))
        return Viewpoint(position, look_at, FOV_RAD)

    def show_moment(self, moment: float) -> None:
        """The key frame with the number `moment`; where it cannot be read, `problem` says why."""
        try:
            self.go_to(round(moment) - 1)
        except FewviewError as error:
            self.problem = round(moment) - 1, str(error)
            self.changed()

    def go_to(self, index: int) -> None:
        """Read and draw another key frame. Raises BadInputError when it cannot be read; the present one stays."""
        frame = self.log[index]
        self.frame, self.index, self.problem = frame, index, None
        self._draw_frame()
        self.changed()

    def color_points(self, coloring: str) -> None:
        self.coloring = coloring
        self._draw_points()

    def set_min_score(self, score: float) -> None:
        self.min_score = score
        self._draw_boxes("detections", self.detections, None)

    def look_through(self, index: int | None) -> None:
        """The camera that is looked through is not drawn, in later frames neither: it would cover everything."""
        self._through = index
        layer = self.layers["photographs"]
        layer.hide([] if index is None else layer.handles[index : index + 1])

    # -- inside -----------------------------------------------------------------------------------------------------

    def _draw_frame(self) -> None:
        with self.canvas.server.atomic():
            self._draw_points()
            self._draw_boxes("truth", self.truth, self.true_color)
            if "detections" in self.layers:
                self._draw_boxes("detections", self.detections, None)
            self._draw_cameras()

    def _draw_points(self) -> None:
        layer = self.layers["points"]
        size = layer.handles[0].point_size if layer.handles else LIDAR_POINT_SIZE
        colors = lidar_colors(self.frame, self.coloring)
        path = f"{self.canvas.path}/lidar"
        layer.replace([draw_lidar(self.canvas.server, path, self.frame, self.canvas.stage, colors, size)])

    def _draw_boxes(self, key: str, boxes: Boxes | None, color: tuple[int, int, int] | None) -> None:
        layer = self.layers[key]
        if boxes is not None and len(boxes):
            path = f"{self.canvas.path}/{key}"
            layer.replace([draw_boxes(self.canvas.server, path, boxes, self.canvas.stage, color)])
            return
        for handle in layer.handles:
            handle.remove()
        layer.replace([])

    def _draw_cameras(self) -> None:
        layer, frame, canvas = self.layers["photographs"], self.frame, self.canvas
        path = f"{canvas.path}/photographs"
        names = [f"{path}/{i:04d}" for i in range(len(frame.capture))]
        for handle in layer.handles:
            if handle.name not in names:
                handle.remove()
        if frame.capture.cameras is None:
            layer.replace([])
            return
        size = FRUSTUM_M * canvas.stage.scale
        frusta = draw_cameras(canvas.server, path, frame.capture, canvas.stage, size, canvas.visit)
        layer.replace(frusta)
        self.look_through(self._through)
        for i, frustum in enumerate(frusta):
            canvas.worker.submit(lambda i=i, frustum=frustum: _fill(self, frame, i, frustum), when=IDLE)  # type: ignore[misc]


def _fill(subject: DrivingSubject, frame: DrivingFrame, index: int, frustum: viser.CameraFrustumHandle) -> None:
    if frame is not subject.frame:  # another frame was chosen meanwhile
        return
    try:
        frustum.image = np.ascontiguousarray(thumbnail(frame.capture, index))
    except (FewviewError, OSError):  # a photograph that has gone leaves its frustum empty
        return
