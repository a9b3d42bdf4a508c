"""Skins and joints in glTF against an independent reading: what the specification says a viewer does with them."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fewview.scene.carry import reference_carry
from fewview.scene.control_points import ControlPointMotion
from fewview.scene.mesh_formats import load_mesh, save_mesh
from fewview.scene.splat import Axis
from fewview.scene.triangle_mesh import Mesh
from support.meshes import ball

TIMES = (0.5, 1.0, 2.5)
UPS: list[Axis] = [(0.0, 1.0, 0.0), (0.0, 0.0, 1.0)]


def bending(mesh: Mesh, near: int = 3, seed: int = 0, most: float = 1.0) -> ControlPointMotion:
    """Ten control points that shift and turn; the weights of a vertex sum to `most`, or less at the bottom."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(10, 3, generator=generator)
    distance, index = torch.cdist(mesh.vertices, points).topk(near, largest=False)
    weights = torch.softmax(-distance, dim=1) * most
    weights = torch.where(mesh.vertices[:, 2:] < -0.5, weights / 2, weights)
    shifts = 0.3 * torch.randn(len(TIMES), 10, 3, generator=generator)
    turns = torch.nn.functional.normalize(torch.randn(len(TIMES), 10, 4, generator=generator), dim=-1)
    return ControlPointMotion(torch.tensor(TIMES), points, shifts, turns, index.int(), weights)


def at_moment(mesh: Mesh, motion: ControlPointMotion, t: int) -> torch.Tensor:
    turns, shifts = motion.turns[t], motion.shifts[t]
    return reference_carry(
        mesh.vertices, motion.points, turns, shifts, shifts[:, :0], motion.neighbours, motion.weights
    )[0]


class Player:
    """A viewer of skinned glTF in NumPy, by sections 3.7.3 (skins) and 3.11 (animations) alone."""

    def __init__(self, path: Path) -> None:
        data = path.read_bytes()
        length = struct.unpack_from("<I", data, 12)[0]
        self.root, self.body = json.loads(data[20 : 20 + length]), data[28 + length :]

    def array(self, index: int) -> np.ndarray:
        accessor: dict[str, Any] = self.root["accessors"][index]
        view = self.root["bufferViews"][accessor["bufferView"]]
        width = {"SCALAR": 1, "VEC3": 3, "VEC4": 4, "MAT4": 16}[accessor["type"]]
        kind = {5126: "<f4", 5123: "<u2"}[accessor["componentType"]]
        assert not accessor.get("normalized") or accessor["type"] == "VEC4"
        assert view["byteOffset"] % 4 == 0
        return np.frombuffer(self.body, kind, accessor["count"] * width, view["byteOffset"]).reshape(-1, width)

    def vertices(self, time: float) -> np.ndarray:
        (animation,), (skin,) = self.root["animations"], self.root["skins"]
        nodes = [dict(node) for node in self.root["nodes"]]
        for channel in animation["channels"]:
            sampler = animation["samplers"][channel["sampler"]]
            times, values = self.array(sampler["input"])[:, 0], self.array(sampler["output"])
            nodes[channel["target"]["node"]][channel["target"]["path"]] = [
                np.interp(time, times, column)
                for column in values.T  # at a key there is nothing to interpolate
            ]
        matrices: dict[int, np.ndarray] = {}

        def place(index: int, outer: np.ndarray) -> None:
            matrices[index] = outer @ local(nodes[index])
            for child in nodes[index].get("children", []):
                place(child, matrices[index])

        for root in self.root["scenes"][0]["nodes"]:
            place(root, np.eye(4))
        bind = self.array(skin["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1)
        joints = np.stack([matrices[node] @ bind[i] for i, node in enumerate(skin["joints"])])
        attributes = self.root["meshes"][0]["primitives"][0]["attributes"]
        rest = self.array(attributes["POSITION"])
        homogeneous = np.concatenate([rest, np.ones((len(rest), 1))], axis=1)
        total, moved = np.zeros(len(rest)), np.zeros((len(rest), 3))
        for name in [name for name in attributes if name.startswith("JOINTS_")]:
            which, weights = self.array(attributes[name]), self.array(attributes[name.replace("JOINTS", "WEIGHTS")])
            for k in range(4):
                moved += weights[:, k, None] * np.einsum("vij,vj->vi", joints[which[:, k]], homogeneous)[:, :3]
                total += weights[:, k]
        assert np.allclose(total, 1, atol=1e-5), "glTF wants weights that sum to one"
        return moved


def local(node: dict[str, Any]) -> np.ndarray:
    x, y, z, w = np.array(node.get("rotation", [0, 0, 0, 1])) / np.linalg.norm(node.get("rotation", [0, 0, 0, 1]))
    matrix = np.eye(4)
    matrix[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    matrix[:3, 3] = node.get("translation", [0, 0, 0])
    return matrix


@pytest.mark.parametrize("up", UPS)
@pytest.mark.parametrize("near", [2, 3, 4])
def test_a_viewer_moves_the_vertices_as_the_control_points_do(tmp_path: Path, near: int, up: Axis) -> None:
    mesh = replace(ball(times=2), up=up)
    motion = bending(mesh, near)
    save_mesh(tmp_path / "a.glb", mesh, motion)
    player = Player(tmp_path / "a.glb")
    turn = torch.eye(3) if up == UPS[0] else torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # z becomes y
    for t, time in enumerate(TIMES):
        expected = at_moment(mesh, motion, t) @ turn.T
        assert np.allclose(player.vertices(time), expected.numpy(), atol=2e-5), (t, near)


def test_between_moments_joints_turn_the_short_way(tmp_path: Path) -> None:
    mesh = ball(times=1)
    motion = bending(mesh)
    flipped = motion.turns.clone()
    flipped[1] = -flipped[0]  # the same rotation, written as the other quaternion
    motion = replace(motion, turns=flipped, shifts=torch.zeros_like(motion.shifts))
    save_mesh(tmp_path / "a.glb", replace(mesh, up=UPS[0]), motion)
    player = Player(tmp_path / "a.glb")
    assert np.allclose(player.vertices(0.75), player.vertices(0.5), atol=2e-5)


def test_what_the_skin_loses_is_said(tmp_path: Path) -> None:
    mesh = replace(ball(times=1), up=UPS[0], metric=True)
    assert save_mesh(tmp_path / "a.glb", mesh, bending(mesh)) == ()
    (note,) = save_mesh(tmp_path / "b.glb", mesh, bending(mesh, most=1.5))
    assert "sum to more than one" in note
    (note,) = save_mesh(tmp_path / "a.ply", mesh, bending(mesh))
    assert "moves from 0.5 s to 2.5 s" in note
    assert torch.allclose(load_mesh(tmp_path / "a.ply").vertices, at_moment(mesh, bending(mesh), 0))
    assert any("skin, which is not played" in note for note in load_mesh(tmp_path / "a.glb").notes)
    with pytest.raises(ValueError, match="a row of the skin for each"):
        save_mesh(tmp_path / "a.glb", mesh, bending(ball(times=2)))
