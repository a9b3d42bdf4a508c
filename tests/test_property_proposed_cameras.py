"""A network that proposes cameras for what another system did not place, whatever the network says."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fewview.recon.poses.choose_estimator import estimator_for
from fewview.recon.poses.networks.aden import Aden, AdenConfig, AdenEstimator
from fewview.recon.poses.networks.aden.image_encoder import ImageEncoder
from fewview.recon.poses.networks.proposed_cameras import WithProposals
from fewview.recon.poses.pose_estimator import Poses
from fewview.scene import BadInputError, Cameras, Capture, Frame
from fewview.scene.errors import FewviewError
from fewview.scene.geometry import Similarity, so3_exp
from fewview.scene.progress import Progress, silent
from support.lumpy_object import cameras_around
from support.threads import one_torch_thread as one_torch_thread

SIDE, VIEWS, HELD_OUT = 64, 6, 2
CONFIG = AdenConfig(
    side_px=SIDE, grid=4, trunk=8, look=4, hidden=16, fused=16, heads=2, hypotheses=40, query_width=8,
    generator_width=16, scorer_width=16,
)  # fmt: skip


@pytest.fixture(scope="module")
def network() -> AdenEstimator:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        encoder, aden = ImageEncoder("efficientnet-lite0"), Aden(CONFIG, 344)
        torch.nn.init.normal_(aden.scorer.out.weight, std=2.0)
        return AdenEstimator(encoder.eval(), aden.eval().requires_grad_(False), "a small ADen")


def photographs() -> Capture:
    def load(seed: int) -> np.ndarray:
        pixels = np.zeros((SIDE, SIDE, 4), np.uint8)
        pixels[12:50, 16:48] = np.random.default_rng(seed).integers(0, 256, (38, 32, 4))
        pixels[12:50, 16:48, 3] = 255
        return pixels

    return Capture(
        tuple(Frame(f"{i}.png", SIDE, SIDE, lambda i=i: load(i)) for i in range(VIEWS)), "a test", test=(HELD_OUT,)
    )


@dataclass(frozen=True)
class PlacesSome:
    """A system that places these views with the true cameras, in some world."""

    placed: tuple[int, ...]
    world: Similarity
    confidence: tuple[float | None, ...] = ()
    name: str = "some system"

    def place(self, capture: Capture, progress: Progress = silent) -> Poses:
        if len(self.placed) < 2:
            raise FewviewError("Nothing matches.")
        cameras = cameras_around(VIEWS)[torch.tensor(self.placed)].transformed(self.world)
        known = replace(capture.subset(self.placed), cameras=cameras, points=None)
        lost = {v: f"{capture.names[v]} matches nothing." for v in range(len(capture)) if v not in self.placed}
        confidence = self.confidence or (None,) * len(self.placed)
        return Poses(known, list(self.placed), lost, {}, {}, confidence=confidence)


HERE = Similarity(torch.tensor(1.0), torch.eye(3), torch.zeros(3))
THERE = Similarity(torch.tensor(2.5), so3_exp(torch.tensor([0.3, -0.7, 1.1])), torch.tensor([4.0, -1.0, 2.0]))


def test_what_was_placed_stays_and_the_rest_gets_proposals_but_no_place(network: AdenEstimator) -> None:
    first = PlacesSome((0, 1, 3, 4), HERE)
    found, alone = WithProposals(first, network).place(photographs()), first.place(photographs())
    assert found.placed == alone.placed
    assert torch.equal(found.capture.cameras.cam_from_world, alone.capture.cameras.cam_from_world)
    assert found.unplaced == alone.unplaced
    assert set(found.hypotheses) == {5}  # not the held-out one
    proposed = found.hypotheses[5].cameras
    turns = proposed.cam_from_world[:, None, :3, :3] @ proposed.cam_from_world[None, :, :3, :3].mT
    cosine = (turns.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2
    assert float((cosine - 2 * torch.eye(len(proposed))).max()) < np.cos(np.radians(19.9))
    assert any("proposes cameras for what was not placed: 5.png" in note for note in found.notes)


def test_proposals_follow_the_world_of_the_placed_cameras(network: AdenEstimator) -> None:
    here, there = (
        WithProposals(PlacesSome((0, 1, 3, 4), world), network).place(photographs()) for world in (HERE, THERE)
    )
    moved = here.hypotheses[5].cameras.transformed(THERE).cam_from_world
    # The ridge that keeps parallel axes solvable does not scale with the scene's square: 1e-4 of one.
    assert torch.allclose(moved[0], there.hypotheses[5].cameras.cam_from_world[0], atol=2e-3)


@pytest.mark.parametrize("placed", [(), (0, 1)])
def test_where_too_few_are_placed_the_network_places_all_and_says_so(
    network: AdenEstimator, placed: tuple[int, ...]
) -> None:
    found = WithProposals(PlacesSome(placed, HERE), network).place(photographs())
    assert found.placed == list(range(VIEWS))
    assert set(found.confidence) == {None}
    assert "nothing has confirmed them" in found.notes[0]


def test_where_too_few_cameras_are_sure_both_answers_are_there(network: AdenEstimator) -> None:
    unsure = PlacesSome((0, 1, 2, 3, 4), HERE, (0.95, 0.99, 0.99, 0.6, 0.2))  # the third is held out
    found = WithProposals(unsure, network).place(photographs())
    assert set(found.confidence) == {None}
    assert found.notes[0].startswith("some system is sure of only 2 of the photographs that it placed (4)")
    assert found.other is not None
    assert found.other.confidence == unsure.confidence
    # Where none is missing the first answer stands, unsure as it is.
    every = replace(unsure, placed=tuple(range(VIEWS)), confidence=(*unsure.confidence, 0.5))
    found = WithProposals(every, network).place(photographs())
    assert found.confidence == every.confidence
    assert "all are placed, so its cameras stay" in found.notes[-1]
    assert found.other is not None
    assert set(found.other.confidence) == {None}
    enough = replace(every, confidence=(0.95, 0.99, 0.1, 0.9, 0.2, 0.5))
    found = WithProposals(enough, network).place(photographs())
    assert found.confidence == enough.confidence
    assert found.other is None


def test_two_photographs_that_are_placed_keep_their_cameras(network: AdenEstimator) -> None:
    """Of a room the network knows nothing, and with two there is no object to compare answers by."""
    two = replace(photographs(), frames=photographs().frames[:2], test=None)
    unsure = PlacesSome((0, 1), HERE, (0.4, 0.4))
    found = WithProposals(unsure, network).place(two)
    assert found.confidence == unsure.confidence
    assert found.other is None


def test_what_was_placed_stays_where_the_network_sees_no_object(network: AdenEstimator) -> None:
    shown = photographs()
    empty = tuple(replace(frame, load=lambda: np.zeros((SIDE, SIDE, 4), np.uint8)) for frame in shown.frames)
    unsure = PlacesSome(tuple(range(VIEWS)), HERE, (0.4,) * VIEWS)
    found = WithProposals(unsure, network).place(replace(shown, frames=empty))
    assert found.confidence == unsure.confidence
    assert "The network could not help" in found.notes[-1]


def test_nothing_is_proposed_where_all_are_placed(network: AdenEstimator) -> None:
    found = WithProposals(PlacesSome(tuple(range(VIEWS)), HERE), network).place(photographs())
    assert not found.hypotheses
    assert not found.notes


def test_weights_of_something_else_are_refused_in_one_sentence(tmp_path: Path) -> None:
    bare = tmp_path / "aden.pkl"
    bare.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(BadInputError, match="bare Python pickle"):
        estimator_for(None, pose_network=bare)
    other = tmp_path / "other.pt"
    torch.save({"weight": torch.zeros(3)}, other)
    with pytest.raises(BadInputError, match=r"is not an ADen network of this version.*scripts/train_priors/aden.py"):
        estimator_for(None, pose_network=other)
    with pytest.raises(BadInputError, match=r"There is no pose network at .*: give the word aden"):
        estimator_for(None, pose_network=tmp_path / "nothing.safetensors")


def test_the_word_aden_means_the_weights_that_come_with_fewview(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    estimator = estimator_for(None, pose_network=Path("aden"))
    assert isinstance(estimator, WithProposals)
    assert estimator.network.network.config == AdenConfig()
    first, second = (estimator.network.place(photographs()) for _ in range(2))
    assert first.placed == list(range(VIEWS))
    assert torch.equal(first.capture.cameras.cam_from_world, second.capture.cameras.cam_from_world)
    (tmp_path / "aden").write_text("a file of that name is meant first")
    with pytest.raises(BadInputError):
        estimator_for(None, pose_network=Path("aden"))


def test_cameras_are_the_photographs_own_lens(network: AdenEstimator) -> None:
    found = WithProposals(PlacesSome((0, 1, 3, 4), HERE), network).place(photographs())
    cameras: Cameras = found.hypotheses[5].cameras
    assert cameras.width.tolist() == [SIDE] * len(cameras)
    assert bool((cameras.K[:, 0, 0] > 0).all())
