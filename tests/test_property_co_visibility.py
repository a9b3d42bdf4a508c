"""What several views show is taken from the most confident one: which pixels are told to be redundant."""

from __future__ import annotations

import math

import pytest
import torch
from fewview.recon.evidence import DepthMap, Stereo
from fewview.recon.methods.instantsplat.co_visibility import redundant_pixels
from fewview.scene.cameras import Cameras
from fewview.scene.geometry import se3_exp
from support.few_views import few_views, wall_and_ball
from support.threads import one_torch_thread as one_torch_thread

RULES = ["projected", "normalised"]


def kept_shares(stereo: Stereo, *options: object) -> list[float]:
    return [1 - float(r.float().mean()) for r in redundant_pixels(stereo, *options)]


def random_stereo(seed: int, views: int = 3, width: int = 7, height: int = 5) -> Stereo:
    """Rough depth around 3, so that at a wide threshold some pixels agree and others do not."""
    g = torch.Generator().manual_seed(seed)
    twists = 0.1 * torch.randn(views, 6, generator=g)
    cameras = Cameras.pinhole(se3_exp(twists), 6.0, width, height)
    depths = 3 + 0.3 * torch.randn(views, height, width, generator=g)
    confidences = 1 + 9 * torch.rand(views, height, width, generator=g)
    return Stereo(cameras, tuple(DepthMap(d, c) for d, c in zip(depths, confidences, strict=True)))


def by_loops(stereo: Stereo, threshold: float, rule: str) -> list[set[tuple[int, int]]]:
    """Redundant (row, column) of each view, one point after another, from the definition alone."""
    means = [float(m.confidence.double().mean()) for m in stereo.maps]
    order = sorted(range(len(stereo)), key=lambda v: -means[v])
    out: list[set[tuple[int, int]]] = [set() for _ in order]
    for rank, view in enumerate(order):
        pooled = [float(d) for b in order[:rank] for d in stereo.maps[b].depth.flatten()]
        own = stereo.maps[view].depth
        height, width = own.shape
        focal = float(stereo.cameras.K[view, 0, 0])
        for better in order[:rank]:
            depth = stereo.maps[better].depth
            to_view = stereo.cameras.cam_from_world[view].double() @ stereo.cameras.world_from_cam[better].double()
            for row in range(depth.shape[0]):
                for column in range(depth.shape[1]):
                    z = float(depth[row, column])
                    point = [(column + 0.5 - width / 2) / focal * z, (row + 0.5 - height / 2) / focal * z, z, 1.0]
                    x, y, seen_z, _ = (to_view @ torch.tensor(point, dtype=torch.float64)).tolist()
                    if rule == "projected" and seen_z <= 0:
                        continue
                    u, v = x / seen_z * focal + width / 2, y / seen_z * focal + height / 2
                    if not (0 <= u < width and 0 <= v < height):
                        continue
                    there = float(own[math.floor(v), math.floor(u)])
                    if rule == "projected":
                        agrees = abs(seen_z - there) / there < threshold
                    else:
                        low, high = float(own.min()), float(own.max())
                        a = (z - min(pooled)) / (max(pooled) - min(pooled))
                        agrees = abs(a - (there - low) / (high - low)) < threshold
                    if agrees:
                        out[view].add((math.floor(v), math.floor(u)))
    return out


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("seed", range(3))
def test_they_are_those_of_the_definition(rule: str, seed: int) -> None:
    stereo = random_stereo(seed)
    found = [{(int(y), int(x)) for y, x in r.nonzero()} for r in redundant_pixels(stereo, 0.08, rule)]
    expected = by_loops(stereo, 0.08, rule)
    assert found == expected
    assert 5 < sum(map(len, expected)) < 2 * 35  # of the two views that can lose pixels: some, and not all


@pytest.mark.parametrize("rule", RULES)
def test_the_best_view_keeps_everything_and_the_others_do_not(rule: str) -> None:
    _, stereo = few_views(wall_and_ball(3), confidences=[2.0, 9.0, 4.0])
    kept = kept_shares(stereo, 0.01, rule)
    assert kept[1] == 1
    assert kept[0] < 0.95
    assert kept[2] < 0.95
    # All points of all better views count, so the last in the order loses most where all see the same.
    if rule == "projected":
        assert kept[0] < kept[2]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("copies", [2, 4])
def test_copies_of_one_view_are_kept_once(rule: str, copies: int) -> None:
    one = wall_and_ball(1)
    camera = one.cameras[torch.zeros(copies, dtype=torch.int64)]
    confidences = [3.0, 7.0, 5.0, 5.0][:copies]
    depth = one.depths[0]
    stereo = Stereo(camera, tuple(DepthMap(depth, torch.full_like(depth, c)) for c in confidences))
    kept = kept_shares(stereo, 0.01, rule)
    assert kept[1] == 1
    # A pixel's centre falls back into that pixel, and its depth differs by rounding only.
    assert sum(kept) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("rule", RULES)
def test_nothing_agrees_at_a_threshold_of_zero(rule: str) -> None:
    _, stereo = few_views(wall_and_ball(3))
    assert kept_shares(stereo, 0.0, rule) == [1, 1, 1]


@pytest.mark.parametrize("rule", RULES)
def test_a_wider_threshold_never_keeps_more(rule: str) -> None:
    _, stereo = few_views(wall_and_ball(3))
    narrow, wide = (redundant_pixels(stereo, t, rule) for t in (0.005, 0.05))
    assert all((a <= b).all() for a, b in zip(narrow, wide, strict=True))
    assert sum(int(w.sum()) for w in wide) > sum(int(n.sum()) for n in narrow)


def back_to_back() -> Stereo:
    """Two cameras at one place that look in opposite directions: each has all points of the other behind it."""
    turn = torch.diag(torch.tensor([-1.0, 1.0, -1.0, 1.0]))
    cameras = Cameras.pinhole(torch.stack([torch.eye(4), turn]), 10.0, 8, 6)
    depth = 2 + torch.arange(48.0).reshape(6, 8) / 48
    return Stereo(cameras, (DepthMap(depth, torch.full((6, 8), 9.0)), DepthMap(depth, torch.full((6, 8), 2.0))))


def test_points_behind_the_camera_count_only_as_the_released_code_counts_them() -> None:
    # With z < 0 a point projects into the picture mirrored at its centre.
    assert kept_shares(back_to_back(), 0.5, "projected") == [1, 1]
    assert kept_shares(back_to_back(), 5.0, "projected") == [1, 1]  # where -z would be near enough to the depth
    assert kept_shares(back_to_back(), 0.5, "normalised")[1] < 1


def test_one_view_and_views_of_different_sizes() -> None:
    _, alone = few_views(wall_and_ball(1))
    assert kept_shares(alone) == [1]
    large, small = wall_and_ball(2, 60, 44), wall_and_ball(2, 36, 28)
    cameras = Cameras.stack([large.cameras[0], small.cameras[1]])
    maps = (large.depths[0], small.depths[1])
    stereo = Stereo(cameras, tuple(DepthMap(d, torch.full_like(d, 9.0 - i)) for i, d in enumerate(maps)))
    kept = kept_shares(stereo)
    assert kept[0] == 1
    # The finer view's points fall into nearly all pixels of the coarser one that both see.
    assert 0.1 < kept[1] < 0.7


def test_equal_confidence_leaves_the_first_view_whole() -> None:
    _, stereo = few_views(wall_and_ball(3))
    assert kept_shares(stereo)[0] == 1


def test_what_a_better_view_does_not_show_is_no_reason_to_drop_it() -> None:
    _, stereo = few_views(wall_and_ball(2), confidences=[9.0, 2.0])
    nothing, everything = torch.zeros(36, 48, dtype=torch.bool), torch.ones(36, 48, dtype=torch.bool)
    hidden = redundant_pixels(stereo, 0.01, "projected", [nothing, everything])
    assert not hidden[1].any()
    plain = redundant_pixels(stereo, 0.01, "projected")
    same = redundant_pixels(stereo, 0.01, "projected", [everything, nothing])
    assert torch.equal(plain[1], same[1])
