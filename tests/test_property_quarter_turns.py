"""Photographs turned against each other are matched, and their keypoints are those of the photographs as they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from fewview.recon.poses.correspondences import extract, find_correspondences
from fewview.recon.poses.features import Features
from fewview.recon.poses.quarter_turns import JOINED
from fewview.scene.capture import Capture, Frame

WIDTH, HEIGHT, POINTS = 48, 36, 2 * JOINED


class DotMatcher:
    """Dots that know their number, found where they are; matched only where both pictures are the same way up.

    Up is told by the red half of the picture.
    """

    name = "dots"
    upright_only = True
    max_keypoints = POINTS
    costly = False

    def extract(self, image: np.ndarray) -> Features:
        rows, columns = np.nonzero(image[..., 1] | image[..., 2])
        number = image[rows, columns, 1].astype(np.float32)
        height, width = image.shape[:2]
        red = image[..., 0].astype(float)
        halves = red[: height // 2], red[:, : width // 2], red[height // 2 :], red[:, width // 2 :]
        up = np.full_like(number, np.argmax([half.sum() for half in halves]))
        xy = np.stack([columns, rows], axis=1).astype(np.float32) + 0.5
        return Features(torch.from_numpy(xy), torch.from_numpy(np.stack([number, up], axis=1)), width, height)

    def match(self, a: Features, b: Features) -> np.ndarray:
        if a.descriptors[0, 1] != b.descriptors[0, 1]:
            return np.zeros((0, 2), np.int64)
        _, in_a, in_b = np.intersect1d(a.descriptors[:, 0], b.descriptors[:, 0], return_indices=True)
        return np.stack([in_a, in_b], axis=1)


def capture_of(turns: Sequence[int], strangers: int = 0) -> tuple[Capture, list[np.ndarray]]:
    """A view for each number of turns, and empty ones that join nothing; dots lie elsewhere in each view."""
    rng = np.random.default_rng(0)
    pictures = []
    for turn in [*turns, *[None] * strangers]:
        picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        picture[: HEIGHT // 2, :, 0] = 200
        places = rng.choice(HEIGHT * WIDTH, POINTS, replace=False)
        first = 0 if turn is not None else 130  # a stranger's numbers are its own
        picture.reshape(-1, 3)[places, 1] = first + 1 + np.arange(POINTS) if turn is not None else 0
        picture.reshape(-1, 3)[places, 2] = 9
        pictures.append(np.ascontiguousarray(np.rot90(picture, turn or 0)))
    frames = tuple(Frame(f"{i}.png", p.shape[1], p.shape[0], lambda p=p: p) for i, p in enumerate(pictures))
    return Capture(frames, "dots"), pictures


def every_pair(features: list[Features]) -> list[tuple[int, int]]:
    return [(a, b) for a in range(len(features)) for b in range(a + 1, len(features))]


@pytest.mark.parametrize(
    "turns", [(0, 0, 0), (0, 1, 0), (0, 2, 0, 0), (3, 0, 0), (0, 1, 2, 3), (1, 1, 0, 0, 0), (1, 1)]
)
def test_turned_photographs_are_matched_where_they_are(turns: tuple[int, ...]) -> None:
    capture, pictures = capture_of(turns)
    found = find_correspondences(capture, DotMatcher(), every_pair, 64, {}, lambda *_: None)
    for (a, b), matches in found.matches.items():
        assert len(matches) == POINTS, (a, b)
        numbers = []
        for view, chosen in ((a, matches[:, 0]), (b, matches[:, 1])):
            features = found.images[view].features
            assert (features.width, features.height) == pictures[view].shape[1::-1]
            column, row = (features.xy_px[chosen].numpy() - 0.5).round().astype(int).T
            assert (pictures[view][row, column] == found.images[view].colors[chosen]).all()
            numbers.append(pictures[view][row, column, 1])
        assert (numbers[0] == numbers[1]).all()


def test_photographs_that_no_turn_joins_stay_as_they_are() -> None:
    capture, _ = capture_of((0, 0, 1), strangers=2)
    found = find_correspondences(capture, DotMatcher(), every_pair, 64, {}, lambda *_: None)
    assert len(found.matches[0, 2]) == POINTS
    assert all(len(m) < JOINED for pair, m in found.matches.items() if pair[1] >= 3)


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1)])
@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_a_photograph_of_one_row_or_column_is_turned_into_pixels_that_do_not_run_backwards(
    shape: tuple[int, int], turns: int
) -> None:
    """PyTorch takes no array with a negative stride, and NumPy calls such a picture contiguous."""
    seen = []

    class Matcher(DotMatcher):
        def extract(self, image: np.ndarray) -> Features:
            seen.append(torch.from_numpy(image).shape)
            return Features(torch.zeros(0, 2), torch.zeros(0, 2), image.shape[1], image.shape[0])

    frame = Frame("thin.png", shape[1], shape[0], lambda: np.full((*shape, 3), 7, np.uint8))
    extract(Capture((frame,), "thin"), 0, Matcher(), 64, turns)
    assert seen == [(*(shape if turns % 2 == 0 else shape[::-1]), 3)]
