"""Errors of a way of filling depth, by known pixels that it was not told."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

MOST_HIDDEN = 0.35  # of the known pixels
FEWEST = 40  # known pixels, below which none is hidden
DISCS = 60  # at most
NARROW, WIDE = 0.015, 0.12  # radii of what is hidden, of the longer side
STEEPEST = 1.5  # power of the distance by which errors grow at most
FEWEST_OF_BIN = 15  # pixels whose median counts


def hidden_parts(
    weight: np.ndarray,  # [H, W] >= 0, how well depth is known; 0: not at all
    seed: int,
) -> np.ndarray:
    """bool [H, W]: known pixels in some random discs, about a third of all; none where little is known."""
    known = weight > 0
    hidden: np.ndarray = np.zeros(known.shape, np.uint8)
    places = np.argwhere(known)
    if len(places) < FEWEST:
        return hidden > 0
    rng = np.random.default_rng([seed, 23])
    for _ in range(DISCS):
        row, column = places[int(rng.integers(len(places)))]
        radius = max(known.shape) * np.exp(rng.uniform(np.log(NARROW), np.log(WIDE)))
        after = cv2.circle(hidden.copy(), (int(column), int(row)), max(1, round(radius)), 1, -1)
        share = (known & (after > 0)).sum() / len(places)
        if share > MOST_HIDDEN:  # a smaller one may still go
            continue
        hidden = after
        if share > 0.8 * MOST_HIDDEN:
            break
    return known & (hidden > 0)


def distance_to(known: np.ndarray) -> np.ndarray:
    """Distance [H, W] float32 in pixels to the nearest of the known ones, bool [H, W]."""
    return cv2.distanceTransform((~known).astype(np.uint8), cv2.DIST_L2, 5)


@dataclass(frozen=True)
class ErrorByDistance:
    """Median error of log-depth at so many pixels from the nearest known one: a power of the distance."""

    logarithm: float  # of the error at distance 0
    power: float

    @classmethod
    def measured(
        cls,
        distance_px: np.ndarray,  # [N]
        error: np.ndarray,  # [N] >= 0, of log-depth
    ) -> ErrorByDistance | None:
        """A line through the medians of octaves of distance; None where there are too few pixels."""
        x, y, w = [], [], []
        octave = np.log2(1 + distance_px).astype(int)
        for number in np.unique(octave):
            here = octave == number
            if int(here.sum()) >= FEWEST_OF_BIN:
                x.append(np.log1p(distance_px[here]).mean())
                y.append(np.log(max(float(np.median(error[here])), 1e-5)))
                w.append(np.sqrt(here.sum()))
        if not x:
            return None
        weights = np.array(w) / np.sum(w)
        mean_x, mean_y = weights @ x, weights @ y
        spread = weights @ (np.array(x) - mean_x) ** 2
        power = 0.0 if spread < 1e-9 else float(weights @ ((np.array(x) - mean_x) * (np.array(y) - mean_y)) / spread)
        power = float(np.clip(power, 0, STEEPEST))
        return cls(float(mean_y - power * mean_x), power)

    def at(self, distance_px: np.ndarray) -> np.ndarray:
        """Expected errors, of any shape."""
        return np.asarray(np.exp(self.logarithm + self.power * np.log1p(distance_px)))
