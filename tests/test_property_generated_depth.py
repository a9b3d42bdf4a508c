"""Generated scenes for the depth prior: rays end on surfaces, pass through nothing, and what is told is mostly true."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts" / "train_priors"


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The modules of the scripts' folder, under their own names for as long as the test runs."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    before = set(sys.modules)
    import depth_caster
    import depth_pictures
    import depth_scenes
    import depth_stereo
    import depth_textures

    yield depth_caster, depth_pictures, depth_scenes, depth_stereo, depth_textures
    for name in set(sys.modules) - before:
        if name.startswith("depth_"):
            del sys.modules[name]


def outside(body: Any, points: np.ndarray) -> np.ndarray:
    """Signed excess [N] of points over a body's surface by its implicit equation: negative inside, zero on it."""
    local = (points - body.center) @ body.world_from_local / body.half
    if body.kind == 0:
        return np.abs(local).max(1) - 1
    if body.kind == 1:
        return np.linalg.norm(local, axis=1) - 1
    return np.maximum(np.hypot(local[:, 0], local[:, 2]), np.abs(local[:, 1])) - 1


def rays_around_the_view(scene: Any, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Origins and unit directions float32 [count, 3] of rays from the scene's eye, spread about its target."""
    ahead = scene.target - scene.eye
    towards = ahead + 0.4 * np.linalg.norm(ahead) * rng.standard_normal((count, 3))
    directions = (towards / np.linalg.norm(towards, axis=1, keepdims=True)).astype(np.float32)
    return np.broadcast_to(scene.eye, directions.shape).astype(np.float32), directions


@pytest.mark.parametrize("kind", range(4))
def test_embree_sees_what_the_plain_caster_sees(scripts: Any, kind: int) -> None:
    pytest.importorskip("embreex", reason="Embree is a package of its own")
    depth_caster, _, depth_scenes, _, _ = scripts
    rng = np.random.default_rng(kind)
    scene = depth_scenes.KINDS[kind](rng, 5)
    origins, directions = rays_around_the_view(scene, rng, 900)
    plain, fast = (c(scene).trace(origins, directions) for c in (depth_caster.Caster, depth_caster.EmbreeCaster))
    same = plain[1] == fast[1]
    assert same.mean() > 0.95  # all but the outlines of round bodies
    for one, other in zip(plain, fast, strict=True):
        assert np.allclose(one[same], other[same], rtol=1e-4, atol=1e-4)  # both work out the same shape in float32
    most = 0.5 * plain[0]
    blocked = depth_caster.EmbreeCaster(scene).blocked(origins, directions, 1.2 * plain[0])
    assert (blocked == (plain[1] >= 0))[same].mean() > 0.95
    assert not depth_caster.EmbreeCaster(scene).blocked(origins, directions, most)[same].any()


@pytest.mark.parametrize("kind", range(4))
def test_rays_end_on_surfaces_and_pass_through_nothing(scripts: Any, kind: int) -> None:
    depth_caster, _, depth_scenes, _, _ = scripts
    rng = np.random.default_rng(kind)
    scene = depth_scenes.KINDS[kind](rng, 5)
    origins, directions = rays_around_the_view(scene, rng, 300)
    t, body, _, normal = depth_caster.Caster(scene).trace(origins, directions)
    hit = body >= 0
    assert hit.mean() > 0.3
    if any(float(outside(one, origins[:1])[0]) < 0 for one in scene.bodies):
        pytest.skip("this camera stands in a body, which pictures are not made of")
    ends = origins + t[:, None] * directions
    for index in np.unique(body[hit]):
        rows = body == index
        assert np.abs(outside(scene.bodies[index], ends[rows])).max() < 2e-2  # float32, of bodies down to millimetres
    assert ((normal[hit] * directions[hit]).sum(1) < 1e-3).all()  # surfaces are seen from their front
    for share in (0.2, 0.5, 0.8, 0.97):
        on_the_way = origins + share * t[:, None] * directions
        assert all((outside(one, on_the_way) > -1e-3).all() for one in scene.bodies)


def test_what_is_told_of_photographs_is_mostly_true(scripts: Any) -> None:
    _, depth_pictures, _, depth_stereo, depth_textures = scripts
    rng = np.random.default_rng(3)
    pictures = depth_pictures.photographs(rng, depth_textures.Textures(40, 0), 128)
    shares = []
    for one, (value, weight) in zip(pictures, depth_stereo.known_by_stereo(pictures, rng), strict=True):
        assert one.rgb.shape == (128, 128, 3)
        assert one.rgb.std() > 2
        known = (weight > 0) & (one.depth > 0)
        assert known.mean() > 0.01
        assert (value[weight > 0] > 0).all()
        shares.append((np.abs(value[known] * one.depth[known] - 1) < 0.05).mean())
        less = depth_stereo.thinned(weight, rng)
        assert (less[less > 0] == weight[less > 0]).all()
        assert (less > 0).sum() < (weight > 0).sum()
    assert np.mean(shares) > 0.6


def test_what_photographs_share_is_seen_by_both(scripts: Any) -> None:
    _, depth_pictures, _, depth_stereo, depth_textures = scripts
    rng = np.random.default_rng(5)
    one, *others = depth_pictures.photographs(rng, depth_textures.Textures(12, 0), 64)
    assert (one.shared > 0).mean() > 0.1
    row, column = (v[::7] for v in (one.shared > 0).nonzero())
    for y, x in zip(row, column, strict=True):
        depth = one.depth[y, x]
        local = np.array([(x + 0.5 - 32) / one.focal_px * depth, (y + 0.5 - 32) / one.focal_px * depth, depth, 1.0])
        seen = [float((np.linalg.inv(o.world_from_cam) @ one.world_from_cam @ local)[2]) for o in others]
        shown = [depth_stereo.shows(o, one.world_from_cam @ local, 0.05) for o in others]
        assert any(shown)
        assert max(seen) > 0
    points = depth_stereo.sparse_points([one, *others], rng)
    assert len(points) > 3
    assert (np.bincount(points.seen_point) >= 2).all()


def test_the_same_seed_gives_the_same_photographs(scripts: Any) -> None:
    _, depth_pictures, _, _, depth_textures = scripts
    textures = depth_textures.Textures(6, 0)
    some, same = (depth_pictures.photographs(np.random.default_rng(1), textures, 32) for _ in range(2))
    for one, other in zip(some, same, strict=True):
        assert np.array_equal(one.rgb, other.rgb)
        assert np.array_equal(one.depth, other.depth)
