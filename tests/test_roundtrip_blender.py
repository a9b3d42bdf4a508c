"""A GLB that moves, read by Blender's own importer; skips where there is no Blender."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fewview.scene.mesh_formats import save_mesh
from support.bending_bar import bending_bar

FRAMES_PER_S = 24  # Blender's own
# Where the mesh is in each frame after the file was imported, as one line of JSON. The importer of Blender 3.4 asks for
# a name that NumPy 1.24, which Debian has beside it, took away.
PROGRAM = """
import bpy, json, sys
import numpy
numpy.bool = bool
bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.ops.import_scene.gltf(filepath=sys.argv[-2])
(shape,) = [o for o in bpy.data.objects if o.type == "MESH"]
scene, found = bpy.context.scene, []
for frame in json.loads(sys.argv[-1]):
    scene.frame_set(int(frame), subframe=frame - int(frame))
    seen = shape.evaluated_get(bpy.context.evaluated_depsgraph_get())
    found.append([list(seen.matrix_world @ v.co) for v in seen.to_mesh().vertices])
actions = [list(action.frame_range) for action in bpy.data.actions]
print("FOUND" + json.dumps({"places": found, "actions": actions, "fps": scene.render.fps}))
"""


def test_blender_reads_the_motion(tmp_path: Path) -> None:
    blender = shutil.which("blender")
    if blender is None:
        pytest.skip("blender is not on the PATH")
    seconds = 2.0
    moving = replace(bending_bar(moments=5), times_s=torch.linspace(0, seconds, 5), up=(0.0, 0.0, 1.0))
    save_mesh(tmp_path / "bar.glb", moving)
    frames = [0.0, 12.0, 18.0, 24.0, 48.0]  # the moments of the file are every twelfth
    ran = subprocess.run(
        [blender, "--background", "--factory-startup", "--python-expr", PROGRAM, "--",
         str(tmp_path / "bar.glb"), json.dumps(frames)],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    if "No module named 'numpy'" in ran.stderr + ran.stdout:
        pytest.skip("the Python of this Blender has no numpy, which its glTF importer needs")
    lines = [line for line in ran.stdout.splitlines() if line.startswith("FOUND")]
    assert lines, ran.stdout + ran.stderr
    found = json.loads(lines[0].removeprefix("FOUND"))
    assert found["fps"] == FRAMES_PER_S
    (start, end) = found["actions"][0]
    assert end - start == pytest.approx(seconds * FRAMES_PER_S, abs=1e-3)
    for frame, places in zip(frames, torch.tensor(found["places"]), strict=True):
        expected = moving.at(frame / FRAMES_PER_S).vertices  # z is up in Blender, too
        apart = torch.cdist(
            places.double(), expected.double()
        )  # the importer may put vertices in another order, or join them
        assert float(apart.min(1).values.max()) < 1e-4
        assert float(apart.min(0).values.max()) < 1e-4
