"""The visual hull of a ball seen in silhouettes: nothing of the ball is lost, and little stands out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fewview.recon.evidence.visual_hull import visual_hull
from fewview.recon.mesh.hull_mesh import hull_mesh
from fewview.render.aim import look_at
from fewview.scene.cameras import Cameras
from fewview.scene.capture import Capture, Frame
from fewview.scene.mesh_topology import edges

SIZE = 160
CENTER = torch.tensor([0.3, -0.2, 0.5], dtype=torch.float64)
RED, BLUE = (200, 30, 20), (10, 40, 220)  # of the half with positive x, and of the other
DIRECTIONS = ((1, 0, 0), (-1, 0.2, 0), (0, 1, 0.1), (0, -1, 0), (0.1, 0, 1), (0, 0.1, -1), (1, 1, 1), (-1, 1, -1))


def ball(count: int, radius: float = 1.0, scale: float = 1.0, alpha: bool = True) -> Capture:
    """Photographs of a ball of this radius, twice as far away as a picture would be wide, all in a world of `scale`."""
    K = torch.tensor([[SIZE * 1.5, 0, SIZE / 2], [0, SIZE * 1.5, SIZE / 2], [0, 0, 1]])
    poses, frames = [], []
    v, u = np.mgrid[0:SIZE, 0:SIZE] + 0.5
    for i, direction in enumerate(DIRECTIONS[:count]):
        out = torch.tensor(direction, dtype=torch.float64) / torch.tensor(direction, dtype=torch.float64).norm()
        eye = CENTER + 5 * radius * out
        up = torch.tensor([0.0, 0, 1]) if abs(float(out[2])) < 0.9 else torch.tensor([0.0, 1, 0])
        pose = look_at(eye.float()[None], CENTER.float(), up)[0].double()
        R, t = pose[:3, :3], pose[:3, 3]
        rays = torch.from_numpy(np.stack([(u - SIZE / 2), (v - SIZE / 2), np.full_like(u, SIZE * 1.5)], -1)) @ R
        rays = rays / rays.norm(dim=-1, keepdim=True)
        along = rays @ (CENTER - eye)
        miss = (eye + along[..., None] * rays - CENTER).norm(dim=-1)
        hit = eye + (along - (radius**2 - miss**2).clamp(min=0).sqrt())[..., None] * rays
        pixels = np.zeros((SIZE, SIZE, 4), np.uint8)
        pixels[..., :3] = np.where((hit[..., 0] > CENTER[0]).numpy()[..., None], RED, BLUE)
        pixels[..., 3] = 255 * (miss < radius).numpy()
        shown = pixels if alpha else np.ascontiguousarray(pixels[..., :3])
        pose[:3, 3] = t * scale
        poses.append(pose)
        frames.append(Frame(f"{i}.png", SIZE, SIZE, lambda shown=shown: shown))
    sizes = torch.full((count,), SIZE)
    cameras = Cameras(torch.stack(poses).float(), K.expand(count, 3, 3).clone(), sizes, sizes.clone())
    return Capture(tuple(frames), "a ball", cameras)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_the_hull_of_many_views_is_near_the_ball(scale: float) -> None:
    hull = visual_hull(ball(8, scale=scale))
    assert hull is not None
    distance = (hull.xyz.double() / scale - CENTER).norm(dim=1)
    assert len(hull) > 1000
    # A voxel is about 1/40 of the radius, a pixel 1/48; eight silhouettes leave corners of a fifth.
    assert float(distance.min()) > 0.92
    assert float(distance.median()) < 1.1
    assert float(distance.max()) < 1.5


def test_every_side_of_the_ball_is_covered() -> None:
    hull = visual_hull(ball(8))
    assert hull is not None
    sides = torch.nn.functional.normalize(
        torch.randn(200, 3, generator=torch.Generator().manual_seed(1)).double(), dim=1
    )
    nearest = torch.cdist(CENTER + sides, hull.xyz.double()).min(1).values
    assert float(nearest.max()) < 0.45


def test_colours_and_observations_are_those_of_the_views() -> None:
    hull = visual_hull(ball(6))
    assert hull is not None
    assert hull.seen_point is not None
    assert hull.seen_view is not None
    assert set(hull.seen_view.tolist()) == set(range(6))
    assert torch.equal(hull.seen_point.unique(), torch.arange(len(hull)))
    is_red = hull.rgb[:, 0] > hull.rgb[:, 2]
    clear = (hull.xyz[:, 0] - CENTER[0]).abs() > 0.5
    # Where the hull stands out from the ball, it has the colours of what lies behind.
    assert float((is_red == (hull.xyz[:, 0] > CENTER[0]))[clear].double().mean()) > 0.95
    # The first view looks from +x and sees nothing of the far side, but for the rim of its own silhouette.
    first = hull.xyz[hull.seen_point[hull.seen_view == 0]].double() - CENTER
    middle = first[:, 1:].norm(dim=1) < 0.7
    assert bool(middle.any())
    assert float(first[middle, 0].min()) > 0


def test_the_hull_is_a_closed_mesh_around_the_ball() -> None:
    mesh = hull_mesh(ball(8))
    assert mesh is not None
    assert bool((edges(mesh.faces).faces == 2).all())
    a, b, c = mesh.vertices[mesh.faces].double().unbind(1)
    volume = float((a * torch.linalg.cross(b, c)).sum() / 6)
    # A hull holds the ball, but for half a voxel, 1/80 of the radius; eight silhouettes add less than as much again.
    assert 0.95 < volume / (4 / 3 * np.pi) < 2
    assert float((mesh.vertices.double() - CENTER).norm(dim=1).min()) > 0.9
    clear = (mesh.vertices[:, 0] - CENTER[0]).abs() > 0.5
    is_red = mesh.colors[:, 0] > mesh.colors[:, 2]
    assert float((is_red == (mesh.vertices[:, 0] > CENTER[0]))[clear].double().mean()) > 0.95
    assert hull_mesh(ball(4, alpha=False)) is None


def test_without_silhouettes_there_is_none() -> None:
    assert visual_hull(ball(4, alpha=False)) is None
    assert visual_hull(ball(1)) is None
