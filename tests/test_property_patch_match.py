"""Dense stereo on rendered scenes whose depth is known exactly, and on inputs that say nothing."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from fewview import _native
from fewview.recon.evidence.depth_maps import Stereo
from fewview.recon.evidence.stereo.patch_match import estimate_depths
from fewview.scene.point_cloud import PointCloud
from support.native import isa as isa
from support.native import keep_threads as keep_threads
from support.stereo_scenes import Plane, Sphere, StereoScene, row_of_cameras, stereo_scene
from support.threads import one_torch_thread as one_torch_thread
from torch import Tensor

WALL = Plane((0, 0, 1), 4.5)


def _errors(scene: StereoScene, view: int, **options: int) -> tuple[Tensor, Tensor]:
    """Relative depth errors [H, W] and confidences [H, W] of a view."""
    found = estimate_depths(scene.images, scene.cameras, scene.points, **options)[view]
    return (found.depth / scene.depths[view] - 1).abs(), found.confidence


def test_sphere_before_a_wall() -> None:
    scene = stereo_scene([WALL, Sphere((0.0, 0.0, 3.2), 0.6)], row_of_cameras(4, 120, 96, 0.8))
    error, confidence = _errors(scene, 1)
    trusted = confidence > 1
    assert trusted.float().mean() > 0.75
    # A pixel of disparity between neighbours is 4.5 / (132 * 0.8) = 4 % of depth: two tenths of a pixel, and one at
    # the sphere's edge, where the patch reaches over it.
    assert error[trusted].median() < 0.008
    assert torch.quantile(error[trusted], 0.95) < 0.05
    assert error.median() < 0.008


def test_depth_steps_stay_at_the_edge() -> None:
    disc = Plane((0, 0, 1), 3.0, center=(0, 0, 3.0), radius=0.5)
    scene = stereo_scene([Plane((0, 0, 1), 5.0), disc], row_of_cameras(5, 120, 96, 0.25))
    found = estimate_depths(scene.images, scene.cameras, scene.points)[2]
    near_found, near = found.depth < 3.9, scene.depths[2] < 3.9
    wrong = (near_found != near).float()
    around = 2 * math.pi * 0.5 / 3 * 132  # pixels of the edge
    # Texture is the same on both sides, so nothing but matching says where the edge is, and a patch reaches 5 pixels
    # over it. What fills most of the patch wins: 2.5 to 3.1 pixels, by the seed and the order of sums.
    assert wrong.sum() < 4 * around


def test_a_plane_at_60_degrees_with_its_normal() -> None:
    tilt = math.radians(60)
    normal = (math.sin(tilt), 0.0, math.cos(tilt))
    scene = stereo_scene([Plane(normal, 2.0)], row_of_cameras(4, 120, 96, 0.6))
    maps = estimate_depths(scene.images, scene.cameras, scene.points)
    error = (maps[1].depth / scene.depths[1] - 1).abs()
    assert error[maps[1].confidence > 1].median() < 0.004  # a pixel is 3 to 15 % of depth here
    points = Stereo(scene.cameras, maps).points(1)[20:-20, 20:-20].double()
    normals = torch.linalg.cross(points[5:, 5:] - points[5:, :-5], points[5:, 5:] - points[:-5, 5:])
    cosine = torch.nn.functional.normalize(normals, dim=-1) @ torch.tensor(normal).double()
    assert math.degrees(math.acos(min(1.0, float(cosine.abs().median())))) < 4  # over steps of five pixels


def test_same_bits_for_any_number_of_threads(keep_threads: None) -> None:
    scene = stereo_scene([WALL, Sphere((0.0, 0.0, 3.2), 0.6)], row_of_cameras(3, 60, 50, 0.4))
    results = []
    for threads in (1, 2, 3):
        _native.set_num_threads(threads)
        results.append(estimate_depths(scene.images, scene.cameras, scene.points, seed=4))
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert torch.equal(a.depth, b.depth)
            assert torch.equal(a.confidence, b.confidence)


def test_every_instruction_set_sees_the_same_surface(isa: str) -> None:
    scene = stereo_scene([WALL, Sphere((0.0, 0.0, 3.2), 0.6)], row_of_cameras(3, 80, 60, 0.8))
    error, confidence = _errors(scene, 1)
    # Sums in another order send single pixels another way, never the surface.
    assert error[confidence > 1].median() < 0.015  # 6 % is a pixel
    assert (confidence > 1).float().mean() > 0.6


def test_masked_pixels_are_guesses() -> None:
    scene = stereo_scene([WALL], row_of_cameras(3, 60, 50, 0.4))
    mask = torch.ones(50, 60, dtype=torch.bool)
    mask[:, :20] = False
    found = estimate_depths(scene.images, scene.cameras, scene.points, masks=[mask, None, torch.zeros_like(mask)])
    assert (found[0].confidence[:, :20] == 1).all()
    assert (found[0].confidence[:, 20:] > 1).any()
    assert (found[2].confidence == 1).all()


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (16, 16), (33, 7)])
@pytest.mark.parametrize("views", [1, 2, 3])
@pytest.mark.parametrize("points", ["all", "one", "none", "no observations"])
def test_degenerate_inputs_give_positive_depth(size: tuple[int, int], views: int, points: str) -> None:
    scene = stereo_scene([WALL], row_of_cameras(views, size[1], size[0], 0.4))
    cloud = {
        "all": scene.points,
        "one": scene.points[:1],
        "none": scene.points[:0],
        "no observations": PointCloud(scene.points.xyz, scene.points.rgb),
    }[points]
    for found, image in zip(estimate_depths(scene.images, scene.cameras, cloud), scene.images, strict=True):
        assert found.depth.shape == image.shape[:2]
        assert torch.isfinite(found.depth).all()
        assert (found.depth > 0).all()
        assert (found.confidence >= 1).all()
        assert (found.confidence <= 20).all()
        assert views > 1 or (found.confidence == 1).all()


def test_blank_pictures_get_interpolated_depth() -> None:
    scene = stereo_scene([WALL], row_of_cameras(3, 60, 50, 0.4), blank=True)
    for found, depth in zip(estimate_depths(scene.images, scene.cameras, scene.points), scene.depths, strict=True):
        assert (found.confidence == 1).all()
        assert (found.depth / depth - 1).abs().median() < 0.02  # between points that lie on the wall


def test_views_of_different_sizes() -> None:
    scene = stereo_scene([WALL], row_of_cameras(3, 80, 60, 0.4))
    small = scene.cameras.resized(torch.tensor([80, 80, 60]), torch.tensor([60, 60, 45]))
    channels_first = scene.images[2].permute(2, 0, 1)[None].float()
    shrunk = torch.nn.functional.interpolate(channels_first, (45, 60), mode="area")[0].permute(1, 2, 0)
    images = [*scene.images[:2], shrunk.round().byte()]
    found = estimate_depths(images, small, scene.points)
    assert found[2].depth.shape == (45, 60)
    assert (found[0].depth / scene.depths[0] - 1).abs().median() < 0.01


def test_another_seed_finds_the_same_surface() -> None:
    scene = stereo_scene([WALL], row_of_cameras(3, 60, 50, 0.4))
    one, two = (estimate_depths(scene.images, scene.cameras, scene.points, seed=s)[1].depth for s in (0, 1))
    assert not torch.equal(one, two)
    assert (one / two - 1).abs().median() < 0.005


def test_the_world_may_be_of_any_size() -> None:
    scene = stereo_scene([WALL], row_of_cameras(3, 60, 50, 0.4))
    pose = scene.cameras.cam_from_world.clone()
    pose[:, :3, 3] *= 1000
    larger = estimate_depths(
        scene.images, replace(scene.cameras, cam_from_world=pose), replace(scene.points, xyz=scene.points.xyz * 1000)
    )
    assert (larger[1].depth / (1000 * scene.depths[1]) - 1).abs().median() < 0.005
