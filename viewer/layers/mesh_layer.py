"""Meshes on the page: in their colours, as a plain grey shape, and as wires."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import viser

from ...scene.mesh_formats.gltf_mesh_writer import write_gltf_mesh
from ...scene.triangle_mesh import Mesh
from ..stage import Stage
from .layer import Layer

GREY, WIRE = (190, 190, 190), (40, 40, 40)


class DrawnMesh:
    """A mesh with its three layers. The shape and the wires are sent to browsers when they are first wanted."""

    def __init__(self, server: viser.ViserServer, path: str, mesh: Mesh, stage: Stage, wanted: bool = True) -> None:
        self._mesh, self._stage, self._moment = mesh, stage, mesh.at()
        scene = server.scene
        self._colored = scene.add_glb(f"{path}/mesh", self._glb(), cast_shadow=False, receive_shadow=False)

        def shape() -> Any:
            return scene.add_mesh_simple(
                f"{path}/mesh_shape",
                *self._arrays(),
                color=GREY,
                side="double",
                cast_shadow=False,
                receive_shadow=False,
            )

        def wires() -> Any:
            return scene.add_mesh_simple(f"{path}/mesh_wires", *self._arrays(), color=WIRE, wireframe=True)

        self.layers: dict[str, Layer] = {
            "mesh": Layer("Mesh", [self._colored], wanted),
            "mesh shape": _DrawnLater("Mesh shape", shape),
            "mesh wires": _DrawnLater("Mesh wires", wires),
        }

    def show_moment(self, time_s: float) -> None:
        """Show another moment of a mesh that moves."""
        if self._mesh.time_range_s is None:
            return
        self._moment = self._mesh.at(time_s)
        self._colored.glb_data = self._glb()
        vertices = self._arrays()[0]
        for name in ("mesh shape", "mesh wires"):
            for handle in self.layers[name].handles:
                handle.vertices = vertices

    def _arrays(self) -> tuple[Any, Any]:
        return self._stage.place(self._moment.vertices), self._moment.faces.int().numpy()

    def _glb(self) -> bytes:
        """The moment as a browser takes it, on the page."""
        placed = replace(self._moment, vertices=torch.from_numpy(self._stage.place(self._moment.vertices)))
        with tempfile.TemporaryDirectory(prefix="fewview_") as folder:
            path = Path(folder) / "mesh.glb"
            write_gltf_mesh(path, placed)
            return path.read_bytes()


class _DrawnLater(Layer):
    """A layer whose one node is made when it is first seen."""

    def __init__(self, name: str, make: Callable[[], Any]) -> None:
        self._make = make
        super().__init__(name, [], wanted=False)

    def _apply(self) -> None:
        if self.seen and not self.handles:
            self.handles = [self._make()]
        super()._apply()
