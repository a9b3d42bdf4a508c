"""Meshes of splats whose surface is known: flat Gaussians on a ball, and on a box with a hole through it."""

from __future__ import annotations

import math
import sys

import pytest
import torch
from fewview.recon.mesh.cleaning import largest_parts, without_small_holes
from fewview.recon.mesh.decimation import clustered
from fewview.recon.mesh.depth_views import between_photographs, depth_views
from fewview.recon.mesh.mesh_report import mesh_figures
from fewview.recon.mesh.splat_mesh import MeshConfig, splat_mesh
from fewview.recon.mesh.texture_atlas import textured
from fewview.render.aim import focus_point
from fewview.render.mesh_rendering import surface_colors
from fewview.render.surface_depth import surface_depth
from fewview.scene.cameras import Cameras
from fewview.scene.errors import BadInputError
from fewview.scene.gaussians import Gaussians
from fewview.scene.mesh_distance import point_mesh_distance, surface_samples
from fewview.scene.mesh_topology import components, edges, euler_characteristic, face_areas, face_normals
from fewview.scene.splat import StaticSplat
from fewview.scene.triangle_mesh import Mesh
from support.flat_gaussians import disk_size, flat_gaussians, tunnel_box
from support.meshes import ball, cube, painted_cube
from support.small_run import small_cameras

SMALL = MeshConfig(voxels=72, size=160, views=24)
VOXEL = 2.2 / 72  # of SMALL on a scene 2 wide, about


def test_a_ball_comes_back_closed() -> None:
    truth = ball()
    made = splat_mesh(StaticSplat(flat_gaussians(truth, 3000)), None, SMALL)
    mesh = made.mesh
    assert euler_characteristic(mesh.faces) == 2
    assert int(components(mesh.faces, len(mesh.vertices)).max()) == 0
    found = edges(mesh.faces)
    assert not bool(found.boundary.any())
    assert not bool(found.non_manifold.any())
    assert float((face_normals(mesh.vertices, mesh.faces) * mesh.vertices[mesh.faces].mean(1)).sum(1).median()) > 0.9
    # The disks' rims stand out from the ball, and every camera sees the rims that are turned to it: by less than half
    # of a standard deviation, as those beside hide them.
    assert float(point_mesh_distance(surface_samples(truth, 2000), mesh).median()) < disk_size(truth, 3000) / 2
    assert float(point_mesh_distance(surface_samples(mesh, 2000), truth).max()) < 2 * VOXEL
    out = torch.nn.functional.normalize(mesh.vertices, dim=1)
    assert float((mesh.colors / 255 - (out + 1) / 2).abs().mean()) < 0.05


def test_a_hole_through_a_box_stays_open() -> None:
    truth = tunnel_box()
    mesh = splat_mesh(StaticSplat(flat_gaussians(truth, 5000)), None, MeshConfig(voxels=64, size=160, views=30)).mesh
    assert float(mesh.vertices[:, :2].abs().amax(1).min()) > 0.4, "nothing is in the tunnel of 0.5 to either side"
    assert float(point_mesh_distance(surface_samples(truth, 2000), mesh).quantile(0.95)) < disk_size(truth, 5000)
    assert float(point_mesh_distance(surface_samples(mesh, 2000), truth).quantile(0.95)) < disk_size(truth, 5000)


def test_what_no_camera_has_seen_is_open() -> None:
    truth = ball()
    cameras = small_cameras()  # all on one side, at z < 0
    mesh = splat_mesh(StaticSplat(flat_gaussians(truth, 3000)), cameras, SMALL).mesh
    assert bool(edges(mesh.faces).boundary.any())
    toward = torch.nn.functional.normalize(cameras.centers.mean(0), dim=0)
    # Cameras stand up to 0.6 rad to the side, others 30 degrees beyond, and see as far round: sin(1.12) is 0.90.
    assert float((mesh.vertices @ toward).min()) > -0.93
    assert float(point_mesh_distance(surface_samples(mesh, 1000), truth).quantile(0.95)) < disk_size(truth, 3000)


def test_cameras_inside_are_left_out_and_said() -> None:
    truth = ball()
    gaussians = flat_gaussians(truth, 3000)
    inside = small_cameras()
    # Their focus is the middle of the ball, and so far from it they stand under its surface.
    half = torch.diag(torch.tensor([1.0, 1, 1, 1])).repeat(5, 1, 1)
    half[:, :3] = inside.cam_from_world[:, :3]
    half[:, :3, 3] *= 0.243
    close = Cameras(half, inside.K, inside.width, inside.height)
    views, notes = depth_views(StaticSplat(gaussians), gaussians, close, 12, 96)
    assert len(views) < 17
    assert any("stood inside or behind something" in note for note in notes)


def test_cameras_between_photographs_keep_to_what_is_known() -> None:
    cameras = small_cameras()
    others = between_photographs(cameras, 20)
    assert 12 <= len(others) <= 28
    focus = focus_point(cameras)
    own, new = (torch.nn.functional.normalize(c.centers - focus, dim=1) for c in (cameras, others))
    assert float((new @ own.T).amax(1).min()) > math.cos(math.radians(30.1))
    ahead = others.cam_from_world @ torch.cat([focus, torch.ones(1)])
    assert float(ahead[:, :2].abs().max()) < 1e-4
    assert float(ahead[:, 2].min()) > 0


def test_the_depth_at_an_edge_is_that_of_one_side() -> None:
    """Two walls, the nearer one half transparent: the expected depth is between them, that of the surface is not."""
    near = flat_gaussians(Mesh(torch.tensor([[-2.0, -2, 2], [2, -2, 2], [0, 3, 2]]), torch.tensor([[0, 1, 2]])), 4000)
    far = flat_gaussians(Mesh(torch.tensor([[-6.0, -6, 6], [6, -6, 6], [0, 9, 6]]), torch.tensor([[0, 1, 2]])), 4000)
    camera = Cameras.pinhole(torch.eye(4), 60.0, 32, 32)
    for logit, expected in ((-6.0, 6.0), (2.0, 2.0)):
        faint = Gaussians(near.means, near.quats, near.log_scales, torch.full((4000,), logit), near.sh)
        found = surface_depth(Gaussians.cat([faint, far]), camera)
        assert float((found.depth[8:24, 8:24] - expected).abs().max()) < 0.05
        assert float(found.share[8:24, 8:24].min()) > 0.6


def test_an_empty_scene_is_refused() -> None:
    gaussians = flat_gaussians(ball(times=1), 50)
    clear = Gaussians(gaussians.means, gaussians.quats, gaussians.log_scales, torch.full((50,), -20.0), gaussians.sh)
    with pytest.raises(BadInputError, match="too few for a mesh"):
        splat_mesh(StaticSplat(clear), None, SMALL)
    with pytest.raises(BadInputError, match="no Gaussians"):
        splat_mesh(StaticSplat(gaussians[:0]), None, SMALL)


# -- cleaning, decimation, distances ----------------------------------------------------------------------------------


def test_crumbs_go_and_parts_stay() -> None:
    big, small, crumb = ball(), ball(radius=0.3), ball(radius=0.05, times=1)
    parts = [big, small, crumb]
    starts = [0, len(big.vertices), len(big.vertices) + len(small.vertices)]
    shifts = [torch.zeros(3), torch.tensor([3.0, 0, 0]), torch.tensor([0, 3.0, 0])]
    vertices = torch.cat([p.vertices + s for p, s in zip(parts, shifts, strict=True)])
    mesh = Mesh(vertices, torch.cat([p.faces + s for p, s in zip(parts, starts, strict=True)]))
    kept, dropped = largest_parts(mesh)
    assert dropped == 1
    assert len(kept) == len(big) + len(small)
    assert len(largest_parts(mesh, 1.0)[0]) == len(big)


def test_small_holes_are_closed_and_large_ones_stay() -> None:
    whole = ball(times=3)
    near_top = whole.vertices[whole.faces].mean(1)[:, 2] > 0.93
    near_bottom = whole.vertices[whole.faces].mean(1)[:, 2] < -0.2
    mesh = whole[~(near_top | near_bottom)]
    closed, count = without_small_holes(mesh, longest_rim=20)
    assert count == 1
    assert len(mesh) < len(closed)
    rim = edges(closed.faces)
    assert int(rim.boundary.sum()) > 20
    assert float(rim.faces.max()) == 2
    both, count = without_small_holes(mesh, longest_rim=1000)
    assert count == 2
    assert euler_characteristic(both.faces) == 2
    normals = face_normals(both.vertices, both.faces)
    assert float((normals * both.vertices[both.faces].mean(1)).sum(1).min()) > 0, "the new faces look outward"


def test_clusters_keep_the_shape_within_the_budget() -> None:
    mesh = ball(times=6)
    assert clustered(mesh, len(mesh)) is mesh
    for budget in (400, 3000):
        fewer = clustered(mesh, budget)
        assert budget / 2 < len(fewer) <= budget
        edge = math.sqrt(4 / math.sqrt(3) * 4 * math.pi / len(fewer))  # of an even triangle
        # A chord is edge^2 / 8 below the ball; clusters are uneven, so twice as long ones occur.
        assert float(point_mesh_distance(surface_samples(mesh, 2000), fewer).max()) < edge**2 / 2
    flat = cube()
    fine = Mesh(flat.vertices, flat.faces)
    for _ in range(4):
        found = edges(fine.faces)
        a, b, c = (len(fine.vertices) + found.of_face).unbind(1)
        p, q, r = fine.faces.unbind(1)
        faces = torch.cat([torch.stack(t, 1) for t in ((p, a, c), (a, q, b), (c, b, r), (a, b, c))])
        fine = Mesh(torch.cat([fine.vertices, fine.vertices[found.ends].mean(1)]), faces)
    fewer = clustered(fine, 300)
    assert float(face_areas(fewer.vertices, fewer.faces).sum()) == pytest.approx(6, rel=1e-3), "corners stay sharp"


def test_distances_are_those_of_every_face() -> None:
    generator = torch.Generator().manual_seed(0)
    mesh = Mesh(torch.rand(60, 3, generator=generator), torch.randint(0, 60, (40, 3), generator=generator))
    points = torch.rand(50, 3, generator=generator) * 2 - 0.5
    # The least over a fine barycentric grid of every face is above the distance, by less than a cell.
    steps = 60
    weights = torch.tensor([(i, j, steps - i - j) for i in range(steps + 1) for j in range(steps + 1 - i)]) / steps
    samples = torch.einsum("wc,fcx->fwx", weights, mesh.vertices[mesh.faces]).reshape(-1, 3)
    coarse = torch.cdist(points, samples).amin(1).double()
    found = point_mesh_distance(points, mesh)
    assert bool((found <= coarse + 1e-6).all())
    assert float((coarse - found).max()) < 2 / steps
    above = torch.tensor([[0.25, 0.25, 0.5], [2, 0, 0], [-1, -1, 0]])
    triangle = Mesh(torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]), torch.tensor([[0, 1, 2]]))
    assert torch.allclose(point_mesh_distance(above, triangle), torch.tensor([0.5, 1, math.sqrt(2)]).double())


def test_samples_are_even() -> None:
    samples = surface_samples(cube(), 6000, seed=1)
    on_side = [int(((samples[:, a] - v).abs() < 1e-9).sum()) for a in range(3) for v in (0, 1)]
    assert sum(on_side) == 6000
    assert min(on_side) > 850  # 1000 with a standard deviation of 29
    assert float(point_mesh_distance(samples, cube()).max()) < 1e-6


def test_figures_of_a_mesh() -> None:
    figures = mesh_figures(cube(), torch.tensor([[0.5, 0.5, 1.0], [0.5, 0.5, 0.9], [5.0, 0, 0]]))
    assert figures["parts"] == 1
    assert figures["boundary_edges"] == figures["non_manifold_edges"] == 0
    assert figures["points"]["all"] == 3
    assert figures["points"]["in_box"] == 2
    assert figures["points"]["median_percent"] == pytest.approx(0.05 / math.sqrt(3) * 100, rel=1e-4)
    assert "points" not in mesh_figures(painted_cube())


@pytest.mark.parametrize("size_px", [8, 160])
def test_property_faces_in_squares_show_what_is_there_and_nothing_of_others(
    size_px: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of places as colours: the texture is linear in each face, and read at any place of it gives that place."""
    monkeypatch.setitem(sys.modules, "xatlas", None)
    whole = ball(0.5, 2)
    mesh = whole[torch.arange(len(whole)) < len(whole) - 1]  # one face has a square for itself
    low, span = mesh.vertices.amin(0), mesh.vertices.amax(0) - mesh.vertices.amin(0)
    painted = textured(mesh, size_px, lambda places, _: (places - low) / span)
    assert painted.texture is not None
    assert painted.texture.shape[0] >= size_px
    assert torch.equal(painted.vertices[painted.faces], mesh.vertices[mesh.faces])
    generator = torch.Generator().manual_seed(0)
    face = torch.randint(len(mesh), (2000,), generator=generator)
    weights = torch.rand(2000, 3, generator=generator)
    weights /= weights.sum(1, keepdim=True)
    weights[:3] = torch.eye(3)
    truth = ((mesh.vertices[mesh.faces[face]] * weights[..., None]).sum(1) - low) / span
    corners = (mesh.vertices[mesh.faces[face]] - low) / span
    # Beyond the long side, by half a pixel at most, pixels show the side itself; and a byte is rounded.
    edge = float((corners - corners.roll(1, 1)).abs().max())
    cell = painted.texture.shape[0] / math.ceil(math.sqrt(len(mesh) / 2))
    torch.testing.assert_close(
        surface_colors(painted, face, weights), truth, rtol=0, atol=0.5 * edge / (cell - 3) + 1 / 255
    )
