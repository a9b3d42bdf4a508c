"""Photographs left out as misleading, though they match several placed ones as well as any: a side of the thing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pycolmap
import pytest
from fewview.recon.poses.judge.cut_off_side import cut_off_side, notes_on_cut_off_side
from fewview.recon.poses.judge.misleading_pairs import Contradiction, SeparatedModel
from fewview.recon.poses.judge.second_look import NO_LOOK
from fewview.recon.poses.mapping import Model
from fewview.recon.poses.verification import Pair
from support.view_graphs import graph_with

# A ring of eight photographs of a thing of two like sides. Those of the far side, 5 to 7, were laid upon the near one,
# 0 to 2, whose points they match; 3 and 4 are from in between.
HELD = {(0, 1): 300, (1, 2): 280, (0, 5): 260, (1, 6): 290, (2, 7): 270, (5, 6): 300, (6, 7): 290}
CUT = {(2, 3): 300, (3, 4): 320, (4, 5): 280, (3, 5): 200, (2, 4): 210}


def found(cut: Mapping[Pair, int], placed: Sequence[int], views: int = 8) -> SeparatedModel:
    """A model of the placed views, without the pairs that were cut."""
    verified = graph_with(HELD | dict(cut), views)
    reconstruction = pycolmap.Reconstruction()
    reconstruction.add_camera_with_trivial_rig(
        pycolmap.Camera.create_from_model_name(1, "SIMPLE_PINHOLE", 560, 640, 480)
    )
    for view in placed:
        image = pycolmap.Image(name=str(view), camera_id=1, image_id=view + 1)
        reconstruction.add_image_with_trivial_frame(image, pycolmap.Rigid3d())
    misleading = dict.fromkeys(cut, Contradiction(NO_LOOK))
    return SeparatedModel(verified, verified.without(cut), Model(reconstruction, 1.0), misleading=misleading)


def test_photographs_from_between_two_like_sides_that_fit_neither_leave_both_open() -> None:
    half = found(CUT, (0, 1, 2, 5, 6, 7))
    assert cut_off_side(half) == [3, 4]
    (note,) = notes_on_cut_off_side("abcdefgh", half)
    assert note.startswith("d, e match several of the placed photographs as well as any do")


@pytest.mark.parametrize(
    "cut",
    [
        {},
        {(2, 3): 300, (3, 5): 280},  # one photograph: it may be what is odd
        {(2, 3): 300, (3, 4): 320, (4, 5): 280},  # each holds on one side only, as others that look alike do
        {pair: count if pair == (3, 4) else count // 3 for pair, count in CUT.items()},  # weak pairs mislead, too
    ],
)
def test_few_or_weak_pairs_that_were_cut_say_nothing(cut: Mapping[Pair, int]) -> None:
    whole = found(cut, (0, 1, 2, 5, 6, 7))
    assert cut_off_side(whole) == []
    assert notes_on_cut_off_side("abcdefgh", whole) == []


def test_two_of_many_are_no_side() -> None:
    assert cut_off_side(found(CUT, (0, 1, 2, 5, 6, 7, 8, 9))) == [3, 4]
    assert cut_off_side(found(CUT, (0, 1, 2, *range(5, 11)), 11)) == []
