"""`GroundedSubject`: a scan, the box that a sentence was answered with, and the voxels that spoke for it."""

from __future__ import annotations

import numpy as np
import torch
import viser
from torch import Tensor

from ...render.point_colors import by_probability
from ...scene.grounded_scan import GroundedScan, VoxelField
from ..layers.driving_layer import draw_boxes
from ..layers.layer import Layer
from ..layers.points_layer import draw_points
from ..stage import Stage
from ..viewpoint import Viewpoint
from .canvas import Canvas
from .subject import Facts, Subject, view_of_bounds

FOUND_COLOR = (220, 40, 40)  # of the box, as in the picture beside it
FILL = 0.6  # of a voxel's edge that its dot is wide
OVER_THE_WALLS_DEG = 55.0  # above the horizon: from the front the nearest wall hides what was found


class GroundedSubject(Subject):
    """The scan and its box are shown; each stage of the network is a layer that can be turned on."""

    def __init__(self, title: str, scan: GroundedScan) -> None:
        super().__init__(title)
        self.scan = scan

    @property
    def metric(self) -> bool:
        return True

    def facts(self) -> Facts:
        scores = self.scan.boxes.scores
        told = (f"score {float(scores[0]):.2f}",) if scores is not None and len(scores) else ("nothing was found",)
        return Facts({"points": len(self.scan.points)}, (f"“{self.scan.sentence}”", *told))

    def own_stage(self) -> tuple[int, Stage]:
        return 2, Stage.of(None, None, self.scan.points, torch.tensor([0.0, 0.0, 1.0]))

    def draw(self, canvas: Canvas) -> None:
        cloud = draw_points(canvas.server, f"{canvas.path}/points", self.scan.points, canvas.stage)
        self.layers["points"] = Layer("Scan", [cloud])
        boxes = self.scan.boxes
        lines = (
            [draw_boxes(canvas.server, f"{canvas.path}/box", boxes, canvas.stage, FOUND_COLOR)] if len(boxes) else []
        )
        self.layers["box"] = Layer("Box", lines)
        for i, field in enumerate(self.scan.fields):
            path = f"{canvas.path}/field{i}"
            self.layers[f"field{i}"] = Layer(field.name, [_draw_field(canvas, path, field)], wanted=False)
            if not bool(field.kept.all()):
                kept = [_draw_field(canvas, f"{path}_kept", field, field.kept)]
                self.layers[f"kept{i}"] = Layer(f"{field.name}, kept", kept, wanted=False)

    def first_view(self, stage: Stage, up: np.ndarray) -> Viewpoint:
        return view_of_bounds(self, stage, up, OVER_THE_WALLS_DEG)

    def points(self) -> Tensor:
        return self.scan.points.xyz


def _draw_field(canvas: Canvas, path: str, field: VoxelField, rows: Tensor | None = None) -> viser.PointCloudHandle:
    """Voxels as dots: blue for what the sentence does not speak of, red for what it does."""
    chosen = torch.arange(len(field)) if rows is None else rows.nonzero()[:, 0]
    return canvas.server.scene.add_point_cloud(
        path,
        canvas.stage.place(field.centers[chosen]),
        by_probability(field.values[chosen]),
        point_size=FILL * field.edge_m * canvas.stage.scale,
        point_shape="circle",
        precision="float32",
    )
