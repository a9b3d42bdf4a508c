"""Evidence about a scene: which provider gives it, and when it is computed again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fewview.recon.evidence import DepthMap, Stereo, evidence_kinds
from fewview.recon.evidence.evidence_kinds import DEPTH, gather
from fewview.recon.evidence.given_depth import GUESS, MEASURED
from fewview.recon.optimise.dataset import Dataset
from fewview.scene.capture import Capture
from fewview.scene.errors import BadInputError
from fewview.scene.run import Run
from support.training import HEIGHT, WIDTH, capture_of, tiny_dataset


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The seeds that stereo was asked with; it sees a wall."""
    seeds: list[int] = []

    def wall(dataset: Dataset, seed: int, progress: object) -> Stereo:
        seeds.append(seed)
        maps = [DepthMap(torch.full((HEIGHT, WIDTH), 3.0), torch.full((HEIGHT, WIDTH), 5.0)) for _ in dataset.train]
        return Stereo(dataset.cameras[list(dataset.train)], tuple(maps))

    monkeypatch.setattr(evidence_kinds, "stereo_depth", wall)
    return seeds


def with_depth(capture: Capture, known: list[bool]) -> Capture:
    """Maps of twice the working size, 2 deep in the left half and unknown in the right; nothing known where False."""
    depth = np.zeros((2 * HEIGHT, 2 * WIDTH), np.float32)
    depth[:, :WIDTH] = 2.0
    maps = [depth if one else 0 * depth for one in known]
    frames = [replace(f, load_depth=lambda d=d: d) for f, d in zip(capture.frames, maps, strict=True)]
    return replace(capture, frames=tuple(frames))


def test_depth_that_came_with_the_photographs_is_taken(tmp_path: Path, calls: list[int]) -> None:
    dataset = tiny_dataset(3)
    found = gather(DEPTH, Run.create(tmp_path / "run", {}), with_depth(capture_of(dataset), [True] * 3), dataset, 0)
    assert calls == []
    for one in found.maps:
        assert bool((one.depth == 2).all())
        assert bool((one.confidence[:, : WIDTH // 2] == MEASURED).all())
        assert bool((one.confidence[:, WIDTH // 2 :] == GUESS).all())


def test_a_training_photograph_without_depth_leaves_it_to_stereo(tmp_path: Path, calls: list[int]) -> None:
    dataset = tiny_dataset(3)
    some = with_depth(capture_of(dataset), [True, False, True])
    gather(DEPTH, Run.create(tmp_path / "run", {}), some, dataset, 0)
    assert calls == [0]
    held_out = replace(dataset, train=(0, 2), test=(1,))  # does not count
    assert len(gather(DEPTH, Run.create(tmp_path / "other", {}), some, held_out, 0)) == 2
    assert calls == [0]


def test_evidence_is_computed_once_for_its_inputs(tmp_path: Path, calls: list[int]) -> None:
    dataset, run = tiny_dataset(3), Run.create(tmp_path / "run", {})
    capture = capture_of(dataset)
    for seed in (0, 0, 1, 1):
        gather(DEPTH, run, capture, dataset, seed)
    assert calls == [0, 1]
    other = tiny_dataset(3, seed=5)
    gather(DEPTH, run, capture_of(other), other, 1)
    assert calls == [0, 1, 1]


def test_an_unknown_kind_is_one_sentence(tmp_path: Path) -> None:
    dataset = tiny_dataset(3)
    with pytest.raises(BadInputError, match="no evidence of kind 'smell'; there is depth"):
        gather("smell", Run.create(tmp_path / "run", {}), capture_of(dataset), dataset, 0)
