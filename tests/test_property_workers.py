"""Threads of the small pieces of work that poses are made of."""

from __future__ import annotations

import pytest
import torch
from fewview.recon.poses import structure_from_motion
from fewview.recon.poses.workers import each
from fewview.scene.torch_threads import torch_threads


def test_operations_have_one_thread_in_the_block_and_as_many_as_before_after_it() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with torch_threads(1):
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 3
        with pytest.raises(ValueError, match="lost"), torch_threads(1):
            raise ValueError("lost")
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_each_item_is_computed_in_one_thread_and_in_order() -> None:
    before = torch.get_num_threads()
    assert each("counting", lambda item: (item, torch.get_num_threads()), range(5)) == [(i, 1) for i in range(5)]
    assert torch.get_num_threads() == before


def test_cameras_are_judged_in_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    # Two threads wait for each other after every patch: 94 s where one takes 14 s, beside other work.
    seen: list[int] = []

    def judged(*_: object) -> None:
        seen.append(torch.get_num_threads())
        raise InterruptedError

    monkeypatch.setattr(structure_from_motion, "separated", judged)
    monkeypatch.setattr(structure_from_motion, "verify", lambda *_: structure_from_motion.ViewGraph([], {}, {}))
    monkeypatch.setattr(structure_from_motion, "refuse_pure_rotation", lambda *_: None)
    monkeypatch.setattr(structure_from_motion, "solve", lambda *_: None)
    monkeypatch.setattr(structure_from_motion, "lenses_apart", lambda *_: None)
    nothing = structure_from_motion.Correspondences([], {})
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        lenses = structure_from_motion.Lenses([], [(64, 48)], [None])
        config = structure_from_motion.PosesConfig()
        with pytest.raises(InterruptedError):
            structure_from_motion._place(None, nothing, lenses, set(), config, {}, structure_from_motion.silent, {})  # type: ignore[arg-type]
    finally:
        torch.set_num_threads(before)
    assert seen == [1]
