"""Analysis by synthesis as a step after a pose estimator: what goes in as `Poses` comes out as better ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from fewview.recon.pipeline.analysis_by_synthesis import refined_by_synthesis
from fewview.recon.pipeline.synthesis.joint_fit import JointFitConfig
from fewview.recon.pipeline.synthesis.pose_search import SearchConfig
from fewview.recon.pipeline.synthesis.synthesis_config import SynthesisConfig
from fewview.recon.poses import Poses, pair_errors
from fewview.scene import BadInputError, Capture
from fewview.scene.geometry import Similarity, so3_exp
from support.lumpy_object import cameras_around, lumpy_object, photographed, turned
from support.threads import one_torch_thread as one_torch_thread

VIEWS, HELD_OUT, LOST = 8, 2, 5
FIT = JointFitConfig(steps=60, gaussians=400)
CONFIG = SynthesisConfig(side_px=32, fit=FIT, trial=FIT, search=SearchConfig(kept=12), left_out_scores=False)
# The estimator's world is not the look-at frame.
WORLD = Similarity(torch.tensor(3.0), so3_exp(torch.tensor([0.4, 0.2, -0.9])), torch.tensor([5.0, -2.0, 1.0]))


@pytest.fixture(scope="module")
def photographs() -> Capture:
    taken = photographed(cameras_around(VIEWS), lumpy_object())
    assert taken.cameras is not None
    return replace(taken, cameras=taken.cameras.transformed(WORLD), test=(HELD_OUT,))


def estimated(photographs: Capture, degrees: float = 3.0) -> Poses:
    """Poses that an estimator might give: all photographs but one, each a little off."""
    assert photographs.cameras is not None
    placed = [view for view in range(VIEWS) if view != LOST]
    known = photographs.subset(placed)
    assert known.cameras is not None
    there = known.cameras.transformed(WORLD.inverse())
    turns = torch.randn(len(placed), 3, generator=torch.Generator().manual_seed(2)) * np.deg2rad(degrees) / 3**0.5
    off = replace(there, cam_from_world=turned(there.cam_from_world, turns)).transformed(WORLD)
    capture = replace(known, cameras=off, notes=(f"Not placed: {LOST}.png is lost.", "Taken in the rain."))
    return Poses(capture, placed, {LOST: f"{LOST}.png is lost."}, {"mapping": 1.0}, {"points": 9}, (0.5,) * 7)


@pytest.fixture(scope="module")
def refined(photographs: Capture) -> Poses:
    return refined_by_synthesis(estimated(photographs), replace(photographs, cameras=None), CONFIG)


def test_cameras_are_better_and_the_lost_one_is_found(photographs: Capture, refined: Poses) -> None:
    assert photographs.cameras is not None
    assert refined.placed == list(range(VIEWS))
    assert refined.unplaced == {}
    assert refined.capture.names == photographs.names
    assert refined.capture.cameras is not None
    true, found = photographs.cameras.cam_from_world, refined.capture.cameras.cam_from_world
    assert float(pair_errors(found, true).rotation_deg.max()) < 15
    known = estimated(photographs)
    before = pair_errors(known.capture.cameras.cam_from_world, true[known.placed])
    after = pair_errors(found[known.placed], true[known.placed])
    assert float(after.rotation_deg.mean()) < float(before.rotation_deg.mean())
    # The world is still the given one: centres are where they were, to a tenth of their distance from the object.
    moved = (refined.capture.cameras.centers - photographs.cameras.centers).norm(dim=-1)
    assert float(moved.max()) < 0.1 * 3 * 1.85


def test_the_result_says_where_it_comes_from(refined: Poses) -> None:
    assert refined.capture.points is None
    assert refined.depths is None
    assert refined.capture.notes == ("Taken in the rain.",)
    assert refined.capture.test == (HELD_OUT,)
    assert refined.confidence[LOST] is None
    assert refined.confidence[0] == 0.5
    assert refined.stats["points"] == 9
    assert refined.stats["synthesis"]["corrected"] == [f"{LOST}.png"]
    assert set(refined.stats["synthesis"]["distance"]) == {f"{i}.png" for i in range(VIEWS) if i != HELD_OUT}
    assert "mapping" in refined.seconds
    assert "synthesis, fit" in refined.seconds
    assert any(f"{LOST}.png, which was not placed before, was found" in note for note in refined.notes)
    others = refined.hypotheses[LOST]
    assert refined.capture.cameras is not None
    nearest = (others.cameras.centers - refined.capture.cameras.centers[LOST]).norm(dim=-1).min()
    assert float(nearest) < 0.1 * 3 * 1.85


def test_of_two_answers_the_one_is_kept_that_an_object_can_be_made_from(photographs: Capture, refined: Poses) -> None:
    anywhere = estimated(photographs, degrees=80.0)
    doubted = replace(anywhere, other=estimated(photographs))
    found = refined_by_synthesis(doubted, replace(photographs, cameras=None), CONFIG)
    assert torch.equal(found.capture.cameras.cam_from_world, refined.capture.cameras.cam_from_world)
    assert found.other is None
    assert found.notes[-1].startswith("Of two answers, neither of which could be believed")
    assert found.notes[:-1] == refined.notes


def test_a_held_out_photograph_has_no_say(photographs: Capture, refined: Poses) -> None:
    poses = estimated(photographs)
    place = poses.placed.index(HELD_OUT)
    other = replace(poses.capture.frames[place], load=poses.capture.frames[0].load)
    frames = tuple(other if i == place else frame for i, frame in enumerate(poses.capture.frames))
    swapped = replace(poses, capture=replace(poses.capture, frames=frames))
    again = refined_by_synthesis(swapped, replace(photographs, cameras=None), CONFIG)
    assert again.capture.cameras is not None
    assert refined.capture.cameras is not None
    learned = [view for view in range(VIEWS) if view != HELD_OUT]
    # The same photographs and settings give the same bits.
    assert torch.equal(again.capture.cameras.cam_from_world[learned], refined.capture.cameras.cam_from_world[learned])
    assert not torch.equal(again.capture.cameras.cam_from_world, refined.capture.cameras.cam_from_world)


def test_a_photograph_without_a_mask_keeps_its_camera(photographs: Capture) -> None:
    poses = estimated(photographs)
    bare = poses.capture.frames[0]
    opaque = replace(bare, load=lambda: bare.load()[..., :3])
    capture = replace(poses.capture, frames=(opaque, *poses.capture.frames[1:]))
    refined = refined_by_synthesis(replace(poses, capture=capture), config=CONFIG)
    assert refined.placed == poses.placed
    assert refined.capture.cameras is not None
    assert poses.capture.cameras is not None
    assert torch.equal(refined.capture.cameras.cam_from_world[0], poses.capture.cameras.cam_from_world[0])
    assert not torch.equal(refined.capture.cameras.cam_from_world[1], poses.capture.cameras.cam_from_world[1])
    assert any("0.png has no mask of the object" in note for note in refined.notes)


def test_too_few_photographs_are_refused_in_one_sentence(photographs: Capture) -> None:
    assert photographs.cameras is not None
    two = Poses(replace(photographs.subset([0, 1]), test=()), [0, 1], {}, {}, {})
    with pytest.raises(BadInputError, match="2 of 2 photographs have cameras"):
        refined_by_synthesis(two, config=CONFIG)
