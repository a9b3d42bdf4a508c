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
    import depth_bodies
    import depth_caster
    import depth_patterns
    import depth_pictures
    import depth_scenes
    import depth_textures

    yield depth_bodies, depth_caster, depth_patterns, depth_pictures, depth_scenes, depth_textures
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
    _, depth_caster, _, _, depth_scenes, _ = scripts
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
    _, depth_caster, _, _, depth_scenes, _ = scripts
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


def test_what_is_told_of_a_picture_is_mostly_true(scripts: Any) -> None:
    _, _, depth_patterns, depth_pictures, _, depth_textures = scripts
    rng = np.random.default_rng(3)
    textures = depth_textures.Textures(12, 0)
    shares = []
    for _ in range(3):
        one = depth_pictures.picture(rng, textures, 96)
        assert one.rgb.shape == (96, 96, 3)
        assert one.rgb.std() > 2
        value, weight = depth_patterns.known_depth(one, rng)
        known = weight > 0
        assert (value[known] > 0).all()
        assert (one.depth[known] > 0).all()
        shares.append((np.abs(value[known] * one.depth[known] - 1) < 0.05).mean())
    assert np.mean(shares) > 0.7


def test_the_same_seed_gives_the_same_picture(scripts: Any) -> None:
    _, _, _, depth_pictures, _, depth_textures = scripts
    textures = depth_textures.Textures(6, 0)
    one, other = (depth_pictures.picture(np.random.default_rng(1), textures, 32) for _ in range(2))
    assert np.array_equal(one.rgb, other.rgb)
    assert np.array_equal(one.depth, other.depth)
