"""The animated fox of the glTF sample models as a mesh whose vertices move, for `benchmark_dreammesh4d.py`.

    pip download gradio --no-deps, and take gradio/media_assets/models3d/Fox.gltf out of it
    python scripts/make_animated_fox.py Fox.gltf fox.glb

The bones of its animation are played at even moments; z is up, and the fox is two units long. The model is by
PixelMannen (CC0), its rigging and animation by @tomkranis, the conversion by @AsoboStudio and @scurest (CC-BY 4.0).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fewview.scene.formats.gltf_container import FLOAT, Gltf, read_gltf
from fewview.scene.mesh_formats import load_mesh, save_mesh
from fewview.scene.triangle_mesh import Mesh
from scipy.spatial.transform import Rotation

LENGTH = 2.0
Z_UP = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # from y up
FLOATS: dict[int, bool | None] = {FLOAT: False}
WHOLE: dict[int, bool | None] = {5121: None, 5123: None}


def animated(path: Path, animation: str, moments: int) -> Mesh:
    """The skinned mesh of a glTF file at even moments of an animation, in seconds, its texture with it."""
    gltf, still = read_gltf(path), load_mesh(path)
    nodes = gltf.items("nodes")
    (chosen,) = [a for a in gltf.items("animations") if a.get("name") == animation]
    tracks = [_track(gltf, chosen, channel) for channel in chosen["channels"]]
    last = max(float(times[-1]) for _, _, times, _ in tracks)
    shape = next(node for node in nodes if "skin" in node)
    (primitive,) = gltf.items("meshes")[shape["mesh"]]["primitives"]
    names = primitive["attributes"]
    rest = gltf.accessor(names["POSITION"], "positions", FLOATS, "VEC3").astype(np.float64)
    joints = gltf.accessor(names["JOINTS_0"], "joints", WHOLE, "VEC4").astype(np.int64)
    weights = gltf.accessor(names["WEIGHTS_0"], "weights", FLOATS, "VEC4").astype(np.float64)
    skin = gltf.items("skins")[shape["skin"]]
    binds = gltf.accessor(skin["inverseBindMatrices"], "binds", FLOATS, "MAT4").reshape(-1, 4, 4).swapaxes(1, 2)
    times = np.linspace(0, last, moments)
    positions = []
    for time in times:
        world = _world(nodes, tracks, float(time))
        moves = np.stack([world[j] for j in skin["joints"]]) @ binds
        blended = (weights[..., None, None] * moves[joints]).sum(1) / weights.sum(1)[:, None, None]
        positions.append((blended[:, :3, :3] @ rest[..., None])[..., 0] + blended[:, :3, 3])
    placed = np.stack(positions) @ Z_UP.T
    low, high = placed[0].min(0), placed[0].max(0)
    placed = (placed - (low + high) / 2) * (LENGTH / (high - low).max())
    moving = torch.from_numpy(placed.astype(np.float32))
    assert still.uv is not None
    return Mesh(
        moving[0], still.faces, uv=still.uv, texture=still.texture, positions=moving,
        times_s=torch.from_numpy(times.astype(np.float32)), up=(0.0, 0.0, 1.0),
    )  # fmt: skip


def _track(gltf: Gltf, animation: dict[str, Any], channel: dict[str, Any]) -> tuple[int, str, np.ndarray, np.ndarray]:
    """(node, what moves, times, values)"""
    sampler, target = animation["samplers"][channel["sampler"]], channel["target"]
    times = gltf.accessor(sampler["input"], "times", FLOATS, "SCALAR")[:, 0]
    kind = "VEC4" if target["path"] == "rotation" else "VEC3"
    return target["node"], target["path"], times, gltf.accessor(sampler["output"], "values", FLOATS, kind)


def _world(nodes: list[dict[str, Any]], tracks: list[Any], time: float) -> dict[int, np.ndarray]:
    """[4, 4] of every node at a moment, by its number."""
    now = [dict(node) for node in nodes]
    for node, path, times, values in tracks:
        after = int(np.clip(np.searchsorted(times, time), 1, len(times) - 1))
        share = float(np.clip((time - times[after - 1]) / (times[after] - times[after - 1]), 0, 1))
        a, b = values[after - 1].astype(np.float64), values[after].astype(np.float64)
        now[node][path] = (1 - share) * a + share * (-b if path == "rotation" and a @ b < 0 else b)
    found: dict[int, np.ndarray] = {}

    def place(index: int, parent: np.ndarray) -> None:
        node, own = now[index], np.eye(4)
        turn = Rotation.from_quat(node.get("rotation", [0, 0, 0, 1])).as_matrix()
        own[:3, :3], own[:3, 3] = turn * np.array(node.get("scale", [1, 1, 1])), node.get("translation", [0, 0, 0])
        found[index] = parent @ own
        for child in node.get("children", []):
            place(child, found[index])

    for root in set(range(len(nodes))) - {c for node in nodes for c in node.get("children", [])}:
        place(root, np.eye(4))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--animation", default="Walk")
    parser.add_argument("--moments", type=int, default=25)
    options = parser.parse_args()
    for note in save_mesh(options.output, animated(options.model, options.animation, options.moments)):
        print(note)


if __name__ == "__main__":
    main()
