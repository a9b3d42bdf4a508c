"""`Drive`: the key frame of a driving log that the page shows, and its layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import viser

from ..scene.boxes import Boxes
from ..scene.datasets.nuscenes_classes import as_detection_classes
from ..scene.driving import DrivingFrame, DrivingLog
from ..scene.errors import FewviewError
from .layers.cameras import draw_cameras
from .layers.driving import HEIGHT, LIDAR_POINT_SIZE, draw_boxes, draw_lidar, lidar_colors
from .layers.layer import Layer
from .pictures import thumbnail
from .pilot import Viewpoint
from .stage import Stage
from .worker import IDLE, Worker

# The frame's metres on the page: the LiDAR is its origin, z is up, and y points to where the car is going.
STAGE = Stage(torch.zeros(3), 0.1, torch.tensor([0.0, 0.0, 1.0]))
FRUSTUM_M = 2.0
FROM_M, TO_M = (0.0, -22.0, 14.0), (0.0, 6.0, -1.0)  # the first view: from behind and above, along the road
FOV_RAD = 1.1
FIRST_SCORE = 0.3  # detections below are hidden to begin with
TRUE_COLOR = (40, 200, 90)  # of annotated boxes where there are detections, which keep their classes' colours


class Drive:
    """Draws the frame that is chosen. All methods may be called from any thread, one at a time."""

    def __init__(
        self,
        server: viser.ViserServer,
        log: DrivingLog,
        frame: DrivingFrame,
        stage: Stage,
        path: str,
        layers: dict[str, Layer],
        worker: Worker,
        on_camera: Callable[[int, viser.ClientHandle], None],
    ) -> None:
        self.log, self.frame, self.index = log, frame, log.tokens.index(frame.token)
        self.coloring, self.min_score = HEIGHT, FIRST_SCORE
        self._through: int | None = None
        self._server, self._stage, self._path = server, stage, path
        self._layers, self._worker, self._on_camera = layers, worker, on_camera
        for key, name in (("points", "LiDAR points"), ("photographs", "Cameras"), ("truth", "True boxes")):
            layers[key] = Layer(name, [])
        if frame.detections is not None:
            layers["detections"] = Layer("Detected boxes", [])
        self._draw()

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

    def first_view(self) -> Viewpoint:
        position, look_at = (self._stage.place(torch.tensor(p)).astype(float) for p in (FROM_M, TO_M))
        return Viewpoint(position, look_at, FOV_RAD)

    def go_to(self, index: int) -> None:
        """Read and draw another key frame. Raises BadInputError when it cannot be read; the present one stays."""
        frame = self.log[index]
        self.frame, self.index = frame, index
        self._draw()

    def color_points(self, coloring: str) -> None:
        self.coloring = coloring
        self._draw_points()

    def set_min_score(self, score: float) -> None:
        self.min_score = score
        self._draw_boxes("detections", self.detections, None)

    def look_through(self, index: int | None) -> None:
        """The camera that is looked through is not drawn, in later frames neither: it would cover everything."""
        self._through = index
        layer = self._layers["photographs"]
        layer.hide([] if index is None else layer.handles[index : index + 1])

    def _draw(self) -> None:
        with self._server.atomic():
            self._draw_points()
            self._draw_boxes("truth", self.truth, self.true_color)
            if "detections" in self._layers:
                self._draw_boxes("detections", self.detections, None)
            self._draw_cameras()

    def _draw_points(self) -> None:
        layer = self._layers["points"]
        size = layer.handles[0].point_size if layer.handles else LIDAR_POINT_SIZE
        colors = lidar_colors(self.frame, self.coloring)
        cloud = draw_lidar(self._server, f"{self._path}/lidar", self.frame, self._stage, colors, size)
        layer.replace([cloud])

    def _draw_boxes(self, key: str, boxes: Boxes | None, color: tuple[int, int, int] | None) -> None:
        layer = self._layers[key]
        if boxes is not None and len(boxes):
            layer.replace([draw_boxes(self._server, f"{self._path}/{key}", boxes, self._stage, color)])
            return
        for handle in layer.handles:
            handle.remove()
        layer.replace([])

    def _draw_cameras(self) -> None:
        layer, frame = self._layers["photographs"], self.frame
        names = [f"{self._path}/photographs/{i:04d}" for i in range(len(frame.capture))]
        for handle in layer.handles:
            if handle.name not in names:
                handle.remove()
        if frame.capture.cameras is None:
            layer.replace([])
            return
        size = FRUSTUM_M * self._stage.scale
        path = f"{self._path}/photographs"
        frusta = draw_cameras(self._server, path, frame.capture, self._stage, size, self._on_camera)
        layer.replace(frusta)
        self.look_through(self._through)
        for i, frustum in enumerate(frusta):
            self._worker.submit(lambda i=i, frustum=frustum: self._fill(frame, i, frustum), when=IDLE)  # type: ignore[misc]

    def _fill(self, frame: DrivingFrame, index: int, frustum: Any) -> None:
        if frame is not self.frame:  # another frame was chosen meanwhile
            return
        try:
            frustum.image = np.ascontiguousarray(thumbnail(frame.capture, index))
        except (FewviewError, OSError):  # a photograph that has gone leaves its frustum empty
            return
