"""`PointsSubject`: a point cloud, or the vertices of a mesh."""

from __future__ import annotations

import torch
from torch import Tensor

from ...scene.point_cloud import PointCloud
from ...scene.splat import Axis
from ..layers.layer import Layer
from ..layers.points_layer import draw_points
from ..stage import Stage
from .canvas import Canvas
from .subject import Facts, Subject


class PointsSubject(Subject):
    """Points with their colours, in the world that they are given in."""

    def __init__(self, title: str, cloud: PointCloud, *, up: Axis | None = None, notes: tuple[str, ...] = ()) -> None:
        super().__init__(title, notes)
        self._cloud, self._up = cloud, up

    @property
    def metric(self) -> bool:
        return self._cloud.metric

    def facts(self) -> Facts:
        return Facts({"points": len(self._cloud)})

    def own_stage(self) -> tuple[int, Stage]:
        up = None if self._up is None else torch.tensor(self._up)
        return 2, Stage.of(None, None, self._cloud, up)

    def draw(self, canvas: Canvas) -> None:
        cloud = draw_points(canvas.server, f"{canvas.path}/points", self._cloud, canvas.stage)
        self.layers["points"] = Layer("Points", [cloud])

    def points(self) -> Tensor:
        return self._cloud.xyz
