"""Meshes against what geometry says: the noun, topology, the rasteriser against ray casting, marching cubes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from fewview.recon.mesh.marching_cubes import marching_cubes
from fewview.render.aim import look_at
from fewview.render.mesh_rasterization import rasterize_mesh
from fewview.render.mesh_rendering import render_mesh, texture_colors
from fewview.scene.cameras import Cameras
from fewview.scene.geometry import Similarity, so3_exp
from fewview.scene.mesh_topology import (
    components,
    edges,
    euler_characteristic,
    face_areas,
    face_normals,
    vertex_normals,
)
from fewview.scene.triangle_mesh import Mesh
from support.meshes import ball, cube


def test_a_ball_has_the_area_and_the_normals_of_a_ball() -> None:
    mesh = ball(radius=2.0)
    normals = face_normals(mesh.vertices, mesh.faces)
    outward = torch.nn.functional.normalize(mesh.vertices[mesh.faces].mean(1), dim=1)
    assert float((normals * outward).sum(1).min()) > 0.99
    assert float(face_areas(mesh.vertices, mesh.faces).sum()) == pytest.approx(4 * math.pi * 4, rel=0.02)
    own = vertex_normals(mesh.vertices, mesh.faces)
    assert float((own * mesh.vertices / 2).sum(1).min()) > 0.99


def test_edges_and_parts_are_those_that_are_there() -> None:
    one = cube()
    assert euler_characteristic(one.faces) == 2
    assert bool((edges(one.faces).faces == 2).all())
    without = one[torch.arange(1, len(one))]
    assert int(edges(without.faces).boundary.sum()) == 3
    branching = torch.tensor([[0, 1, 2], [0, 1, 3], [1, 0, 4]])
    assert edges(branching).non_manifold.nonzero().tolist() == [[0]]
    both = torch.cat([one.faces + 8, one.faces])
    assert components(both, 16).tolist() == [0] * len(one) + [1] * len(one)


def test_a_mesh_refuses_shapes_that_do_not_fit() -> None:
    vertices, faces = torch.rand(3, 3), torch.tensor([[0, 1, 2]])
    for change, word in (
        ({"faces": torch.tensor([[0, 1, 3]])}, "indices 0 to 2"),
        ({"colors": torch.zeros(2, 3, dtype=torch.uint8)}, "colors"),
        ({"uv": torch.zeros(3, 2)}, "texture and uv together"),
        ({"positions": torch.zeros(2, 3, 3)}, "positions and times_s together"),
        ({"positions": torch.zeros(2, 3, 3), "times_s": torch.tensor([1.0, 1.0])}, "increase"),
        ({"uv": torch.zeros(3, 2), "texture": torch.zeros(4, 4, 1, dtype=torch.uint8)}, "texture"),
    ):
        with pytest.raises(ValueError, match=word):
            Mesh(**({"vertices": vertices, "faces": faces} | change))


def test_a_moving_mesh_is_between_its_moments() -> None:
    first = cube()
    moving = Mesh(
        first.vertices,
        first.faces,
        positions=torch.stack([first.vertices, first.vertices + 2]),
        times_s=torch.tensor([1.0, 3]),
    )
    assert torch.equal(moving.at(0).vertices, first.vertices)
    assert torch.allclose(moving.at(1.5).vertices, first.vertices + 0.5)
    assert torch.equal(moving.at(9).vertices, first.vertices + 2)
    assert moving.at(2).time_range_s is None
    move = Similarity(torch.tensor(2.0), so3_exp(torch.tensor([0.1, 0.2, 0.3])), torch.tensor([1.0, 2, 3]))
    assert torch.allclose(moving.moved(move).at(1.5).vertices, move(moving.at(1.5).vertices), atol=1e-5)
    assert torch.allclose(moving[torch.tensor([0])].at(3.0).vertices, first[torch.tensor([0])].vertices + 2)


def _ray_cast(mesh: Mesh, camera: Cameras) -> tuple[np.ndarray, np.ndarray]:
    """(face [H, W], depth [H, W]) by the Moeller-Trumbore intersection of every ray with every face."""
    height, width = int(camera.height), int(camera.width)
    K, pose = camera.K.double().numpy(), camera.cam_from_world.double().numpy()
    v, u = np.mgrid[:height, :width] + 0.5
    rays = np.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], np.ones_like(u)], -1).reshape(-1, 1, 3)
    points = mesh.vertices.double().numpy() @ pose[:3, :3].T + pose[:3, 3]
    a, b, c = (points[mesh.faces[:, i].numpy()] for i in range(3))
    normal = np.cross(rays, c - a)
    determinant = (normal * (b - a)).sum(-1)
    with np.errstate(all="ignore"):
        s = (normal * -a).sum(-1) / determinant
        q = np.cross(-a, b - a)
        t = (rays * q).sum(-1) / determinant
        depth = ((c - a) * q).sum(-1) / determinant
    hit = (s >= 0) & (t >= 0) & (s + t <= 1) & (depth > 0)
    depth = np.where(hit, depth, np.inf)
    face = np.where(hit.any(1), depth.argmin(1), -1)
    return face.reshape(height, width), depth.min(1).reshape(height, width)


@pytest.mark.parametrize("seed", range(3))
def test_the_rasteriser_sees_what_rays_hit(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    mesh = Mesh(torch.rand(90, 3, generator=generator), torch.arange(90).reshape(30, 3))
    eye = torch.tensor([0.5, 0.4, -2.0]) + 0.3 * torch.rand(3, generator=generator)
    camera = Cameras.pinhole(look_at(eye, torch.full((3,), 0.5), torch.tensor([0.0, -1, 0])), 60.0, 48, 40)
    face, depth = _ray_cast(mesh, camera)
    hits = rasterize_mesh(mesh.vertices, mesh.faces, camera)
    same = hits.face.numpy() == face
    assert same.mean() > 0.995, "but for centres on edges"
    assert (face >= 0).sum() > 200
    shown = same & (face >= 0)
    assert np.allclose(hits.depth.numpy()[shown], depth[shown], rtol=1e-6)
    corners = mesh.vertices[mesh.faces[hits.face[hits.hit]]].double()
    points = (corners * hits.weights[hits.hit][..., None]).sum(1)
    pose = camera.cam_from_world.double()
    assert torch.allclose((points @ pose[:3, :3].T + pose[:3, 3])[:, 2], hits.depth[hits.hit], rtol=1e-6)


def test_faces_behind_the_camera_are_not_drawn() -> None:
    mesh = Mesh(
        torch.tensor([[0.0, 0, 1], [1, 0, -1], [0, 1, 1], [-1, -1, -3], [1, -1, -3], [0, 1, -3]]),
        torch.arange(6).reshape(2, 3),
    )
    assert not bool(rasterize_mesh(mesh.vertices, mesh.faces, Cameras.pinhole(torch.eye(4), 20.0, 16, 16)).hit.any())


def test_colours_and_textures_are_interpolated() -> None:
    square = Mesh(
        torch.tensor([[-1.0, -1, 2], [1, -1, 2], [1, 1, 2], [-1, 1, 2]]),
        torch.tensor([[0, 2, 1], [0, 3, 2]]),
        colors=torch.tensor([[0, 0, 0], [255, 0, 0], [255, 255, 0], [0, 255, 0]], dtype=torch.uint8),
    )
    camera = Cameras.pinhole(torch.eye(4), 32.0, 32, 32)  # the square fills the picture
    ramp = (torch.arange(32) + 0.5) / 32
    expected = torch.stack([ramp[None].expand(32, 32), ramp[:, None].expand(32, 32), torch.zeros(32, 32)], -1)
    assert torch.allclose(render_mesh(square, camera).rgb, expected, atol=1e-5)
    texture = torch.arange(12, dtype=torch.uint8).reshape(2, 2, 3)
    assert torch.allclose(
        texture_colors(texture, torch.tensor([[0.25, 0.75], [0.5, 0.25]])) * 255,
        torch.tensor([[6.0, 7, 8], [1.5, 2.5, 3.5]]),
    )
    painted = Mesh(square.vertices, square.faces, uv=torch.tensor([[0.0, 0], [1, 0], [1, 1], [0, 1]]), texture=texture)
    assert torch.allclose(
        render_mesh(painted, camera).rgb[8, 8] * 255,
        texture_colors(texture, torch.tensor([[8.5, 8.5]]) / 32)[0] * 255,
        atol=1e-4,
    )


def test_marching_cubes_finds_a_ball() -> None:
    grid = np.mgrid[:40, :40, :40] - 19.3
    vertices, faces = (torch.from_numpy(a) for a in marching_cubes(np.linalg.norm(grid, axis=0) - 12))
    assert euler_characteristic(faces) == 2
    # A chord of a voxel is less than 1/(8 r) below the ball.
    assert float(((vertices - 19.3).norm(dim=1) - 12).abs().max()) < 1 / (8 * 12) + 1e-5
    outward = (face_normals(vertices, faces) * (vertices[faces].mean(1) - 19.3)).sum(1)
    assert float(outward.min()) > 0


def test_marching_cubes_finds_a_ring() -> None:
    x, y, z = np.mgrid[:50, :50, :24] - np.array([24.6, 24.4, 11.7]).reshape(3, 1, 1, 1)
    _, faces = marching_cubes(np.hypot(np.hypot(x, y) - 15, z) - 6)
    assert euler_characteristic(torch.from_numpy(faces)) == 0


@pytest.mark.parametrize("seed", range(4))
def test_noise_gives_a_closed_surface(seed: int) -> None:
    """Random signs have every kind of cube, and every kind of neighbour, in them."""
    values = np.random.default_rng(seed).normal(size=(24, 23, 22))
    for axis in range(3):
        np.moveaxis(values, axis, 0)[[0, -1]] = 1
    vertices, faces = marching_cubes(values)
    assert len(faces) > 20_000
    assert bool((edges(torch.from_numpy(faces)).faces == 2).all())
    assert float(face_areas(torch.from_numpy(vertices).double(), torch.from_numpy(faces)).min()) > 0


def test_unknown_corners_end_the_surface() -> None:
    grid = np.mgrid[:20, :20, :20] - 9.4
    known = np.ones((20, 20, 20), bool)
    known[:, :, 10:] = False
    vertices, faces = marching_cubes(np.linalg.norm(grid, axis=0) - 6, known)
    assert vertices[:, 2].max() <= 9
    assert int(edges(torch.from_numpy(faces)).boundary.sum()) > 20
    assert marching_cubes(np.ones((4, 4, 4)))[1].shape == (0, 3)
