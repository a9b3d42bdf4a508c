"""Cameras from matches: known views of a synthetic cloud are recovered; what cannot be placed is named."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from fewview.recon.poses import PosesConfig, correspondences, estimate_poses, pair_errors, pose_errors
from fewview.recon.poses.best_model import solve
from fewview.recon.poses.correspondences import Correspondences, Image
from fewview.recon.poses.features import Features, mutual_nearest
from fewview.recon.poses.focal_prior import group_lenses
from fewview.recon.poses.matchers import is_available, load_matcher
from fewview.recon.poses.pair_selection import choose_pairs, pairs_of_cameras
from fewview.recon.poses.placed_capture import placed_capture
from fewview.recon.poses.triangulate import _points, triangulate
from fewview.recon.poses.unplaced import reasons_for_unplaced
from fewview.recon.poses.verification import ViewGraph, verify
from fewview.recon.poses.world_frame import upright_from_world
from fewview.scene import BadInputError, Cameras, Capture, FewviewError, Frame
from fewview.scene.readers import read_capture
from support.posed_photos import FOCAL_PX, HEIGHT, WIDTH, PosedPhotos, arc, posed_photos

GRAY = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)


def capture_of(n: int, focal_px: float | None = None) -> Capture:
    frames = tuple(Frame(f"view_{i}.jpg", WIDTH, HEIGHT, lambda: GRAY, focal_px) for i in range(n))
    return Capture(frames, "a test")


def graph_of(photos: PosedPhotos, capture: Capture) -> tuple[ViewGraph, object]:
    lenses = group_lenses(list(capture.frames), [(WIDTH, HEIGHT)] * len(capture))
    cameras = lenses.of_views(lenses.cameras("SIMPLE_PINHOLE", 1.0))
    return verify(photos.features, photos.matches, cameras, seed=0), lenses


def gray_colors(photos: PosedPhotos) -> list[np.ndarray]:
    return [np.full((len(f), 3), 128, np.uint8) for f in photos.features]


@pytest.mark.parametrize(("n_views", "tolerance_deg"), [(2, 1.5), (3, 0.6), (6, 0.25), (12, 0.15)])
def test_known_cameras_are_recovered(n_views: int, tolerance_deg: float) -> None:
    # Half a pixel of noise at 520 px of focal length is 0.06 degrees for one match; hundreds of matches average it,
    # but an unknown focal length couples with the turn between few views, hence the larger tolerances there.
    photos = posed_photos(arc(n_views, seed=1, span_deg=15.0 * (n_views - 1) ** 0.6), seed=2)
    capture = capture_of(n_views, focal_px=FOCAL_PX if n_views == 2 else None)
    graph, lenses = graph_of(photos, capture)
    model = solve(graph, lenses, PosesConfig(distortion="off"))
    assert model is not None
    assert model.views == list(range(n_views))
    placed = placed_capture(capture, model, lenses, {}, gray_colors(photos), {})
    errors = pair_errors(placed.cameras.cam_from_world, photos.cam_from_world)
    assert float(errors.rotation_deg.max()) < tolerance_deg
    # The largest error of a focal length that two or three noisy views allow is some per cent.
    assert float(placed.cameras.K[0, 0, 0]) == pytest.approx(FOCAL_PX, rel=0.05)


def test_the_same_seed_gives_the_same_cameras() -> None:
    photos = posed_photos(arc(5, seed=4), seed=5)
    capture = capture_of(5)
    results = []
    for _ in range(2):
        graph, lenses = graph_of(photos, capture)
        model = solve(graph, lenses, PosesConfig(seed=3))
        results.append(placed_capture(capture, model, lenses, {}, gray_colors(photos), {}))
    assert torch.equal(results[0].cameras.cam_from_world, results[1].cameras.cam_from_world)
    assert torch.equal(results[0].points.xyz, results[1].points.xyz)


def test_of_two_scenes_the_larger_is_placed_and_the_other_is_named() -> None:
    photos = posed_photos(arc(7, seed=6), seed=7, scene=torch.tensor([0, 0, 1, 0, 1, 0, 1]))
    capture = capture_of(7)
    graph, lenses = graph_of(photos, capture)
    model = solve(graph, lenses, PosesConfig())
    assert model is not None
    assert model.views == [0, 1, 3, 5]
    reasons = reasons_for_unplaced(capture, graph, model.views, np.ones(7))
    assert sorted(reasons) == [2, 4, 6]
    assert all(
        "not joined to the others" in reason and f"view_{view}.jpg" in reason for view, reason in reasons.items()
    )


def test_reasons_tell_a_blank_photograph_from_a_stranger_and_a_blurred_one() -> None:
    photos = posed_photos(arc(5, seed=8), seed=9, scene=torch.tensor([0, 0, 0, 1, 2]))
    photos.features[4] = Features(torch.rand(20, 2) * 100, torch.zeros(20, 8), WIDTH, HEIGHT)
    capture = capture_of(5)
    graph, _ = graph_of(photos, capture)
    reasons = reasons_for_unplaced(capture, graph, [0, 1, 2], np.array([1, 1, 1, 0.1, 1]))
    assert "shares too little" in reasons[3]
    assert "less sharp" in reasons[3]
    assert "too little texture" in reasons[4]
    assert "20 features" in reasons[4]
    frames = list(capture.frames)
    frames[4] = replace(frames[4], load_mask=lambda: np.zeros((HEIGHT, WIDTH), bool))
    masked = reasons_for_unplaced(replace(capture, frames=tuple(frames)), graph, [0, 1, 2], np.ones(5))
    assert "where its mask is white" in masked[4]


def test_points_are_seen_where_they_project_and_the_world_is_upright() -> None:
    photos = posed_photos(arc(6, seed=10), seed=11)
    capture = capture_of(6)
    graph, lenses = graph_of(photos, capture)
    model = solve(graph, lenses, PosesConfig(distortion="off"))
    placed = placed_capture(capture, model, lenses, {}, gray_colors(photos), {})
    cameras, points = placed.cameras, placed.points
    in_cam = cameras.cam_from_world[points.seen_view, :3, :3] @ points.xyz[points.seen_point, :, None]
    in_cam = in_cam.squeeze(-1) + cameras.cam_from_world[points.seen_view, :3, 3]
    assert bool((in_cam[:, 2] > 0).all())
    assert float(in_cam.norm(dim=1).median()) == pytest.approx(4.0, rel=0.01)  # the stated scale; mean of float32
    assert float(points.xyz.median(dim=0).values.abs().max()) < 1e-5  # float32
    # The cameras of `arc` are level with z up; aiming noise tilts the plane of their x axes by a few degrees.
    true_up = torch.tensor([0.0, 0, 1], dtype=torch.float64)
    ups_true = photos.cam_from_world[:, :3, :3] @ true_up
    ups_found = cameras.cam_from_world[:, :3, :3].double() @ true_up
    angle = torch.rad2deg(torch.arccos((ups_true * ups_found).sum(1).clamp(-1, 1)))
    assert float(angle.max()) < 8
    # The first camera looks along +y.
    forward = cameras.world_from_cam[0, :3, 2]
    assert abs(float(forward[0])) < 1e-5
    assert float(forward[1]) > 0
    errors = pose_errors(cameras.cam_from_world, photos.cam_from_world)
    assert errors.ate < 0.01


def test_level_cameras_that_look_down_still_give_the_true_up() -> None:
    cam_from_world = arc(8, seed=12, span_deg=300)
    xyz = torch.randn(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    point, view = torch.arange(50).repeat(8), torch.arange(8).repeat_interleave(50)
    frame = upright_from_world(cam_from_world, xyz, point, view)
    up = frame.rotation @ torch.tensor([0.0, 0, 1], dtype=torch.float64)
    # `looking_at` cameras have exactly level x axes, and 300 degrees of them span the ground plane.
    assert float(torch.rad2deg(torch.arccos(up[2].clamp(-1, 1)))) < 0.5
    assert float(torch.det(frame.rotation)) == pytest.approx(1)


def test_one_photograph_or_none_is_bad_input() -> None:
    for n in (0, 1):
        with pytest.raises(BadInputError, match="at least two"):
            estimate_poses(capture_of(n))


def test_photographs_without_anything_in_common_fail_with_advice() -> None:
    with pytest.raises(FewviewError, match="overlap by half") as caught:
        estimate_poses(capture_of(3), PosesConfig(features="sift"))
    assert "view_0.jpg has too little texture" in str(caught.value)


def test_bad_settings_are_refused_with_their_name() -> None:
    with pytest.raises(BadInputError, match="neighbours"):
        PosesConfig(neighbours=0)


def test_masked_pixels_give_no_features() -> None:
    features = Features(torch.tensor([[10.5, 10.5], [30.5, 10.5]]), torch.eye(2), 40, 20)
    mask = np.zeros((20, 40), bool)
    mask[:, 20:] = True
    assert correspondences._inside_mask(features, mask).tolist() == [False, True]


def test_cameras_are_shared_by_size_and_exif_focal_length() -> None:
    def frame(width: int, height: int, focal_px: float | None) -> Frame:
        return Frame("x.jpg", width, height, lambda: GRAY, focal_px)

    frames = [frame(4000, 3000, 3000), frame(4000, 3000, 3020), frame(4000, 3000, 6000), frame(3000, 4000, None)]
    lenses = group_lenses(frames, [(400, 300), (400, 300), (400, 300), (300, 400)])
    assert lenses.camera_of_view == [1, 1, 2, 3]
    assert lenses.focal_px == pytest.approx([300, 600, None])
    assert not lenses.is_known


def test_the_number_of_pairs_grows_linearly() -> None:
    g = torch.Generator().manual_seed(0)

    def features(n: int) -> list[Features]:
        descriptors = torch.nn.functional.normalize(torch.randn(n, 40, 16, generator=g), dim=-1)
        return [Features(torch.zeros(40, 2), d, 64, 64) for d in descriptors]

    assert len(choose_pairs(features(12), all_pairs_up_to=24, neighbours=8)) == 66
    pairs = choose_pairs(features(60), all_pairs_up_to=24, neighbours=8)
    assert len(pairs) <= 60 * (8 + 3)
    assert {(i, i + 1) for i in range(59)} <= set(pairs)


def correspondences_of(photos: PosedPhotos) -> Correspondences:
    images = [Image(f, c, 1.0) for f, c in zip(photos.features, gray_colors(photos), strict=True)]
    return Correspondences(images, photos.matches)


def test_points_are_triangulated_in_the_world_of_given_cameras() -> None:
    # Twice the working size, off-centre, oblong pixels: what a pinhole with its own K and size may be.
    size, center = torch.tensor([2 * WIDTH, 2 * HEIGHT]), torch.tensor([WIDTH + 20.0, HEIGHT - 10.0])
    photos = posed_photos(arc(6, seed=13), seed=14)
    stretch = torch.tensor([1.0, 1.02])
    for features in photos.features:
        features.xy_px.sub_(torch.tensor([WIDTH / 2, HEIGHT / 2])).mul_(stretch).add_(center / 2)
    K = torch.eye(3).repeat(6, 1, 1)
    K[:, 0, 0], K[:, 1, 1], K[:, :2, 2] = 2 * FOCAL_PX, 2 * FOCAL_PX * float(stretch[1]), center
    n_pixels = size.repeat(6, 1)
    cameras = Cameras(photos.cam_from_world.float(), K, n_pixels[:, 0], n_pixels[:, 1])
    found = _points(cameras, correspondences_of(photos), seed=0)
    truth = torch.from_numpy(np.random.default_rng(14).uniform(-1, 1, (600, 3)) * [1.2, 1.2, 0.9])
    distance = torch.cdist(found.xyz.double(), truth).min(dim=1).values
    assert len(found) > 550
    # Half a pixel at 520 px and a distance of 4 is 0.004 across the ray, and several times that along it.
    assert float(distance.median()) < 0.01
    # A tenth of the matches of each pair are wrong, and of those one in a hundred lies on its epipolar line by chance.
    assert float((distance > 0.1).double().mean()) < 0.05
    assert torch.bincount(found.seen_point, minlength=len(found)).min() >= 2
    assert bool((torch.bincount(found.seen_view, minlength=6) > 300).all())


def test_wrong_cameras_or_no_texture_give_few_points_rather_than_an_error() -> None:
    photos = posed_photos(arc(4, seed=15), seed=16)
    rolled = photos.cam_from_world.float()
    rolled[::2, :3] = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]) @ rolled[::2, :3]
    wrong = Cameras.pinhole(rolled, FOCAL_PX, WIDTH, HEIGHT)
    del photos.matches[0, 2], photos.matches[1, 3]  # those that are rolled alike fit each other
    # One match in eighty lies within 3 px of its line across 480 px by chance: 30 of 4 x 600; thrice that is room.
    assert len(_points(wrong, correspondences_of(photos), seed=0)) < 90
    cameras = Cameras.pinhole(photos.cam_from_world.float(), FOCAL_PX, WIDTH, HEIGHT)
    for n in (1, 4):
        blank = triangulate(capture_of(n).with_cameras(cameras[:n], None), PosesConfig(features="sift"))
        assert len(blank) == 0
        assert blank.seen_point is not None
    with pytest.raises(ValueError, match="cameras"):
        triangulate(capture_of(4))


def test_known_cameras_are_paired_with_near_ones_that_look_the_same_way() -> None:
    ring = Cameras.pinhole(arc(36, seed=17, span_deg=350).float(), FOCAL_PX, WIDTH, HEIGHT)
    pairs = pairs_of_cameras(ring, all_pairs_up_to=24, neighbours=4)
    assert len(pairs) <= 36 * 4
    assert {v for pair in pairs for v in pair} == set(range(36))
    assert max(min(j - i, 36 - (j - i)) for i, j in pairs) <= 8
    every = pairs_of_cameras(ring, all_pairs_up_to=36, neighbours=4)
    # 75 degrees are seven and a half steps of the ring; heights and aiming noise move that by a step at most.
    assert 6 <= max(min(j - i, 36 - (j - i)) for i, j in every) <= 9


def test_mutual_nearest_neighbours_of_few_or_no_features() -> None:
    none, one = torch.zeros(0, 4), torch.eye(4)[:1]
    assert mutual_nearest(none, torch.eye(4), 0.5).shape == (0, 2)
    assert mutual_nearest(one, torch.eye(4), 0.5).shape == (0, 2)
    assert mutual_nearest(torch.eye(4), torch.eye(4)[[2, 0, 1, 3]], 0.5).tolist() == [[0, 1], [1, 2], [2, 0], [3, 3]]


@pytest.mark.parametrize(
    "kind", ["aliked", "sift"]
)  # XFeat takes whole pixels, on one side of an edge rather than both
def test_keypoints_count_from_the_corner_of_the_first_pixel(kind: str) -> None:
    """In a mirrored image what was at x is at W - x only with that convention, else at W - 1 - x or so."""
    if not is_available(kind):
        pytest.skip(f"the package with the weights of {kind} is not installed")
    rng = np.random.default_rng(0)
    image = np.full((160, 192, 3), 90, np.uint8)
    for _ in range(60):  # rectangles have corners that every detector finds
        x, y, w, h = rng.integers(5, 160), rng.integers(5, 130), rng.integers(6, 25), rng.integers(6, 25)
        image[y : y + h, x : x + w] = rng.integers(0, 255, 3)
    image = cv2.GaussianBlur(image, (0, 0), 0.6)
    matcher = load_matcher(kind, 256)
    here = matcher.extract(image).xy_px
    there = matcher.extract(np.ascontiguousarray(image[:, ::-1])).xy_px
    back = torch.stack([192 - there[:, 0], there[:, 1]], dim=1)
    distance, nearest = torch.cdist(here, back).min(dim=1)
    near = distance < 2.5
    assert int(near.sum()) > 10
    # The wrong convention moves x by one whole pixel; learned detectors prefer one side of an edge by a tenth or two.
    assert abs(float((here - back[nearest])[near, 0].mean())) < 0.3
    assert abs(float((here - back[nearest])[near, 1].mean())) < 0.3


def still_photographs(folder):
    """Three photographs of one textured wall from the same place, with noise of their own."""
    rng = np.random.default_rng(0)
    wall = cv2.resize(rng.integers(0, 255, (60, 80, 3), dtype=np.uint8), (640, 480), interpolation=cv2.INTER_CUBIC)
    for i in range(3):
        noisy = np.clip(wall + rng.normal(0, 3, wall.shape), 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / f"{i}.png"), noisy)
    return folder


def test_a_camera_that_stood_still_is_told_at_once(tmp_path):
    with pytest.raises(FewviewError, match="taken from one place"):
        estimate_poses(read_capture(still_photographs(tmp_path)), PosesConfig(features="sift"))


def test_a_focal_length_that_is_known_exactly_stays() -> None:
    photos = posed_photos(arc(5, seed=12), seed=13)
    capture = capture_of(5, focal_px=FOCAL_PX * 1.03)  # wrong on purpose: refinement would leave it
    graph, lenses = graph_of(photos, capture)
    held = solve(graph, lenses, PosesConfig(hold_focal=True))
    assert held is not None
    placed = placed_capture(capture, held, lenses, {}, gray_colors(photos), {})
    assert float(placed.cameras.K[0, 0, 0]) == pytest.approx(FOCAL_PX * 1.03, rel=1e-6)  # float32
