"""Doubt of wrong cameras: second look, contested points, groups taken apart, precision, still backgrounds."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import pycolmap
import pytest
import torch
from fewview.recon.poses.correspondences import Correspondences, Image
from fewview.recon.poses.features import Features
from fewview.recon.poses.judge.agreement import agreement, contradicted_share
from fewview.recon.poses.judge.camera_features import CameraFeatures, bottlenecks
from fewview.recon.poses.judge.confidence import (
    MAX_NAMED,
    OPEN,
    UNSTEADY_DEG,
    _logistic,
    against_others,
    confidence_of_cameras,
    confidence_of_registered,
    look_alike_reasons,
    notes_on_confidence,
    notes_on_patterns,
    refused_reasons,
)
from fewview.recon.poses.judge.contested_points import contested_share
from fewview.recon.poses.judge.denied_surface import SurfaceComparison, denied_surface
from fewview.recon.poses.judge.least_contradicted import TRIES, least_contradicted
from fewview.recon.poses.judge.misleading_pairs import Contradiction, SeparatedModel, misleading_pairs
from fewview.recon.poses.judge.open_focal_length import bend_deg, notes_on_focal_length
from fewview.recon.poses.judge.outvoted_views import open_views, outvoted_views
from fewview.recon.poses.judge.points_known_without import points_known_without
from fewview.recon.poses.judge.rotation_precision import rotation_std_deg
from fewview.recon.poses.judge.second_look import NO_LOOK, PairLook, looks_of, second_look
from fewview.recon.poses.judge.solved_again import MOST, MOST_VIEWS, NOT_PLACED_DEG, WITHIN_DEG, moved_deg
from fewview.recon.poses.judge.torn_links import notes_on_torn_links, torn_links, torn_views
from fewview.recon.poses.mapping import Model
from fewview.recon.poses.repetition import shows_pattern
from fewview.recon.poses.still_background import without_still_background, without_still_outline
from fewview.recon.poses.verification import ViewGraph
from fewview.scene.run import SURE
from support.view_graphs import graph_with

WIDTH, HEIGHT, FOCAL_PX = 320, 240, 300.0
GENERATOR = torch.Generator().manual_seed(4)
SIDE = 4.0  # of the textured square in the plane z = 0


def texture(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(rng.uniform(0, 255, (60, 60)).astype(np.float32), (600, 600), interpolation=cv2.INTER_CUBIC)
    return np.clip(coarse, 0, 255).astype(np.uint8)


def looking_down(x: float, tilt_deg: float) -> np.ndarray:
    """cam_from_world [3, 4] of a camera 3 above the plane, turned about y."""
    c, s = np.cos(np.radians(tilt_deg)), np.sin(np.radians(tilt_deg))
    rotation = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]) @ np.diag([1.0, -1.0, -1.0])
    return np.column_stack([rotation, -rotation @ np.array([x, 0.0, 3.0])])


def picture(cam_from_world: np.ndarray, image: np.ndarray) -> np.ndarray:
    """The plane as the camera sees it."""
    K = np.array([[FOCAL_PX, 0, WIDTH / 2], [0, FOCAL_PX, HEIGHT / 2], [0, 0, 1]])
    pixel_from_plane = K @ cam_from_world[:, [0, 1, 3]]
    scale = len(image) / SIDE
    plane_from_texture = np.array([[1 / scale, 0, -SIDE / 2], [0, 1 / scale, -SIDE / 2], [0, 0, 1]])
    half = np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1]])  # OpenCV's pixel centres are at whole numbers
    warp = half @ pixel_from_plane @ plane_from_texture @ np.linalg.inv(half)
    return cv2.warpPerspective(image, warp, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR)


def model_of(
    poses: list[np.ndarray], points: np.ndarray, seen: np.ndarray, noise_px: float = 0.0, seed: int = 0
) -> Model:
    """A reconstruction of points [P, 3] that views see where seen [V, P]."""
    rng = np.random.default_rng(seed)
    reconstruction = pycolmap.Reconstruction()
    camera = pycolmap.Camera.create_from_model_name(1, "SIMPLE_PINHOLE", FOCAL_PX, WIDTH, HEIGHT)
    reconstruction.add_camera_with_trivial_rig(camera)
    tracks: list[list[pycolmap.TrackElement]] = [[] for _ in points]
    for view, pose in enumerate(poses):
        in_cam = points @ pose[:, :3].T + pose[:, 3]
        xy = FOCAL_PX * in_cam[:, :2] / in_cam[:, 2:] + np.array([WIDTH, HEIGHT]) / 2
        xy += rng.normal(0, noise_px, xy.shape)
        image = pycolmap.Image(name=str(view), camera_id=1, image_id=view + 1)
        image.points2D = pycolmap.Point2DList([pycolmap.Point2D(xy[p]) for p in np.flatnonzero(seen[view])])
        reconstruction.add_image_with_trivial_frame(image, pycolmap.Rigid3d(pose))
        for place, point in enumerate(np.flatnonzero(seen[view])):
            tracks[point].append(pycolmap.TrackElement(view + 1, place))
    for point, track in zip(points, tracks, strict=True):
        reconstruction.add_point3D(point, pycolmap.Track(elements=track))
    reconstruction.update_point_3d_errors()
    return Model(reconstruction, FOCAL_PX / WIDTH)


def plane_points(count: int, seed: int = 1) -> np.ndarray:
    xy = np.random.default_rng(seed).uniform(-0.7, 0.7, (count, 2))
    return np.column_stack([xy, np.zeros(count)])


def test_right_cameras_show_what_they_should_and_wrong_ones_do_not() -> None:
    poses = [looking_down(x, 6 * x) for x in (-0.4, 0.0, 0.4)]
    points = plane_points(200)
    model = model_of(poses, points, np.ones((3, 200), bool))
    right = [picture(pose, texture(1)) for pose in poses]
    looks = looks_of(second_look(model, right))
    assert set(looks) == {(0, 1), (0, 2), (1, 2)}
    for look in looks.values():
        # Both ways of 200 points; bilinear sampling of a smooth texture loses next to nothing.
        assert look.expected > 300
        assert look.agreeing > 0.97 * look.expected
    stranger = looks_of(second_look(model, [*right[:2], picture(poses[2], texture(2))]))
    assert stranger[0, 1].agreeing > 0.97 * stranger[0, 1].expected
    # Two unrelated textures correlate by more than 0.5 hardly ever, and by less than 0.2 mostly.
    assert stranger[0, 2].agreeing < 0.15 * stranger[0, 2].expected
    assert stranger[0, 2].conflicting > 0.6 * stranger[0, 2].expected


def test_without_grey_copies_nothing_is_looked_at() -> None:
    model = model_of([looking_down(0, 0), looking_down(0.3, 3)], plane_points(50), np.ones((2, 50), bool))
    assert not second_look(model, [np.zeros((0, 0), np.uint8)] * 2)


def test_a_mark_that_others_deny_is_contested() -> None:
    poses = [looking_down(x, 5 * x) for x in (-0.5, -0.25, 0.0, 0.25, 0.5)]
    points = plane_points(400, seed=4)
    on_mark = np.linalg.norm(points[:, :2], axis=1) < 0.25
    marked, plain = texture(5), texture(5)
    marked[240:360, 240:360] = texture(6)[:120, :120]
    seen = np.ones((5, 400), bool)
    seen[3:, on_mark] = False
    model = model_of(poses, points, seen)
    alike = [picture(pose, marked) for pose in poses]
    assert max(contested_share(second_look(model, alike)).values()) < 0.01
    two_sides = [*alike[:3], *(picture(pose, plain) for pose in poses[3:])]
    shares = contested_share(second_look(model, two_sides))
    # Nearly all points on the mark, less those at its edge, whose patches reach beyond it.
    assert min(shares.values()) > 0.4 * on_mark.mean()


def test_a_mark_that_only_one_photograph_shows_is_denied() -> None:
    poses = [looking_down(x, 5 * x) for x in (-0.3, 0.0, 0.3)]
    points = plane_points(300, seed=4)
    mark = (slice(270, 330), slice(270, 330))  # a tenth of the texture's side: 60 texels of 600 are 30 of 240 pixels
    marked, plain = texture(5), texture(5)
    marked[mark] = texture(6)[:60, :60]
    # No points on the mark and around it, as where matches failed.
    seen = np.broadcast_to(np.abs(points[:, :2]).max(1) > 0.25, (3, 300))
    model = model_of(poses, points, seen)
    alike = denied_surface(model, [picture(pose, marked) for pose in poses]).shares
    assert set(alike) == {(0, 1), (0, 2), (1, 2)}
    assert max(alike.values()) < 0.02
    other = [picture(poses[0], marked), *(picture(pose, plain) for pose in poses[1:])]
    denied = denied_surface(model, other)
    shares = denied.shares
    # The mark is as large as a place; patches at its edge see some of what is alike.
    assert min(shares[0, 1], shares[0, 2]) > 0.25
    assert shares[1, 2] < 0.02
    # The first has the mark in the middle against both others, which deny nothing else.
    middle = np.minimum(denied.places[0, 1], denied.places[0, 2])
    assert middle.max() > 0.25
    # Neither of those shows the same in the middle of the mark, as the two of them do.
    assert not denied.agreed[0, 1][middle == middle.max()].any()
    assert denied.agreed[1, 2][denied.places[1, 0] > 0.25].all()
    at = np.argwhere(denied.places[0, 1] == denied.places[0, 1].max()).mean(0) * 8 + 4
    assert np.abs(at - np.array(other[0].shape) * min(1.0, 480 / max(other[0].shape)) / 2).max() < 40
    assert denied.share_in_one_place(1, (0, 2), alike=2) < 0.02
    assert denied.share_in_one_place(0, (1, 7), alike=2) == denied.share_in_one_place(0, (1, 2), alike=7) == 0.0
    assert denied.apart(0, 2) == pytest.approx(0.6, rel=0.02)


def test_where_nothing_is_seen_or_all_points_lie_on_a_line_no_surface_is_looked_at() -> None:
    poses = [looking_down(0, 0), looking_down(0.3, 3)]
    line = plane_points(50) * np.array([1.0, 0.0, 1.0])
    grey = [picture(pose, texture(1)) for pose in poses]
    assert not denied_surface(model_of(poses, line, np.ones((2, 50), bool)), grey).shares
    flat = model_of(poses, plane_points(50), np.ones((2, 50), bool))
    assert not denied_surface(flat, [np.zeros((0, 0), np.uint8)] * 2).shares


def turned(pose: np.ndarray, angle_deg: float) -> np.ndarray:
    """cam_from_world [3, 4] turned in place about the camera's y axis."""
    turn, _ = cv2.Rodrigues(np.array([0.0, np.radians(angle_deg), 0.0]))
    return turn @ pose


def test_a_camera_that_moves_when_solved_again_is_told_by_how_much() -> None:
    graph, model = glued()
    poses = [model.reconstruction.image(v + 1).cam_from_world().matrix() for v in range(5)]
    points, seen = plane_points(200), np.ones((5, 200), bool)
    same = model_of(poses, points, seen)
    assert max(moved_deg(graph, model, {}, lambda part, number: same, 0).values()) < 1e-6
    # The world of another solution is its own.
    world = np.eye(4)
    world[:3, :3], _ = cv2.Rodrigues(np.array([0.3, -1.0, 0.5]))
    away = model_of([pose @ world for pose in [*poses[:4], turned(poses[4], 12)]], points, seen)
    moved = moved_deg(graph, model, {}, lambda part, number: away if number < 2 else same, 0)
    assert [moved[v] for v in range(5)] == pytest.approx([0, 0, 0, 0, 6], abs=1e-6)
    nowhere = moved_deg(graph, model, {}, lambda part, number: None, 0)
    assert set(nowhere.values()) == {NOT_PLACED_DEG}


def test_solutions_are_of_most_matches_and_without_suspects() -> None:
    graph, model = glued()
    for geometry in graph.geometries.values():
        count = len(geometry.inlier_matches)
        geometry.inlier_matches = np.stack([np.arange(count)] * 2, axis=1).astype(np.uint32)
    parts: list[ViewGraph] = []

    def again(part: ViewGraph, number: int) -> None:
        assert number == len(parts)
        parts.append(part)

    suspect = {(0, 1): 0.5, (1, 2): 0.05}
    moved_deg(graph, model, suspect, again, 0)
    for pair, geometry in graph.geometries.items():
        kept = [set(part.geometries[pair].inlier_matches[:, 0].tolist()) for part in parts[:2]]
        count = len(geometry.inlier_matches)
        assert kept[0] | kept[1] == set(range(count))
        assert all(abs(len(some) - MOST * count) <= 1 for some in kept)
    assert (0, 1) not in parts[2].geometries
    assert (1, 2) in parts[2].geometries
    many = model_of([looking_down(0, 0)] * (MOST_VIEWS + 1), plane_points(20), np.ones((MOST_VIEWS + 1, 20), bool))
    assert not moved_deg(graph, many, {}, again, 0)


def glued() -> tuple[ViewGraph, Model]:
    """Views 0 to 2 and 3 to 4, joined by 30 of 200 points."""
    seen = np.zeros((5, 200), bool)
    seen[:3, :110] = seen[3:, 90:] = True
    seen[0, 90:110] = False
    poses = [looking_down(x, 5 * x) for x in (-0.4, -0.2, 0.0, 0.2, 0.4)]
    weights = {(0, 1): 100, (0, 2): 90, (1, 2): 120, (2, 3): 40, (1, 3): 25, (3, 4): 110, (0, 4): 60}
    return graph_with(weights, 5), model_of(poses, plane_points(200), seen)


def test_groups_that_contradict_each_other_are_taken_apart() -> None:
    graph, model = glued()
    good, bad = PairLook(200, 120, 180, 10), PairLook(200, 10, 20, 150)
    looks = {(0, 1): good, (1, 2): good, (3, 4): good, (2, 3): bad, (1, 3): bad, (2, 4): bad}
    wrong = misleading_pairs(graph, model, looks, {})
    # The groups meet over 20 points and 25 or 40 matches; the pair with 60 is better than what misled, and stays.
    assert set(wrong) <= {(2, 3), (1, 3)}
    assert (1, 3) in wrong
    assert not misleading_pairs(graph, model, dict.fromkeys(looks, good), {})


def test_a_pair_that_matches_what_is_expected_is_kept_whatever_else_it_shows() -> None:
    graph, model = glued()
    hidden = PairLook(200, 80, 60, 100)
    assert not misleading_pairs(graph, model, {(2, 3): hidden, (1, 3): hidden, (2, 4): hidden}, {})


def test_groups_whose_surfaces_deny_each_other_are_taken_apart_with_all_their_pairs() -> None:
    graph, model = glued()
    differ, same = 0.6, 0.05
    denied = {(0, 4): differ, (1, 3): differ, (2, 3): differ, (1, 4): same, (0, 1): same}
    wrong = misleading_pairs(graph, model, {}, denied)
    # The strongest pairs between the groups go, too: they were told apart by what is there, not by how much is alike.
    assert set(wrong) == {(2, 3), (1, 3), (0, 4)}
    # One pair may be wrong about its surface.
    assert not misleading_pairs(graph, model, {}, {**denied, (1, 3): same, (2, 3): same})
    assert not misleading_pairs(graph, model, {}, {(0, 4): differ})


def elsewhere(poses: list[np.ndarray], views: tuple[int, ...]) -> list[np.ndarray]:
    """The same poses, those of some views where they would be if these had seen another of four equal sides."""
    quarter = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    return [
        np.column_stack([pose[:, :3] @ quarter, pose[:, 3]]) if view in views else pose
        for view, pose in enumerate(poses)
    ]


def verified_matches(model: Model, poses: list[np.ndarray], points: np.ndarray) -> ViewGraph:
    """All pairs of views as cameras at these poses [3, 4] would see points [P, 3], every one of them matched."""
    lens = model.reconstruction.camera(1)
    xy = [np.asarray(lens.img_from_cam(points @ pose[:, :3].T + pose[:, 3])) for pose in poses]
    every = np.stack([np.arange(len(points))] * 2, axis=1).astype(np.uint32)
    geometries = {}
    for pair in itertools.combinations(range(len(poses)), 2):
        geometries[pair] = pycolmap.TwoViewGeometry()
        geometries[pair].inlier_matches = every
    features = [Features(torch.from_numpy(p).float(), torch.zeros(len(p), 0), WIDTH, HEIGHT) for p in xy]
    return ViewGraph(features, dict.fromkeys(geometries, len(points)), geometries)


def test_a_model_contradicts_the_matches_of_pairs_that_stand_otherwise() -> None:
    points, poses = POINTS, POSES
    model = model_of(poses, points, np.ones((4, 80), bool))

    def share(model: Model, graph: ViewGraph) -> float:
        return contradicted_share(agreement(model, graph))

    right = verified_matches(model, poses, points)
    assert share(model, right) == 0
    assert torn_links(agreement(model, right)) == []
    # The last camera where it would be if it had seen another of four equal sides.
    last_elsewhere = elsewhere(poses, (3,))
    # Three of the six pairs are with it, and all cover much the same.
    elsewhere_seen = verified_matches(model, last_elsewhere, points)
    assert share(model, elsewhere_seen) == pytest.approx(0.5, abs=0.1)
    assert torn_links(agreement(model, elsewhere_seen)) == [(0, 3), (1, 3), (2, 3)]
    # Pairs that cover next to nothing count for nothing.
    for pair, geometry in elsewhere_seen.geometries.items():
        if 3 in pair:
            geometry.inlier_matches = geometry.inlier_matches[:3]
    assert share(model, elsewhere_seen) == 0
    # Views that the model does not place contradict nothing.
    seen = np.ones((3, 80), bool)
    assert share(model_of(poses[:3], points, seen), verified_matches(model, last_elsewhere, points)) == 0


POINTS = np.random.default_rng(7).uniform(-0.6, 0.6, (80, 3))
POSES = [looking_down(x, 15 * x) for x in (-0.8, -0.3, 0.3, 0.8)]


def right_and_wrong() -> tuple[Model, Model, ViewGraph]:
    """Four views, the same with the last one where it would be if it had seen another of four equal sides, matches."""
    seen = np.ones((4, 80), bool)
    right = model_of(POSES, POINTS, seen)
    wrong = model_of(elsewhere(POSES, (3,)), POINTS, seen)
    return right, wrong, verified_matches(right, POSES, POINTS)


def test_neighbours_whose_cameras_contradict_what_they_share_are_named() -> None:
    right, torn, graph = right_and_wrong()
    geometries = graph.geometries
    for (a, b), geometry in geometries.items():  # the nearer, the more: 80, 45 and 10
        geometry.inlier_matches = geometry.inlier_matches[: 80 - 35 * (b - a - 1)]
    graph = ViewGraph(graph.features, {}, geometries)  # counts its links
    assert torn_links(agreement(right, graph)) == []
    assert notes_on_torn_links("abcd", agreement(right, graph)) == []
    # Small look-alikes, which right models contradict, have less than half of what neighbours have.
    assert torn_links(agreement(torn, graph)) == [(2, 3), (1, 3)]
    first, _ = notes_on_torn_links("abcd", agreement(torn, graph))
    assert first.startswith("c and d show the same in 80 places")


def test_a_side_that_agrees_with_some_and_contradicts_as_many_is_outvoted() -> None:
    right, wrong, graph = right_and_wrong()
    assert outvoted_views(agreement(right, graph)) == set()
    # What agrees with nothing is wrong itself, and does not count against the others.
    assert outvoted_views(agreement(wrong, graph)) == {3}
    many = model_of(POSES * 7, POINTS, np.ones((28, 80), bool))
    assert outvoted_views(agreement(many, verified_matches(many, elsewhere(POSES * 7, (3,)), POINTS))) == set()
    # Two that hold each other, as a repeat of a wallpaper off: they agree with two of the others, and not with two.
    pairs = {(0, 1): 900, (2, 3): 800, (4, 5): 700, **dict.fromkeys(itertools.product((0, 1, 2, 3), (4, 5)), 150)}
    pairs |= dict.fromkeys(itertools.product((0, 1), (2, 3)), 150)
    agreeing = dict.fromkeys(pairs, 1.0) | dict.fromkeys(itertools.product((0, 1), (4, 5)), 0.0)
    assert open_views(range(6), agreeing, pairs) == {0, 1, 4, 5}
    assert open_views(range(6), agreeing, pairs | dict.fromkeys(itertools.product((0, 1), (4, 5)), 40)) == set()


@pytest.mark.parametrize(("strays", "doubted"), [((), []), ((5,), [5]), ((4, 5), [4, 5]), ((3, 4, 5), range(6))])
def test_few_loose_photographs_that_tear_a_model_are_doubted_alone_and_half_of_all_leave_it_open(
    strays: tuple[int, ...], doubted: Sequence[int]
) -> None:
    points, seen = np.random.default_rng(7).uniform(-0.6, 0.6, (80, 3)), np.ones((6, 80), bool)
    poses = [looking_down(x, 15 * x) for x in (-0.8, -0.5, -0.2, 0.2, 0.5, 0.8)]
    graph = verified_matches(model_of(poses, points, seen), poses, points)
    for pair, geometry in graph.geometries.items():
        if 5 in pair and pair != (4, 5):
            geometry.inlier_matches = geometry.inlier_matches[: 20 + 4 * pair[0]]
    graph = ViewGraph(graph.features, {}, graph.geometries)  # counts its links
    torn = model_of(elsewhere(poses, strays), points, seen)
    assert torn_views(agreement(torn, graph)) == list(doubted)
    notes = notes_on_torn_links("abcdef", agreement(torn, graph))
    assert bool(notes) is bool(doubted)
    named = ", ".join("abcdef"[view] for view in doubted)
    assert all((f"{named} may stand elsewhere" in note) is (len(doubted) < 6) for note in notes)


def test_a_view_that_holds_as_well_as_the_others_leaves_open_which_side_is_wrong() -> None:
    points, seen = np.random.default_rng(7).uniform(-0.6, 0.6, (80, 3)), np.ones((6, 80), bool)
    poses = [looking_down(x, 15 * x) for x in (-0.8, -0.5, -0.2, 0.2, 0.5, 0.8)]
    model = model_of(poses, points, seen)
    graph = verified_matches(model, poses, points)
    # What two photographs show the same is shifted, and both hold on all the others.
    shifted = graph.geometries[2, 5].inlier_matches
    shifted[:, 1] = np.roll(shifted[:, 1], 7)
    graph.geometries[2, 5].inlier_matches = shifted
    assert torn_links(agreement(model, graph)) == [(2, 5)]
    assert torn_views(agreement(model, graph)) == [0, 1, 2, 3, 4, 5]


def test_no_camera_is_surer_than_the_surest_of_the_others() -> None:
    assert against_others({3: 0.95, 5: 0.4, 7: 0.2}) == {3: 0.4, 5: 0.4, 7: 0.2}
    assert against_others({3: 0.95, 5: 0.4, 7: 0.97}) == {3: 0.95, 5: 0.4, 7: 0.95}


@pytest.mark.parametrize(
    ("agreeing", "believed", "expected"), [(90, 0.97, 0.9), (90, 0.5, 0.5), (10, 0.5, 0.1), (0, 0.99, 0.0)]
)
def test_a_photograph_registered_afterwards_is_no_surer_than_the_cameras_it_hangs_on(
    agreeing: int, believed: float, expected: float
) -> None:
    look = PairLook(1000, 100, agreeing, 100 - agreeing)
    assert confidence_of_registered(look, {3: 0.1, 5: believed}) == pytest.approx(expected)


def test_nothing_is_known_of_a_registered_photograph_that_must_show_little() -> None:
    assert confidence_of_registered(NO_LOOK, {3: 0.99}) is None


def test_points_are_known_without_a_view_where_two_others_see_them_from_two_places() -> None:
    points = np.random.default_rng(7).uniform(-0.6, 0.6, (80, 3))
    twice = [looking_down(x, 15 * x) for x in (-0.8, -0.79, 0.8)]  # the first two from one place
    assert points_known_without(model_of(twice, points, np.ones((3, 80), bool))) == {0: 80, 1: 80, 2: 0}
    third = [*twice, looking_down(0.1, 0.0)]
    seen = np.ones((4, 80), bool)
    seen[3, 50:] = False
    assert points_known_without(model_of(third, points, seen)) == {0: 80, 1: 80, 2: 50, 3: 50}
    assert points_known_without(model_of(twice[::2], points, seen[:2])) == {0: 0, 1: 0}  # two alone


def test_a_model_that_contradicts_much_is_solved_again_without_the_pairs_that_it_rests_on() -> None:
    right, wrong, graph = right_and_wrong()
    parts: list[ViewGraph] = []

    def again(part: ViewGraph, number: int) -> Model | None:
        parts.append(part)
        return {2: None, 4: right}.get(number, wrong)

    def never(part: ViewGraph, number: int) -> Model:
        raise AssertionError("what is right is not solved again")

    found, consistent = least_contradicted(graph, wrong, again, 0)
    assert found is right
    assert consistent.geometries.keys() == graph.geometries.keys()  # the right model contradicts none
    # Up to the first that contradicts next to nothing, and then with all that it agrees with.
    assert len(parts) == 6
    assert parts.pop().geometries.keys() == graph.geometries.keys()
    assert all(part.geometries.keys() < graph.geometries.keys() for part in parts)
    assert len({frozenset(part.geometries) for part in parts}) > 2
    # Where nothing better is found all stays, and where little is contradicted nothing is looked for.
    parts.clear()
    found, consistent = least_contradicted(graph, wrong, lambda part, number: parts.append(part), 0)
    assert (found, consistent, len(parts)) == (wrong, graph, TRIES)
    found, consistent = least_contradicted(graph, right, never, 0)
    assert (found, consistent) == (right, graph)


def test_two_photographs_alone_are_sure_only_where_their_rotation_is_precise() -> None:
    def belief(std_deg: float, alone: bool) -> float:
        features = CameraFeatures(std_deg, 400, 0.0, 0.0, 0.0, 1.5, alone)
        return _logistic(features.evidence())

    assert belief(0.7, alone=False) >= SURE
    assert belief(0.7, alone=True) < SURE
    assert belief(0.1, alone=True) >= SURE


def test_a_camera_that_does_not_stay_where_it_was_is_not_sure() -> None:
    seen = np.ones((4, 80), bool)
    model = model_of(POSES, POINTS, seen, noise_px=0.1)
    graph = verified_matches(model, POSES, POINTS)
    found = SeparatedModel(graph, graph, model)
    steady = confidence_of_cameras(found, [], {}, lambda part, number: model)
    assert min(steady.values()) > 0.8
    away = model_of([*POSES[:3], turned(POSES[3], 3 * UNSTEADY_DEG)], POINTS, seen)
    for solutions, doubted in ((1, False), (2, True), (4, True)):
        beliefs = confidence_of_cameras(found, [], {}, lambda _, number, n=solutions: away if number < n else model)
        assert min(beliefs[view] for view in range(3)) > 0.8
        assert (beliefs[3] <= OPEN) == doubted


def test_no_camera_is_sure_where_a_side_of_the_thing_was_cut_off() -> None:
    model = model_of(POSES, POINTS, np.ones((4, 80), bool), noise_px=0.1)
    graph = verified_matches(model, POSES, POINTS)
    most = max(graph.most_inliers().values())
    cut = {(view, other): most for view in (0, 3) for other in (4, 5)}
    geometries = graph.geometries | graph_with(cut, 6).geometries
    verified = ViewGraph([*graph.features, *graph.features[:2]], graph.matches, geometries)
    found = SeparatedModel(verified, graph, model, misleading=dict.fromkeys(cut, Contradiction(NO_LOOK)))
    beliefs = confidence_of_cameras(found, [], {}, lambda part, number: model)
    assert max(beliefs.values()) <= OPEN


def test_what_each_of_two_views_denies_elsewhere_is_not_denied_by_both() -> None:
    there = np.stack(np.meshgrid(np.arange(6), np.arange(9), indexing="ij"), axis=-1)
    there[:, 8] = -1
    here, back = np.zeros((6, 9), np.float32), np.zeros((6, 9), np.float32)
    here[1, 1], here[4, 4], here[2, 8] = 0.5, 0.3, 0.7
    back[4, 5], back[1, 4], back[2, 8] = 0.4, 0.6, 0.7
    nowhere = np.zeros((6, 9), bool)
    mutual = SurfaceComparison(here, nowhere, there).mutual(SurfaceComparison(back, nowhere, there))
    # A cell beside it is the same place; what the other does not see it cannot deny.
    assert mutual.max() == mutual[4, 4] == np.float16(0.3)
    assert (mutual > 0).sum() == 1


def test_the_weakest_link_to_the_larger_group_counts() -> None:
    weights = {(0, 1): 90, (1, 2): 80, (3, 4): 70, (2, 3): 12, (0, 3): 5}
    assert bottlenecks([0, 1, 2, 3, 4, 5], weights) == {0: 90, 1: 90, 2: 80, 3: 12, 4: 12, 5: 0}


def test_rotation_precision_is_the_spread_of_bundle_adjustments_of_noisy_observations() -> None:
    points = np.random.default_rng(7).uniform(-0.6, 0.6, (60, 3))
    poses = [looking_down(x, 15 * x) for x in (-0.6, 0.0, 0.7)]
    options = pycolmap.BundleAdjustmentOptions()
    options.refine_focal_length, options.refine_principal_point, options.refine_extra_params = True, False, False
    options.print_summary = False
    turned, stated = [], []
    for seed in range(60):
        model = model_of(poses, points, np.ones((3, 60), bool), noise_px=1.0, seed=seed)
        config = pycolmap.BundleAdjustmentConfig()
        for view in range(3):
            config.add_image(view + 1)
        config.fix_gauge(pycolmap.BundleAdjustmentGauge.TWO_CAMS_FROM_WORLD)
        pycolmap.create_default_bundle_adjuster(options, config, model.reconstruction).solve()
        model.reconstruction.update_point_3d_errors()
        found = [model.reconstruction.image(view + 1).cam_from_world().matrix()[:, :3] for view in range(3)]
        for a, b in ((0, 1), (0, 2), (1, 2)):
            difference = found[b] @ found[a].T @ (poses[b][:, :3] @ poses[a][:, :3].T).T
            turned.append(np.degrees(np.linalg.norm(cv2.Rodrigues(difference)[0])))
        stated.append(list(rotation_std_deg(model).values()))
    # 60 draws of three angles know their root mean square to about 8 %; the noise that the model states is what the
    # fit has left of it, and the pairs are not alike.
    assert float(np.mean(stated)) == pytest.approx(float(np.sqrt(np.mean(np.square(turned)))), rel=0.35)


def around(radius: float, turns_deg: np.ndarray) -> list[np.ndarray]:
    """cam_from_world [3, 4] of cameras on an arc that look at the origin."""
    poses = []
    for angle in np.radians(turns_deg):
        rotation = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
        poses.append(np.column_stack([rotation, [0.0, 0.0, radius]]))
    return poses


def test_a_short_arc_leaves_the_focal_length_open_and_a_long_one_does_not() -> None:
    points = np.random.default_rng(3).uniform(-1.0, 1.0, (150, 3))
    seen = np.ones((5, 150), bool)
    short, long = (model_of(around(5.0, step * np.arange(5)), points, seen, noise_px=2.0) for step in (8, 25))
    bends = bend_deg(short)
    assert min(bends[0], bends[4]) > 1.3 * bends[2]  # the ends of an arc bend most
    assert min(bends.values()) > WITHIN_DEG > 2 * max(bend_deg(long).values())
    (note,) = notes_on_focal_length("abcde", bends)
    assert "leave their focal length open" in note
    assert notes_on_focal_length("abcde", bend_deg(long)) == []
    # Where EXIF knows it, only what that leaves open counts.
    for camera in short.reconstruction.cameras.values():
        camera.has_prior_focal_length = True
    assert 0 < max(bend_deg(short).values()) < 0.5 * max(bends.values())
    many = model_of([looking_down(0, 0)] * (MOST_VIEWS + 1), plane_points(20), np.ones((MOST_VIEWS + 1, 20), bool))
    assert not bend_deg(many)


def correspondences(moves_px: list[np.ndarray]) -> Correspondences:
    """Views whose keypoints, from left to right, move by these vectors [N, 2] from one to the next; all matched."""
    start = np.random.default_rng(8).uniform(50, 200, moves_px[0].shape)
    xy = [start[np.argsort(start[:, 0])]]
    for move in moves_px:
        xy.append(xy[-1] + move)
    images = [
        Image(Features(torch.from_numpy(p).float(), torch.zeros(len(p), 0), 300, 300), np.zeros((len(p), 3)), 1.0)
        for p in xy
    ]
    every = np.stack([np.arange(len(xy[0]))] * 2, axis=1)
    return Correspondences(images, dict.fromkeys(itertools.combinations(range(len(xy)), 2), every))


def test_a_still_background_behind_what_turns_is_left_out() -> None:
    move = np.zeros((100, 2))
    move[60:, 0] = np.linspace(8, 20, 40)
    found = without_still_background(correspondences([move, move]))
    assert found is not None
    assert all((matches[:, 0] >= 60).all() and len(matches) == 40 for matches in found.matches.values())


def test_blurred_spots_of_a_still_background_are_left_out_too() -> None:
    moves = np.zeros((3, 100, 2))
    moves[:, 60:, 0] = np.linspace(8, 20, 40)
    moves[:, 30:60, 0] = np.array([3.0, -2.5, 3.0])[:, None]  # found again less well
    found = without_still_background(correspondences([*moves]))
    assert found is not None
    assert all(matches[:, 0].tolist() == [*range(60, 100)] for matches in found.matches.values())


def test_what_slides_along_an_outline_and_pairs_of_nothing_else_are_left_out() -> None:
    # Views 0 and 2 show a body from two sides between which view 1 is: nothing but its outline, to the right, matches.
    rng = np.random.default_rng(3)
    body = np.column_stack([rng.uniform(50, 150, 60), rng.uniform(50, 200, 60)])
    outline = np.column_stack([np.full(60, 250.0), np.linspace(50, 200, 60)])
    moves = np.concatenate([np.tile([40.0, 0.0], (60, 1)), rng.normal(0, 1.0, (60, 2))])
    sliding = np.arange(60) % 6 == 0
    views = []
    for k in range(6):
        xy = np.concatenate([body, outline]) + np.where(np.arange(120)[:, None] < 60, k % 3, 0) * moves
        xy[60:][sliding, 1] += 12.0 * k
        views.append(xy)
    images = [
        Image(Features(torch.from_numpy(xy).float(), torch.zeros(120, 0), 300, 300), np.zeros((120, 3)), 1.0)
        for xy in views
    ]
    whole, rim = (np.stack([np.arange(start, 120)] * 2, axis=1) for start in (0, 60))
    neighbours = {(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)}
    pairs = {pair: whole if pair in neighbours else rim for pair in itertools.combinations(range(6), 2)}
    found = without_still_outline(Correspondences(images, pairs))
    assert found is not None
    for pair, matches in found.matches.items():
        left = matches[matches[:, 0] >= 60]
        assert len(left) <= 4, (pair, left)  # of the ten that slide, those that leave the places where others stand
        assert (matches[:, 0] < 60).sum() == (60 if pair in neighbours else 0)


def test_an_outline_that_stands_while_the_body_turns_is_left_out() -> None:
    move = np.zeros((60, 2))
    move[:20] = np.random.default_rng(3).normal(0, 0.7, (20, 2))
    move[20:, 0] = np.linspace(30, 60, 40)
    found = without_still_outline(correspondences([move, move]))
    assert found is not None
    assert all((matches[:, 0] >= 20).all() and len(matches) == 40 for matches in found.matches.values())


def test_a_hand_held_camera_has_no_still_outline() -> None:
    rng = np.random.default_rng(9)
    walking = [rng.normal((12, 3), 8, (200, 2)) for _ in range(2)]
    assert without_still_outline(correspondences(walking)) is None
    assert without_still_outline(correspondences([np.zeros((100, 2))] * 2)) is None


def test_a_hand_held_camera_has_no_still_background_and_a_standing_one_no_turning_object() -> None:
    rng = np.random.default_rng(9)
    walking = [rng.normal((12, 3), 1, (100, 2)) for _ in range(2)]
    assert without_still_background(correspondences(walking)) is None
    assert without_still_background(correspondences([np.zeros((100, 2))] * 2)) is None


def test_sentences_name_the_photographs_and_what_was_found() -> None:
    unsure, unknown = notes_on_confidence(["a.jpg", "b.jpg", "c.jpg"], [0.9, 0.2, None])
    assert "1 of 3" in unsure
    assert "b.jpg (20%)" in unsure
    assert "a.jpg (89%)" in notes_on_confidence(["a.jpg"], [0.8999])[0]  # and not 90 %, which is sure
    assert "Nothing tells whether the cameras of 1 of 3 photographs are right: c.jpg." in unknown
    many = notes_on_confidence([f"{n:02d}.jpg" for n in range(40)], [None] * 40)[0]
    assert "00.jpg, 01.jpg" in many
    assert f"and {40 - MAX_NAMED} more" in many
    assert notes_on_confidence(["a.jpg"], [0.9]) == []
    assert refused_reasons(["a.jpg", "b.jpg"], {0: 0.4, 1: None}, 0.5) == {
        0: "a.jpg was placed with a confidence of 40%; 50% was asked for."
    }
    look = PairLook(50, 2, 3, 40)
    reasons = look_alike_reasons(["a", "b", "c"], [0], [1, 2], {(0, 1): Contradiction(look)})
    assert list(reasons) == [1]
    assert "40 of 50" in reasons[1]
    assert "a mark" in look_alike_reasons(["a", "b"], [0], [1], {(0, 1): Contradiction(look, 0.6)})[1]
    assert NO_LOOK + NO_LOOK == NO_LOOK


def test_patterns_are_told_where_most_photographs_show_one() -> None:
    plain = correspondences([np.zeros((3, 2))] * 2).images
    assert notes_on_patterns(plain) == []
    tiled = [replace(image, pattern=True) for image in plain]
    assert notes_on_patterns([tiled[0], *plain[1:]]) == []
    (note,) = notes_on_patterns([*tiled[:2], plain[2]])
    assert "2 of 3 photographs" in note


def test_tiles_are_a_pattern_and_what_is_scattered_is_none() -> None:
    rng = np.random.default_rng(2)
    tile = torch.nn.functional.normalize(torch.randn(100, 64, generator=GENERATOR), dim=1)
    xy = rng.uniform((0, 0), (140, 200), (100, 2))
    beside = torch.from_numpy(np.concatenate([xy, xy + np.array([150, 10])])).float()
    assert shows_pattern(Features(beside, tile.repeat(2, 1), 320, 240))
    anywhere = torch.from_numpy(rng.uniform(0, 300, (200, 2))).float()
    assert not shows_pattern(Features(anywhere, tile.repeat(2, 1), 320, 300))
    assert not shows_pattern(Features(anywhere, torch.zeros(200, 0), 320, 300))
