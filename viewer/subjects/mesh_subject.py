"""`MeshSubject`: a triangle mesh, still or moving."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ...scene.point_cloud import PointCloud
from ...scene.triangle_mesh import Mesh
from ..clock import Timeline
from ..layers.mesh_layer import DrawnMesh
from ..stage import Stage
from ..viewpoint import Viewpoint
from .canvas import Canvas
from .subject import Facts, Subject, view_of_bounds


class MeshSubject(Subject):
    """A mesh with its colours or its texture, in the world that it was written from."""

    def __init__(self, title: str, mesh: Mesh) -> None:
        super().__init__(title, mesh.notes)
        self.mesh = mesh
        self._drawn: DrawnMesh | None = None

    @property
    def metric(self) -> bool:
        return self.mesh.metric

    @property
    def timeline(self) -> Timeline | None:
        moments = self.mesh.time_range_s
        return None if moments is None else Timeline.over(moments)

    def facts(self) -> Facts:
        words = ("textured",) if self.mesh.texture is not None else ()
        if (moments := self.mesh.time_range_s) is not None:
            words = (*words, f"moves from {moments[0]:g} s to {moments[1]:g} s")
        return Facts({"faces": len(self.mesh), "vertices": len(self.mesh.vertices)}, words)

    def own_stage(self) -> tuple[int, Stage]:
        vertices = self.mesh.vertices
        up = None if self.mesh.up is None else torch.tensor(self.mesh.up)
        cloud = PointCloud(vertices, torch.zeros(len(vertices), 3, dtype=torch.uint8))
        return 2, Stage.of(None, None, cloud, up)

    def draw(self, canvas: Canvas) -> None:
        self._drawn = DrawnMesh(canvas.server, canvas.path, self.mesh, canvas.stage)
        self.layers |= self._drawn.layers

    def show_moment(self, moment: float) -> None:
        super().show_moment(moment)
        if self._drawn is not None:
            self._drawn.show_moment(moment)

    def first_view(self, stage: Stage, up: np.ndarray) -> Viewpoint:
        return view_of_bounds(self, stage, up)

    def points(self) -> Tensor:
        return self.mesh.vertices
