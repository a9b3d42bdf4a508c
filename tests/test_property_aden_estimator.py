"""ADen as a pose estimator: what it takes for the object, and what holds of its answer whatever the network says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from fewview.recon.poses.networks.aden import AdenEstimator
from fewview.recon.poses.networks.aden.aden_estimator import FOCAL_RATIO, SeenObject, seen_object
from fewview.recon.poses.networks.aden.config import AdenConfig
from fewview.recon.poses.networks.aden.image_encoder import ImageEncoder
from fewview.recon.poses.networks.aden.model import Aden
from fewview.recon.poses.networks.aden.object_crops import Box, box_of, crop, neutral_color
from fewview.recon.poses.pose_estimator import Poses
from fewview.scene import Capture, Frame
from fewview.scene.errors import FewviewError
from support.threads import one_torch_thread as one_torch_thread

WIDTH, HEIGHT, SIDE = 96, 64, 64
VIEWS, HELD_OUT, BARE = 5, 1, 3
TRAIN = [0, 2, 4]
CONFIG = AdenConfig(
    side_px=SIDE, grid=4, look=4, hidden=16, fused=16, heads=2, hypotheses=40, query_width=8, generator_width=16,
    scorer_width=16,
)  # fmt: skip


def picture(seed: int) -> np.ndarray:
    """A patch of noise on a transparent ground."""
    rng = np.random.default_rng(seed)
    pixels = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    pixels[16:50, 30:60, :3] = rng.integers(0, 256, (34, 30, 3))
    pixels[16:50, 30:60, 3] = 255
    return pixels


def capture_of(pictures: list[np.ndarray]) -> Capture:
    frames = tuple(
        Frame(f"{9 - i}_{i}.png", WIDTH, HEIGHT, lambda p=p: p, 80.0 if i == 2 else None, time_s=0.1 * i)
        for i, p in enumerate(pictures)
    )
    return Capture(frames, "a test", test=(HELD_OUT,))


def pictures() -> list[np.ndarray]:
    bare = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    return [bare if i == BARE else picture(i) for i in range(VIEWS)]


@pytest.fixture(scope="module")
def estimator() -> AdenEstimator:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        encoder, network = ImageEncoder("efficientnet-lite0"), Aden(CONFIG, 344)
        torch.nn.init.normal_(network.scorer.out.weight, std=2.0)
        torch.nn.init.normal_(network.generator.out.weight, std=0.2)
        return AdenEstimator(encoder.eval(), network.eval().requires_grad_(False), "a small ADen")


@pytest.fixture(scope="module")
def poses(estimator: AdenEstimator) -> Poses:
    return estimator.place(capture_of(pictures()))


def test_every_photograph_is_placed_or_has_a_reason_that_names_it(poses: Poses) -> None:
    assert poses.placed == sorted([*TRAIN, HELD_OUT])
    assert list(poses.unplaced) == [BARE]
    assert f"{9 - BARE}_{BARE}.png" in poses.unplaced[BARE]
    assert poses.capture.test == (poses.placed.index(HELD_OUT),)
    assert [f.time_s for f in poses.capture.frames] == [0.1 * i for i in poses.placed]
    assert poses.capture.points is None
    assert poses.depths is None


def test_cameras_are_rigid_upright_and_have_the_lens_of_their_photograph(poses: Poses) -> None:
    cameras = poses.capture.cameras
    rotation = cameras.cam_from_world[:, :3, :3].double()
    # Products of a few float32 matrices.
    assert torch.allclose(rotation @ rotation.mT, torch.eye(3).double().expand_as(rotation), atol=1e-5)
    focal = [80.0 if view == 2 else FOCAL_RATIO * WIDTH for view in poses.placed]
    assert cameras.K[:, 0, 0].tolist() == pytest.approx(focal)
    ahead = cameras.world_from_cam[0, :3, 2]
    assert float(ahead[0].abs()) < 1e-5
    assert float(ahead[1]) >= 0
    distance = cameras.centers[[poses.placed.index(view) for view in TRAIN]].norm(dim=1)
    assert float(distance.median()) == pytest.approx(4.0, rel=1e-5)  # the object is at the origin


def test_hypotheses_are_other_poses_and_confidence_is_not_made_up(poses: Poses) -> None:
    assert set(poses.confidence) == {None}
    assert set(poses.hypotheses) <= set(TRAIN[1:])
    assert poses.hypotheses  # a random network has many opinions
    for view, others in poses.hypotheses.items():
        chosen = poses.capture.cameras.cam_from_world[poses.placed.index(view), :3, :3]
        turn = others.cameras.cam_from_world[:, :3, :3] @ chosen.T
        cosine = (turn.diagonal(dim1=1, dim2=2).sum(1) - 1) / 2
        assert bool((cosine < np.cos(np.radians(19.9))).all())


def test_the_same_photographs_give_the_same_bits(estimator: AdenEstimator, poses: Poses) -> None:
    again = estimator.place(capture_of(pictures()))
    assert torch.equal(again.capture.cameras.cam_from_world, poses.capture.cameras.cam_from_world)


def test_a_held_out_photograph_changes_nothing_but_itself(estimator: AdenEstimator, poses: Poses) -> None:
    changed = pictures()
    changed[HELD_OUT] = picture(50)
    other = estimator.place(capture_of(changed))
    rows = [poses.placed.index(view) for view in TRAIN]
    # The backbone computes a batch whose other members differ: rounding of its convolutions at most.
    assert torch.allclose(
        other.capture.cameras.cam_from_world[rows], poses.capture.cameras.cam_from_world[rows], atol=1e-5
    )
    ours, theirs = (p.capture.cameras.cam_from_world[p.placed.index(HELD_OUT)] for p in (poses, other))
    assert not torch.allclose(ours, theirs, atol=1e-3)


def test_a_single_object_is_refused_with_a_sentence(estimator: AdenEstimator) -> None:
    with pytest.raises(FewviewError, match=r"1 of the 2 photographs .* shows nothing where its mask"):
        estimator.place(replace(capture_of([picture(0), pictures()[BARE]]), test=None))
    with pytest.raises(FewviewError, match="places 2 to 12"):
        estimator.place(replace(capture_of([picture(i) for i in range(13)]), test=None))


def test_the_object_is_what_alpha_or_a_mask_marks_else_the_middle() -> None:
    pixels = picture(0)
    by_alpha = seen_object(Frame("a.png", WIDTH, HEIGHT, lambda: pixels), SIDE)
    mask = pixels[..., 3] > 0
    opaque = pixels[..., :3]
    by_mask = seen_object(Frame("a.png", WIDTH, HEIGHT, lambda: opaque, load_mask=lambda: mask), SIDE)
    by_middle = seen_object(Frame("a.png", WIDTH, HEIGHT, lambda: opaque), SIDE)
    assert isinstance(by_alpha, SeenObject)
    assert isinstance(by_mask, SeenObject)
    assert isinstance(by_middle, SeenObject)
    assert np.array_equal(by_alpha.crop, by_mask.crop)
    assert (by_alpha.is_marked, by_mask.is_marked, by_middle.is_marked) == (True, True, False)
    # Centre (45, 33) of 96 x 64, side 34 * 1.15, in halves of 64 pixels.
    assert by_alpha.descriptor.tolist() == pytest.approx([-3 / 32, 1 / 32, 34 * 1.15 / 32])
    assert by_middle.descriptor.tolist() == pytest.approx([0, 0, 2 * 0.8])


def test_a_blank_photograph_is_no_object() -> None:
    blank = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    reason = seen_object(Frame("blank.png", WIDTH, HEIGHT, lambda: blank), SIDE)
    assert reason == "blank.png shows one even colour where the object should be."


def test_crops_beyond_the_edge_are_neutral() -> None:
    image = np.full((10, 10, 3), 200, np.uint8)
    found = crop(image, Box(0.0, 0.0, 8.0), 8)
    assert bool((found[:4] == neutral_color()).all())
    assert bool((found[4:, 4:] == 200).all())
    assert box_of(np.zeros((4, 4), bool)) is None
    assert bool((crop(image, Box(-50.0, 5.0, 8.0), 8) == neutral_color()).all())
