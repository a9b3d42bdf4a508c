"""`SplatSubject`: a splat, alone or with the photographs that it was made from; a run, or one in training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...render.aim import up_direction
from ...scene.cameras import Cameras
from ...scene.capture import Capture
from ...scene.run import Run
from ...scene.splat import BLACK, Color, MovingSplat, Splat
from ...scene.triangle_mesh import Mesh
from ..clock import Timeline, joined
from ..layers.layer import Layer
from ..layers.mesh_layer import DrawnMesh
from ..layers.trajectory_layer import draw_trajectories
from ..stage import Stage
from ..viewpoint import Viewpoint
from .canvas import Canvas
from .drawn_splat import DrawnSplat
from .photographs import Photographs
from .subject import Facts, Subject


class SplatSubject(Subject):
    """A splat in a file or a run; None while a training has not brought one yet."""

    def __init__(
        self,
        title: str,
        splat: Splat | None,
        capture: Capture | None = None,
        *,
        splat_path: Path | None = None,  # of the file, which is offered for download
        run: Run | None = None,
        mesh: Mesh | None = None,  # that was made of it, in the same world
        camera: Cameras | None = None,  # [] that a splat without photographs was made for
        notes: tuple[str, ...] = (),
    ) -> None:
        super().__init__(title, notes)
        self._splat = splat
        self.splat_path, self.run, self._mesh, self._camera = splat_path, run, mesh, camera
        self.photographs = None if capture is None else Photographs(capture, run)
        if self.photographs is not None:
            self.photographs.background = self.background
        self.drawn: DrawnSplat | None = None  # on a page
        self._canvas: Canvas | None = None

    # -- what it is -------------------------------------------------------------------------------------------------

    @property
    def splat(self) -> Splat | None:
        return self._splat

    @property
    def background(self) -> Color:
        """The colour sRGB in [0, 1] that it was trained over."""
        return BLACK if self._splat is None else self._splat.background

    @property
    def timeline(self) -> Timeline | None:
        moments = None if self._splat is None else self._splat.time_range_s
        return joined([None if moments is None else Timeline.over(moments), super().timeline])

    def facts(self) -> Facts:
        taken = self.photographs
        counts, words = ({}, ()) if taken is None else (taken.counts(), taken.words())
        if self._splat is None:
            return Facts(counts, words)
        if (moments := self._splat.time_range_s) is not None:
            words = (f"moves from {moments[0]:g} s to {moments[1]:g} s", *words)
        if self.drawn is not None and self.drawn.is_large and not (self.drawn.draws_all or self.drawn.held):
            words = (f"{self.drawn.drawn_count:,} of them drawn", *words)
        return Facts(counts | {"Gaussians": len(self._splat)}, words)

    def own_stage(self) -> tuple[int, Stage]:
        gaussians = None if self._splat is None else self._splat.at()
        if self.photographs is None:
            up = None if self._splat is None or self._splat.up is None else torch.tensor(self._splat.up)
            if up is None and self._camera is not None:
                up = up_direction(self._camera[None])
            return 2, Stage.of(None, gaussians, up=up)
        rank = 0 if self.cameras is not None else 2 if gaussians is not None else 3
        return rank, Stage.of(self.cameras, gaussians, self.photographs.capture.points)

    def first_view(self, stage: Stage, up: np.ndarray) -> Viewpoint:
        return super().first_view(stage, up) if self._camera is None else stage.view_of(self._camera)

    # -- on a page --------------------------------------------------------------------------------------------------

    def draw(self, canvas: Canvas) -> None:
        self._canvas = canvas
        layer = self.layers["splat"] = Layer("Splat", [])
        layer.on_change = canvas.redrawn
        self.drawn = DrawnSplat(canvas, layer, self.cameras)
        if self._splat is not None:
            self.drawn.show(self._splat)
            self._draw_trajectories()
        if self.photographs is not None:
            self.photographs.draw(canvas, self.layers, points_wanted=self._splat is None)
        if self._mesh is not None:
            # Hidden to begin with: it lies on the splat.
            self.layers |= DrawnMesh(canvas.server, canvas.path, self._mesh, canvas.stage, wanted=False).layers

    def _draw_trajectories(self) -> None:
        """Lines that somebody may switch on, where the splat moves."""
        assert self._canvas is not None
        if not isinstance(self._splat, MovingSplat):
            return
        lines = draw_trajectories(self._canvas.server, self._canvas.path, self._splat, self._canvas.stage)
        if "trajectories" in self.layers:
            self.layers["trajectories"].replace(lines)
        else:
            self.layers["trajectories"] = Layer("Trajectories", lines, wanted=False)

    def show_splat(self, splat: Splat, tint: Tensor | None = None) -> None:
        """Show another splat in place of the present one; `tint` [N, 3] gives colours other than its own."""
        assert self.drawn is not None
        assert self._canvas is not None
        first, self._splat = self._splat is None, splat
        with self._canvas.server.atomic():
            self.drawn.show(splat, tint)
            if tint is None:
                self._draw_trajectories()
            if first and "points" in self.layers:
                self.layers["points"].wanted = False  # they would sit on the first splat like dust
        if self.photographs is not None:
            self.photographs.background = splat.background
        self.changed()

    def points(self) -> Tensor:
        if self.drawn is not None and (gaussians := self.drawn.gaussians) is not None:
            return gaussians.means.detach().cpu()
        return torch.zeros(0, 3) if self.photographs is None else self.photographs.points()

    def show_moment(self, moment: float) -> None:
        super().show_moment(moment)
        if self.drawn is not None:
            self.drawn.show_moment(moment)
