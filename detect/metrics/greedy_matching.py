"""The greedy matching of predictions and true boxes by the nuScenes metric, for all samples at once.

In the order of their scores, predictions take the nearest true box of their class and sample that is still free. This
is the one stable matching of predictions, who prefer what is near, and true boxes, who prefer what has a high score.
So deferred acceptance (Gale and Shapley, 1962) finds it, too, and that can be done in few rounds of array operations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .nuscenes_truth import FlatBoxes, all_pairs

PAIRS_AT_ONCE = 2**22
_CLASSES = 16  # more than there are: sample and class become one number


@dataclass(frozen=True)
class Pairs:
    """E pairs of a prediction and a true box near it, by prediction, the nearest first, equally near ones by row."""

    prediction: np.ndarray  # [E] int64, rows by falling score
    truth: np.ndarray  # [E] int64
    distance_m: np.ndarray  # [E] in the ground plane

    def below(self, distance_m: float) -> Pairs:
        near = self.distance_m < distance_m
        return Pairs(self.prediction[near], self.truth[near], self.distance_m[near])


def by_score(boxes: FlatBoxes) -> FlatBoxes:
    """By falling score; of equal ones the last comes first, as in the devkit."""
    return boxes[np.lexsort((np.arange(len(boxes)), boxes.score))[::-1]]


def near_pairs(predictions: FlatBoxes, truth: FlatBoxes, distance_m: float) -> Pairs:
    """All pairs of one sample and class that are less than `distance_m` apart."""
    key = truth.sample * _CLASSES + truth.label
    order = np.argsort(key, kind="stable")
    wanted = predictions.sample * _CLASSES + predictions.label
    low, high = (np.searchsorted(key[order], wanted, side) for side in ("left", "right"))
    total = np.concatenate([[0], np.cumsum(high - low)])
    parts, start = [Pairs(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))], 0
    while start < len(predictions):
        stop = max(start + 1, int(np.searchsorted(total, total[start] + PAIRS_AT_ONCE, "right")) - 1)
        p, t = all_pairs(low[start:stop], high[start:stop])
        parts.append(_near(predictions.center[:, :2], truth.center[:, :2], p + start, order[t], distance_m))
        start = stop
    return Pairs(*(np.concatenate([vars(part)[name] for part in parts]) for name in vars(parts[0])))


def _near(a: np.ndarray, b: np.ndarray, p: np.ndarray, t: np.ndarray, distance_m: float) -> Pairs:
    apart = a[p] - b[t]
    close = np.flatnonzero((apart**2).sum(axis=1) <= (distance_m * (1 + 1e-9)) ** 2)
    p, t, apart = p[close], t[close], apart[close]
    # Rounded as np.linalg.norm does it for the devkit: by a dot product, which may use fused multiplication.
    distance = np.sqrt(np.matmul(apart[:, None, :], apart[:, :, None])[:, 0, 0])
    order = np.lexsort((t, distance, p))
    return Pairs(p[order], t[order], distance[order]).below(distance_m)


def match(pairs: Pairs, n_predictions: int, n_truth: int) -> np.ndarray:
    """int64 [n_predictions]: the true box that each prediction takes, -1 for none."""
    ends = np.searchsorted(pairs.prediction, np.arange(n_predictions), "right")
    at = np.searchsorted(pairs.prediction, np.arange(n_predictions), "left")
    holder = np.full(n_truth, n_predictions)  # the best prediction so far that wants each true box
    asking = np.unique(pairs.prediction)
    while len(asking):
        wish = pairs.truth[at[asking]]
        before = holder[wish]
        np.minimum.at(holder, wish, asking)
        lost = asking[holder[wish] != asking]
        ousted = np.unique(before[(before < n_predictions) & (before != holder[wish])])
        again = np.concatenate([lost, ousted])
        at[again] += 1
        asking = again[at[again] < ends[again]]
    found = np.full(n_predictions, -1)
    taken = np.flatnonzero(holder < n_predictions)
    found[holder[taken]] = taken
    return found
