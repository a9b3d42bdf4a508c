"""Photographs that hang by few points: the sentence names the two between which one more would help."""

from __future__ import annotations

import numpy as np
import torch
from fewview.recon.poses import PosesConfig
from fewview.recon.poses.best_model import solve
from fewview.recon.poses.focal_prior import group_lenses
from fewview.recon.poses.placed_capture import placed_capture
from fewview.recon.poses.verification import verify
from fewview.recon.poses.weak_links import notes_on_weak_links, shared_points, strongest_links, weak_links
from fewview.scene import Capture, Frame
from fewview.scene.point_cloud import PointCloud
from hypothesis import given, settings
from hypothesis import strategies as st
from support.posed_photos import HEIGHT, WIDTH, arc, posed_photos

NAMES = [f"IMG_{i}.jpg" for i in range(12)]


def cloud(seen_by: list[tuple[int, ...]]) -> PointCloud:
    """Points of which each is seen by these views."""
    point = torch.tensor([i for i, views in enumerate(seen_by) for _ in views])
    view = torch.tensor([v for views in seen_by for v in views])
    return PointCloud(torch.zeros(len(seen_by), 3), torch.zeros(len(seen_by), 3, dtype=torch.uint8), point, view)


def row(n: int) -> torch.Tensor:
    """Places of n cameras, one beside the other."""
    return torch.arange(n)[:, None] * torch.tensor([1.0, 0, 0])


def test_one_that_hangs_by_few_and_its_strongest_neighbour() -> None:
    points = cloud([(0, 1, 2)] * 300 + [(1, 3)] * 12 + [(2, 3)] * 5)
    (link,) = weak_links(points, row(4))
    assert (link.group, link.points, link.view, link.other, link.shared) == ((3,), 17, 3, 1, 12)
    (note,) = notes_on_weak_links(points, row(4), NAMES[:4])
    assert "IMG_3.jpg hangs on the others by 17 points, 12 of which IMG_1.jpg shows" in note
    assert "from between IMG_3.jpg and IMG_1.jpg" in note
    assert strongest_links(points, NAMES[:4])["IMG_3.jpg"] == {"IMG_1.jpg": 12, "IMG_2.jpg": 5}
    assert int(shared_points(points, 4)[0, 2]) == 300


def test_two_groups_and_the_pair_between_them() -> None:
    points = cloud([(0, 1, 2)] * 200 + [(3, 4, 5, 6)] * 200 + [(2, 5)] * 9 + [(1, 4)] * 4)
    (note,) = notes_on_weak_links(points, row(7), NAMES[:7])
    assert note.startswith("IMG_0.jpg, IMG_1.jpg, IMG_2.jpg hang on the other photographs by 13 points in all")
    assert "from between IMG_2.jpg and IMG_5.jpg" in note


def test_of_pairs_that_share_as_many_the_nearest_is_named() -> None:
    points = cloud([(0, 1, 2)] * 200 + [(3, 4, 5)] * 200 + [(0, 1, 2, 3)] * 8)
    (link,) = weak_links(points, row(6))
    assert {link.view, link.other} == {2, 3}


def test_nothing_is_said_of_photographs_that_hold_well() -> None:
    assert weak_links(cloud([(0, 1, 2)] * 100), row(3)) == []
    assert weak_links(cloud([(i, i + 1, i + 2) for i in range(8) for _ in range(50)]), row(10)) == []  # a film
    assert weak_links(cloud([(0, 1)] * 20), row(2)) == []  # few points, but as many as photographs usually see here
    assert weak_links(cloud([(0, 1)] * 20), row(4)) == []  # two were held out and see nothing
    many = cloud([(0, 1, 2)] * 9000 + [(2, 3)] * 200 + [(3,)] * 100)
    assert weak_links(many, row(4)) == []  # a small share, and plenty


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_weak_bridge_between_two_groups_is_found_wherever_it_is(data: st.DataObject) -> None:
    """Two groups in any order, each held together by many points, joined by a few across."""
    sizes = data.draw(st.tuples(st.integers(1, 5), st.integers(2, 5)), label="sizes")
    order = data.draw(st.permutations(range(sum(sizes))), label="order")
    small, large = sorted([order[: sizes[0]], order[sizes[0] :]], key=len)
    few = data.draw(st.integers(1, 20), label="points across")
    pair = data.draw(st.sampled_from(small)), data.draw(st.sampled_from(large))
    points = cloud([tuple(small)] * 160 + [tuple(large)] * 160 + [pair] * few)
    (link,) = weak_links(points, row(sum(sizes)))
    assert link.points == link.shared == few
    assert {link.view, link.other} == set(pair)
    assert set(link.group) in (set(small), set(large))
    assert 2 * len(link.group) <= sum(sizes)


def test_a_bridge_of_a_generated_scene_is_named() -> None:
    """Eight photographs along an arc; between the first four and the last four, only 40 matches of one pair."""
    photos = posed_photos(arc(8, seed=1, span_deg=50.0), seed=2)
    matches = {pair: m if (pair[0] < 4) == (pair[1] < 4) else m[:0] for pair, m in photos.matches.items()}
    matches[3, 4] = photos.matches[3, 4][:40]
    grey = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    capture = Capture(tuple(Frame(f"view_{i}.jpg", WIDTH, HEIGHT, lambda: grey) for i in range(8)), "a test")
    lenses = group_lenses(list(capture.frames), [(WIDTH, HEIGHT)] * 8)
    graph = verify(photos.features, matches, lenses.of_views(lenses.cameras("SIMPLE_PINHOLE", 1.0)), seed=0)
    model = solve(graph, lenses, PosesConfig(distortion="off"))
    assert model is not None
    assert model.views == list(range(8))
    colors = [np.full((len(f), 3), 128, np.uint8) for f in photos.features]
    placed = placed_capture(capture, model, lenses, {}, colors, {})
    assert placed.points is not None
    assert placed.cameras is not None
    (note,) = notes_on_weak_links(placed.points, placed.cameras.centers, placed.names)
    assert "from between view_3.jpg and view_4.jpg" in note or "from between view_4.jpg and view_3.jpg" in note
    (link,) = weak_links(placed.points, placed.cameras.centers)
    assert sorted(link.group) in ([0, 1, 2, 3], [4, 5, 6, 7])
    assert link.points <= 40


def test_many_names_are_shortened() -> None:
    points = cloud([tuple(range(5))] * 160 + [tuple(range(5, 10))] * 160 + [(4, 9)] * 3)
    (note,) = notes_on_weak_links(points, row(10), NAMES[:10])
    assert " and 1 more hang on the other photographs by 3 points" in note
