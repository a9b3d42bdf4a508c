"""Photographs that are decoded when they are drawn: the same training bit for bit, in bounded memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from fewview.recon.methods.gaussian_splatting.config import GaussianSplattingConfig
from fewview.recon.methods.gaussian_splatting.model import initialise
from fewview.recon.optimise.dataset import Dataset, StreamedView
from fewview.recon.optimise.photograph_stream import PhotographStream
from fewview.recon.optimise.trainer import fit
from fewview.scene.capture import Capture
from support.training import capture_of, same_bits, tiny_dataset


def counting(capture: Capture, seen: list[str]) -> Capture:
    """The capture with a list of the names that were decoded, and a mask on its second photograph."""

    def loader(i: int):
        def load() -> np.ndarray:
            seen.append(capture.names[i])
            return capture.frames[i].load()

        return load

    frames = [replace(frame, load=loader(i)) for i, frame in enumerate(capture.frames)]
    counts = np.ones((frames[1].height, frames[1].width), bool)
    counts[:5] = False
    frames[1] = replace(frames[1], load_mask=lambda: counts)
    return replace(capture, frames=tuple(frames))


@pytest.mark.parametrize("rgba", [False, True])
def test_streamed_photographs_are_those_in_memory(rgba: bool) -> None:
    seen: list[str] = []
    capture = counting(capture_of(tiny_dataset(rgba=rgba)), seen)
    whole, streamed = (Dataset.from_capture(capture, max_bytes=b) for b in (1 << 30, 1))
    assert len(seen) == len(capture)  # of the streamed ones none yet
    assert all(isinstance(v, StreamedView) for v in streamed.views)
    assert streamed.fingerprint() == whole.fingerprint()
    for i in range(len(capture)):
        for level in (0, 1):
            a, b = whole.view(i, level), streamed.view(i, level)
            assert (a.width, a.height) == (b.width, b.height)
            assert torch.equal(a.pixels, b.pixels)
            assert torch.equal(a.K, b.K)
            assert (a.mask is None) == (b.mask is None)
            assert a.mask is None or torch.equal(a.mask, b.mask)  # type: ignore[arg-type]
    moved = streamed.to("cpu")
    assert isinstance(moved.views[0], StreamedView)


def test_training_on_streamed_photographs_is_the_same_bit_for_bit() -> None:
    capture = counting(capture_of(tiny_dataset()), [])
    config = GaussianSplattingConfig(steps=12, coarse_levels=1, densification="none")
    results = []
    for max_bytes in (1 << 30, 4000):
        dataset = Dataset.from_capture(capture, max_bytes=max_bytes)
        results.append(fit(initialise(dataset, config), dataset, config).splat.at())
    assert same_bits(*results)


def test_the_memory_is_bounded_and_the_last_ones_stay() -> None:
    seen: list[int] = []

    def load(i: int) -> tuple[torch.Tensor, None]:
        seen.append(i)
        return torch.full((10, 10, 3), i, dtype=torch.uint8), None

    stream = PhotographStream(load, 700)  # two of 300 bytes
    for i in (0, 1, 0, 2, 0, 1):
        assert int(stream.photograph(i)[0][0, 0, 0]) == i
        assert stream.kept_bytes <= 700
    assert seen == [0, 1, 2, 1]  # 1 had to make room for 2; 0 was asked for in between
    small = PhotographStream(load, 100)
    small.photograph(7)
    small.photograph(7)
    assert (small.kept_bytes, seen[-2:]) == (0, [7, 7])
