"""`Item`: one input on the page, with its layers."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import torch
import viser
from torch import Tensor

from ..scene.cameras import Cameras
from ..scene.errors import FewviewError
from ..scene.gaussians import Gaussians
from .drive import Drive
from .layers import cameras as camera_layer
from .layers import sheet
from .layers.layer import Layer
from .layers.points import draw_points
from .layers.splat import draw_splat, most_visible, splat_arrays, view_colors
from .pictures import thumbnail
from .shown import Shown
from .stage import FOCUS_DISTANCE, Stage
from .worker import IDLE, Worker

MANY_GAUSSIANS = 120_000  # what a browser without a graphics card draws in about a second: larger splats are thinned
FEW_GAUSSIANS = 60_000  # to this
NEAR = 0.6  # of the distance to the subject: what stands nearer is in the way
OnCamera = Callable[["Item", int, viser.ClientHandle], None]


class Item:
    """What one input shows. Its nodes lie under a path of their own, and are drawn when it is made."""

    def __init__(
        self, server: viser.ViserServer, shown: Shown, stage: Stage, path: str, worker: Worker, on_camera: OnCamera
    ) -> None:
        self.shown, self.stage, self.path = shown, stage, path
        self._server, self._worker = server, worker
        self.layers: dict[str, Layer] = {}
        self.gaussians: Gaussians | None = None
        self._tint: Tensor | None = None
        self._draws_all = False
        self.drive: Drive | None = None
        self.frusta: list[viser.CameraFrustumHandle] = []
        self.frustum_size = 0.3
        self._visible = True
        self._in_the_way: set[int] = set()
        self._chosen: set[int] | None = None
        if shown.gaussians is not None:
            self.set_splat(shown.gaussians)
        capture = shown.capture
        if capture is not None and capture.points is not None and len(capture.points):
            points = draw_points(server, f"{path}/points", capture.points, stage)
            self.layers["points"] = Layer("Sparse points", [points], wanted=shown.gaussians is None)
        if self.cameras is not None:
            self._draw_cameras(on_camera)
        elif capture is not None:
            worker.submit(self._draw_sheet, when=IDLE)
        if shown.drive is not None:
            log, frame = shown.drive
            click = functools.partial(on_camera, self)
            self.drive = Drive(server, log, frame, stage, path, self.layers, worker, click)

    @property
    def cameras(self) -> Cameras | None:
        return None if self.shown.capture is None else self.shown.capture.cameras

    @property
    def visible(self) -> bool:
        return self._visible

    @visible.setter
    def visible(self, value: bool) -> None:
        self._visible = value
        for layer in self.layers.values():
            layer.allow(value)

    @property
    def is_large(self) -> bool:
        """Whether it has more Gaussians than a browser without a graphics card draws at once."""
        return self.gaussians is not None and len(self.gaussians) > MANY_GAUSSIANS

    @property
    def draws_all(self) -> bool:
        """Whether all Gaussians of a large splat are drawn, or only those that cover most of the picture."""
        return self._draws_all

    @draws_all.setter
    def draws_all(self, value: bool) -> None:
        if value == self._draws_all:
            return
        self._draws_all = value
        if self.gaussians is not None and self.is_large:
            self.set_splat(self.gaussians, self._tint)

    def set_splat(self, gaussians: Gaussians, tint: Tensor | None = None) -> None:
        """Draw other Gaussians in place of the present ones; `tint` [N, 3] gives colours other than their own."""
        drawn, colors = gaussians, tint
        if len(gaussians) > MANY_GAUSSIANS and not self._draws_all:
            rows = most_visible(gaussians, FEW_GAUSSIANS)
            drawn, colors = gaussians[rows], None if tint is None else tint[rows]
        if colors is None:
            colors = view_colors(drawn, self.cameras)
        arrays = splat_arrays(drawn, self.stage, colors)
        layer = self.layers.get("splat")
        handle = draw_splat(self._server, f"{self.path}/splat", arrays, layer is None or layer.wanted)
        if layer is None:
            self.layers["splat"] = Layer("Splat", [handle])
            self.layers["splat"].allow(self._visible)
        else:
            layer.replace([handle])
        self.gaussians, self._tint = gaussians, tint

    # -- cameras and photographs ------------------------------------------------------------------------------------

    def _draw_cameras(self, on_camera: OnCamera) -> None:
        capture, cameras = self.shown.capture, self.cameras
        assert capture is not None
        assert cameras is not None
        self.frustum_size = camera_layer.frustum_size(cameras, self.stage)
        self.frusta = camera_layer.draw_cameras(
            self._server, f"{self.path}/cameras", capture, self.stage, self.frustum_size,
            lambda index, client: on_camera(self, index, client),
        )  # fmt: skip
        held_out = set(capture.test or ())
        trained = [f for i, f in enumerate(self.frusta) if i not in held_out]
        self.layers["cameras"] = Layer("Cameras", trained)
        if held_out:
            self.layers["held_out"] = Layer("Held-out cameras", [self.frusta[i] for i in sorted(held_out)])
        for index in range(len(capture)):
            self._worker.submit(lambda i=index: self._fill_frustum(i), when=IDLE)  # type: ignore[misc]

    def _fill_frustum(self, index: int) -> None:
        assert self.shown.capture is not None
        try:
            self.frusta[index].image = thumbnail(self.shown.capture, index)
        except (FewviewError, OSError):  # a photograph that has gone leaves its frustum empty
            return

    def _draw_sheet(self) -> None:
        capture = self.shown.capture
        assert capture is not None
        layer = self.layers["sheet"] = Layer("Photographs", [])
        centers, side = sheet.cells(min(len(capture), sheet.MAX_PHOTOGRAPHS))
        for i, center in enumerate(centers):
            if self._worker.closed:
                return
            picture = sheet.draw_photograph(
                self._server, f"{self.path}/sheet/{i:04d}", thumbnail(capture, i, 320), center, side
            )
            layer.replace([*layer.handles, picture])

    def set_frustum_size(self, size: float) -> None:
        self.frustum_size = max(size, 1e-3)
        for frustum in self.frusta:
            frustum.scale = self.frustum_size

    def look_through(self, index: int | None) -> None:
        """The camera that is looked through, and what stands before it, are not drawn: they would cover everything."""
        if index is None or self.cameras is None:
            self._in_the_way = set()
        else:
            reach, near = self.frustum_size / self.stage.scale, NEAR * FOCUS_DISTANCE / self.stage.scale
            self._in_the_way = camera_layer.blocking(self.cameras, index, reach, near)
        self._hide_frusta()

    def show_only(self, views: set[int] | None) -> None:
        """Of all cameras only these (None for all), e.g. those of one moment."""
        self._chosen = views
        self._hide_frusta()

    def _hide_frusta(self) -> None:
        chosen = set(range(len(self.frusta))) if self._chosen is None else self._chosen
        hidden = [f for i, f in enumerate(self.frusta) if i in self._in_the_way or i not in chosen]
        for name in ("cameras", "held_out"):
            if name in self.layers:
                self.layers[name].hide(hidden)


def bounds(items: list[Item], stage: Stage) -> np.ndarray:
    """The lowest and highest page coordinates [2, 3] of the bulk of what is shown: its 2nd and 98th percentiles."""
    clouds = []
    for item in items:
        if item.gaussians is not None:
            clouds.append(item.gaussians.means.detach().cpu())
        elif item.shown.capture is not None and item.shown.capture.points is not None:
            clouds.append(item.shown.capture.points.xyz)
        elif item.drive is not None:
            clouds.append(item.drive.frame.points.xyz)
    if not clouds or sum(map(len, clouds)) == 0:
        return np.array([[-1.0, -1, -1], [1, 1, 1]])
    xyz = stage.place(torch.cat(clouds))
    xyz = xyz[np.isfinite(xyz).all(1)][:: max(1, len(xyz) // 50_000)]
    return np.percentile(xyz, (2, 98), axis=0) if len(xyz) else np.array([[-1.0, -1, -1], [1, 1, 1]])
