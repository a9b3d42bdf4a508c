"""Global alignment of pairwise pointmaps: what must hold whatever the scene."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from fewview.recon.poses.pointmaps import global_alignment
from fewview.recon.poses.pointmaps.alignment_variables import Variables
from fewview.recon.poses.pointmaps.global_alignment import Aligned, AlignmentConfig, align_pairs
from fewview.recon.poses.pointmaps.pair_prediction import Edge, PairPrediction, all_ordered_pairs
from fewview.recon.poses.pointmaps.pointmap_focal import focal_of_pointmap
from fewview.recon.poses.pointmaps.stitching import components
from fewview.recon.poses.pose_errors import pose_errors
from fewview.recon.poses.strongest_tree import strongest_tree
from fewview.scene.cameras import Cameras
from fewview.scene.errors import BadInputError, FewviewError
from support.pointmaps import FOCAL_PX, PosedViews, emptied, pair_predictions, posed_views
from support.threads import one_torch_thread as one_torch_thread

pytestmark = pytest.mark.usefixtures("one_torch_thread")

PAIRS_APART = 0.1  # degrees, and
FOCAL_APART = 0.005  # relative: the accuracy that noise-free pointmaps must give


def rotations_off_deg(aligned: Aligned, views: PosedViews) -> float:
    errors = pose_errors(aligned.stereo.cameras.cam_from_world, views.cam_from_world[aligned.views])
    return float(errors.pairs.rotation_deg.max())


def directions_off_deg(aligned: Aligned, views: PosedViews) -> float:
    errors = pose_errors(aligned.stereo.cameras.cam_from_world, views.cam_from_world[aligned.views])
    return float(errors.pairs.translation_deg.max())


def mean_edge_scale(aligned: Aligned) -> float:
    return float(torch.stack([s.scale for s in aligned.world_from_edge.values()]).log().mean().exp())


@pytest.mark.parametrize("n", [2, 3, 5])
@pytest.mark.parametrize("same_size", [True, False])
@pytest.mark.parametrize("averaging", [True, False])
def test_noise_free_pointmaps_give_the_cameras_back(n: int, same_size: bool, averaging: bool) -> None:
    views = posed_views(n, seed=n, same_size=same_size)
    aligned = align_pairs(pair_predictions(views), AlignmentConfig(focal_averaging=averaging))
    assert aligned.views == list(range(n))
    assert aligned.note() is None
    assert rotations_off_deg(aligned, views) < PAIRS_APART
    assert directions_off_deg(aligned, views) < PAIRS_APART
    focal = aligned.stereo.cameras.K[:, 0, 0]
    assert float((focal / FOCAL_PX - 1).abs().max()) < FOCAL_APART
    assert mean_edge_scale(aligned) == pytest.approx(0.5, rel=1e-5)  # float32


# With noise by powers of two: float32 then rounds alike, and Adam makes no two ways out of one.
@pytest.mark.parametrize(("noise", "factors"), [(0.0, (7.0, 0.2, 30.0)), (0.03, (8.0, 0.25, 32.0))])
def test_the_scale_of_a_pair_does_not_matter(noise: float, factors: tuple[float, ...]) -> None:
    views = posed_views(3)
    edges = all_ordered_pairs(3)
    plain = align_pairs(pair_predictions(views, noise=noise))
    scales = {edges[k]: f for k, f in zip((0, 3, 4), factors, strict=True)}
    scaled = align_pairs(pair_predictions(views, noise=noise, scales=scales))
    errors = pose_errors(scaled.stereo.cameras.cam_from_world, plain.stereo.cameras.cam_from_world)
    assert float(errors.pairs.rotation_deg.max()) < torch.rad2deg(torch.tensor(1e-3))
    assert errors.ate < 1e-3
    assert mean_edge_scale(scaled) == pytest.approx(0.5, rel=1e-5)


def test_averaging_gives_exactly_one_focal_length_and_none_gives_one_for_each_view() -> None:
    views = posed_views(4, focal_px=(55.0, 60.0, 62.0, 70.0))
    pairs = pair_predictions(views, noise=0.01)
    shared = align_pairs(pairs).stereo.cameras.K
    assert len(torch.cat([shared[:, 0, 0], shared[:, 1, 1]]).unique()) == 1
    own = align_pairs(pairs, AlignmentConfig(focal_averaging=False)).stereo.cameras.K
    assert len(own[:, 0, 0].unique()) == 4
    torch.testing.assert_close(own[:, 0, 0], torch.tensor(views.focal_px), rtol=0.02, atol=0)  # 1 % noise


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_noise_averages_out(seed: int) -> None:
    """3 % noise at each of 1500 pixels turns cameras by about half a degree, where the optimisation ends."""
    views = posed_views(4, seed)
    pairs = pair_predictions(views, seed, noise=0.03)
    stitched, aligned = align_pairs(pairs, AlignmentConfig(iterations=0)), align_pairs(pairs)
    assert rotations_off_deg(aligned, views) < min(1.0, rotations_off_deg(stitched, views) / 3)
    assert float(aligned.loss[-1]) < 0.9 * float(aligned.loss[0])


@pytest.mark.parametrize("n", [2, 3, 5])
def test_the_optimisation_finds_back_from_a_disturbed_start(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    start = global_alignment._start

    def disturbed(*arguments: Any) -> Variables:
        variables = start(*arguments)
        generator = torch.Generator().manual_seed(n)
        for name in ("pose_quats", "pose_logs", "log_depth", "edge_quats", "edge_log_scales"):
            x = getattr(variables, name)
            x.add_(0.03 * torch.randn(x.shape, generator=generator))
        return variables

    monkeypatch.setattr(global_alignment, "_start", disturbed)
    views = posed_views(n, seed=n)
    pairs = pair_predictions(views)
    assert rotations_off_deg(align_pairs(pairs, AlignmentConfig(iterations=0)), views) > 3
    assert rotations_off_deg(align_pairs(pairs), views) < PAIRS_APART


def test_stitched_pointmaps_are_the_start_of_the_optimisation() -> None:
    pairs = pair_predictions(posed_views(3), noise=0.02)
    stitched, aligned = align_pairs(pairs, AlignmentConfig(iterations=0)), align_pairs(pairs)
    assert len(stitched.loss) == 0
    assert len(aligned.loss) == 300
    assert mean_edge_scale(stitched) == pytest.approx(0.5, rel=1e-5)


@pytest.mark.parametrize("highest", [8.0, 2.0])
def test_views_that_lead_no_tree_edge_get_their_cameras_too(highest: float) -> None:
    """By perspective-n-point where enough pixels have a confidence above 3, else from a pair that they lead."""
    views = posed_views(3)
    pairs = {
        edge: replace(p, confidence_i=p.confidence_i.clamp_max(highest), confidence_j=p.confidence_j.clamp_max(highest))
        for edge, p in pair_predictions(views).items()
    }
    stitched = align_pairs(pairs, AlignmentConfig(iterations=0))
    assert rotations_off_deg(stitched, views) < 1e-3  # float32 points
    assert directions_off_deg(stitched, views) < 1e-3


def without(pairs: dict[Edge, PairPrediction], *gone: int) -> dict[Edge, PairPrediction]:
    return {e: emptied(p) if len(set(e) & set(gone)) else p for e, p in pairs.items()}


def test_views_that_share_nothing_are_named_and_the_rest_is_aligned() -> None:
    views = posed_views(5)
    aligned = align_pairs(without(pair_predictions(views), 1))
    assert aligned.views == [0, 2, 3, 4]
    assert aligned.unaligned == [1]
    assert str(aligned.note()).startswith("View 1 shares nothing")
    assert str(aligned.note(["a", "garden.jpg"])).startswith("View garden.jpg shares nothing")
    assert len(aligned.stereo) == 4
    assert set(aligned.world_from_edge) == {e for e in all_ordered_pairs(5) if 1 not in e}
    assert rotations_off_deg(aligned, views) < PAIRS_APART
    assert str(align_pairs(without(pair_predictions(views), 0, 3)).note()).startswith("Views 0, 3 share nothing")


def test_one_empty_pair_leaves_no_view_out() -> None:
    views = posed_views(3)
    pairs = pair_predictions(views)
    pairs[0, 1] = emptied(pairs[0, 1])
    aligned = align_pairs(pairs)
    assert aligned.views == [0, 1, 2]
    assert (0, 1) not in aligned.world_from_edge
    assert rotations_off_deg(aligned, views) < PAIRS_APART


def test_nothing_shared_at_all_is_an_explained_failure() -> None:
    pairs = {e: emptied(p) for e, p in pair_predictions(posed_views(3)).items()}
    with pytest.raises(FewviewError, match="None of the 6 pairs shows the same thing"):
        align_pairs(pairs)


def test_known_focal_and_known_cameras_are_held() -> None:
    views = posed_views(3)
    pairs = pair_predictions(views, noise=0.02)
    K = align_pairs(pairs, AlignmentConfig(focal_px=61.5)).stereo.cameras.K
    torch.testing.assert_close(K[:, 0, 0], torch.full((3,), 61.5), rtol=1e-6, atol=0)
    height, width = views.depths[0].shape
    known = Cameras.pinhole(views.cam_from_world.float(), FOCAL_PX, width, height)
    stereo = align_pairs(pairs, cameras=known).stereo
    # Quaternions and signed logs there and back, in float32.
    torch.testing.assert_close(stereo.cameras.cam_from_world, known.cam_from_world, rtol=0, atol=1e-5)
    torch.testing.assert_close(stereo.cameras.K, known.K, rtol=1e-5, atol=0)
    for found, true in zip(stereo.maps, views.depths, strict=True):
        assert float((found.depth / true - 1).abs().median()) < 0.02  # in the known cameras' unit


def test_confidence_is_the_largest_over_all_pairs() -> None:
    pairs = pair_predictions(posed_views(3))
    of_view_0 = [p.confidence_i for e, p in pairs.items() if e[0] == 0]
    of_view_0 += [p.confidence_j for e, p in pairs.items() if e[1] == 0]
    found = align_pairs(pairs, AlignmentConfig(iterations=0)).stereo.maps[0].confidence
    assert torch.equal(found, torch.stack(of_view_0).amax(0))


def test_pointmaps_of_one_view_must_have_one_size() -> None:
    pairs = pair_predictions(posed_views(2))
    pair = pairs[1, 0]
    pairs[1, 0] = PairPrediction(pair.points_i[1:], pair.points_j, pair.confidence_i[1:], pair.confidence_j)
    with pytest.raises(ValueError, match="one size for a view"):
        align_pairs(pairs)


def test_focal_of_a_pointmap_ignores_outliers() -> None:
    points = posed_views(1).points_in(0, 0)
    points[:4] = points[:4].flip(1)
    assert focal_of_pointmap(points) == pytest.approx(FOCAL_PX, rel=0.01)  # an eighth of the pixels is mirrored
    assert focal_of_pointmap(-points.abs()) == 48


def test_views_that_edges_join_are_a_component_and_the_strongest_edges_its_tree() -> None:
    scores = {(0, 1): 3.0, (1, 0): 4.0, (1, 2): 1.0, (2, 0): 2.0, (3, 4): 5.0}
    assert strongest_tree(scores) == [(3, 4), (1, 0), (2, 0)]
    assert components(scores, 6) == [[0, 1, 2], [3, 4], [5]]


def test_config_refuses_nonsense() -> None:
    with pytest.raises(BadInputError, match="min_lr <= lr"):
        AlignmentConfig(lr=1e-8)
    with pytest.raises(BadInputError, match="focal_px should be positive"):
        AlignmentConfig(focal_px=0.0)
