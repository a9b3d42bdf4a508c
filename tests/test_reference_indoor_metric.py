"""Overlaps of boxes and the indoor metric against plain implementations of their own."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from fewview.detect.common.box_nms import aligned_nms, floor_nms
from fewview.detect.common.iou_3d import aligned_iou_3d, floor_iou, iou_3d, paired_iou_3d
from fewview.detect.metrics.indoor_metric import THRESHOLDS, IndoorMetric
from fewview.detect.sample import Sample
from fewview.scene.boxes import Boxes
from fewview.scene.errors import BadInputError
from support.plain_boxes import plain_average_precision, plain_floor, plain_iou
from support.rooms import random_rows
from torch import Tensor

NAMES = ("chair", "table", "bed")
# Rows of pairs in which edges coincide, corners touch, or sizes and places are extreme.
CUBE = [0.0, 0, 0, 1, 1, 1, 0]
ADVERSARIAL = [
    (CUBE, CUBE),
    (CUBE, [0, 0, 0, 1, 1, 1, math.pi / 2]),
    (CUBE, [0, 0, 0, 1, 1, 1, math.pi / 4]),
    (CUBE, [0, 0, 0, 1, 1, 1, 1e-10]),
    (CUBE, [0, 0, 0, 1, 1, 1, math.pi - 1e-8]),
    (CUBE, [1, 0, 0, 1, 1, 1, 0]),  # a shared face
    (CUBE, [1, 1, 0, 1, 1, 1, 0]),  # a shared edge
    (CUBE, [0.5, 0, 0, 1, 1, 1, 0]),
    (CUBE, [0, 0, 1, 1, 1, 1, 0]),  # one on the other
    (CUBE, [0, 0, 0.25, 0.5, 0.5, 0.5, 0]),  # inside, touching the lid
    (CUBE, [0, 0, 0, 1, 1, 0.5, 0]),  # exactly one half
    (CUBE, [0, 0, 0, 1, 0.5, 0.5, 0]),  # exactly one quarter
    (CUBE, [0, 0, 0, 100, 1e-6, 1, 0.3]),
    (CUBE, [0.5, 0.5, 0, math.sqrt(0.5), math.sqrt(0.5), 1, math.pi / 4]),  # a corner on the middle of an edge
    ([0, 0, 0, 1e-3, 1e-3, 1e-3, 0.4], [0, 0, 0, 1e-3, 1e-3, 1e-3, 0.4 + 1e-4]),
    ([0, 0, 0, 1e-3, 1e-3, 1e-3, 0.4], [3e-4, 0, 0, 1e-3, 2e-3, 1e-3, -1.1]),
    ([5000.0, -7000, 3, 2, 1, 1, 0.7], [5000.25, -7000.25, 3.1, 2, 1, 1, 0.9]),
    ([0, 0, 0, 50, 50, 50, 0.1], [24.9, 24.9, 0, 0.2, 0.3, 0.4, 2.0]),
    (CUBE, [0, 0, 0, 1, 1, 1, 25 * math.pi]),
    (CUBE, [math.nextafter(1.0, 0), 0, 0, 1, 1, 1, 0]),
]


def test_overlaps_of_random_boxes() -> None:
    random = np.random.default_rng(0)
    a, b = random_rows(random, 60), random_rows(random, 50)
    found, floors = iou_3d(a, b), floor_iou(a, b)
    flat = torch.tensor([0.0, 0, 1, 1, 1]).double()  # the same height for all
    for i in range(len(a)):
        for j in range(len(b)):
            assert float(found[i, j]) == pytest.approx(plain_iou(a[i].tolist(), b[j].tolist()), abs=1e-9)
        on_floor = [plain_iou(_on_floor(a[i], flat), _on_floor(b[j], flat)) for j in range(len(b))]
        np.testing.assert_allclose(floors[i].numpy(), on_floor, atol=1e-9)
    torch.testing.assert_close(iou_3d(b, a).T, found, atol=1e-12, rtol=0)


def _on_floor(row: Tensor, flat: Tensor) -> list[float]:
    return [*row[:2].tolist(), float(flat[0]), *row[3:5].tolist(), float(flat[2]), float(row[6])]


def test_overlaps_of_aligned_boxes_are_those_of_boxes_that_are_not_turned() -> None:
    random = np.random.default_rng(1)
    a, b = random_rows(random, 40, yaw=False), random_rows(random, 30, yaw=False)
    torch.testing.assert_close(aligned_iou_3d(a[:, None, :6], b[None, :, :6]), iou_3d(a, b), atol=1e-12, rtol=0)


@pytest.mark.parametrize("pair", ADVERSARIAL, ids=range(len(ADVERSARIAL)))
def test_overlaps_of_adversarial_boxes(pair: tuple[list[float], list[float]]) -> None:
    for a, b in (pair, pair[::-1]):
        rows = [torch.tensor([box], dtype=torch.float64) for box in (a, b)]
        expected = plain_iou(list(a), list(b))
        assert float(iou_3d(*rows)) == pytest.approx(expected, abs=1e-9)
        assert float(paired_iou_3d(*rows)) == pytest.approx(expected, abs=1e-9)
        # float32 holds coordinates of 7000 m to half a millimetre, and 1e-6 m in 1 m to a tenth.
        if max(map(abs, (*a, *b))) < 60:
            single = [row.float() for row in rows]
            stored = plain_iou(*(row[0].double().tolist() for row in single))
            assert float(iou_3d(*single)) == pytest.approx(stored, abs=1e-4)


def test_boxes_of_no_size_overlap_nothing() -> None:
    flat = torch.tensor([[0.0, 0, 0, 1, 1, 0, 0]])
    assert float(iou_3d(flat, flat)) == 0
    assert float(paired_iou_3d(flat, flat)) == 0
    assert plain_floor([0, 0, 0, 1, 1, 1, 0], [0, 0, 0, 1, 1, 1, 0]) == 1
    assert iou_3d(torch.zeros(0, 7), flat).shape == (0, 1)


def _boxes(rows: Tensor, labels: np.ndarray, scores: np.ndarray | None = None) -> Boxes:
    return Boxes.upright(
        rows[:, :3],
        rows[:, 3:6],
        rows[:, 6],
        torch.from_numpy(labels),
        NAMES,
        scores=None if scores is None else torch.from_numpy(scores),
    )


@pytest.mark.parametrize("yaw", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_average_precision_of_random_rooms(yaw: bool, seed: int) -> None:
    random = np.random.default_rng(seed)
    truth, found = {}, {}
    for room in range(3):
        rows = random_rows(random, 6, yaw)
        truth[f"r{room}"] = _boxes(rows, random.integers(0, 2 + (seed > 1), 6))
        guesses = torch.cat([rows + torch.from_numpy(random.normal(0, 0.08, rows.shape)), random_rows(random, 9, yaw)])
        guesses[:, 3:6].abs_()
        guesses[:, 6] *= yaw
        guesses = torch.cat([guesses, guesses[:4], rows[:2]])  # some twice, some exact
        # Scores of one digit: many are equal, and the order of the boxes decides.
        scores = random.uniform(0, 1, len(guesses)).round(1)
        found[f"r{room}"] = _boxes(guesses, random.integers(0, 3, len(guesses)), scores)
    scores = IndoorMetric(truth, yaw).evaluate(found)
    assert scores.names == tuple(NAMES[i] for i in range(3) if any(bool((t.labels == i).any()) for t in truth.values()))
    for row, name in enumerate(scores.names):
        label = NAMES.index(name)
        guesses, trues = [], []
        for number, token in enumerate(truth):
            guesses += [(number, score, box) for box, score in _of_class(found[token], label)]
            trues += [(number, box) for box, _ in _of_class(truth[token], label)]
        for threshold in THRESHOLDS:
            precision, recall = plain_average_precision(guesses, trues, threshold)
            assert float(scores.precision[threshold][row]) == pytest.approx(precision, abs=1e-9)
            assert float(scores.recall[threshold][row]) == pytest.approx(recall, abs=1e-9)
    summary = scores.summary()
    assert summary["mAP@0.25"] == pytest.approx(scores.precision[0.25].mean(), abs=1e-12)
    assert summary["mAP@0.25"] >= summary["mAP@0.5"]
    assert len(scores.lines()) == len(scores.names) + 2


def _of_class(boxes: Boxes, label: int) -> list[tuple[list[float], float]]:
    rows = torch.cat([boxes.centers, boxes.sizes, boxes.yaws[:, None]], dim=1)
    scores = torch.zeros(len(boxes)) if boxes.scores is None else boxes.scores
    return [(rows[i].tolist(), float(scores[i])) for i in range(len(boxes)) if int(boxes.labels[i]) == label]


def test_an_overlap_of_exactly_the_threshold_is_wrong_and_a_true_box_is_taken_once() -> None:
    label = np.zeros(1, np.int64)
    truth = {"r": _boxes(torch.tensor([CUBE]).double(), label)}
    half = _boxes(torch.tensor([[0, 0, 0, 1, 1, 0.5, 0]]).double(), label, np.ones(1))
    scores = IndoorMetric(truth).evaluate({"r": half})
    assert (scores.summary()["mAP@0.5"], scores.summary()["mAP@0.25"]) == (0.0, 1.0)
    twice = _boxes(torch.tensor([CUBE, CUBE]).double(), np.zeros(2, np.int64), np.array([0.9, 0.8]))
    scores = IndoorMetric(truth).evaluate({"r": twice})
    assert scores.summary()["mAP@0.5"] == 1.0  # the second comes after the recall is whole
    first = _boxes(torch.tensor([[9.0, 0, 0, 1, 1, 1, 0], CUBE]).double(), np.zeros(2, np.int64), np.array([0.9, 0.8]))
    assert IndoorMetric(truth).evaluate({"r": first}).summary()["mAP@0.5"] == 0.5


def test_rooms_that_are_missing_or_of_other_classes_are_one_sentence() -> None:
    truth = {"r": _boxes(torch.tensor([CUBE]).double(), np.zeros(1, np.int64))}
    with pytest.raises(BadInputError, match="1 of the 1 rooms have no entry, the first is 'r'"):
        IndoorMetric(truth).evaluate({})
    other = Boxes.upright(
        torch.zeros(1, 3), torch.ones(1, 3), torch.zeros(1), torch.zeros(1).long(), ("lamp",), scores=torch.ones(1)
    )
    with pytest.raises(BadInputError, match=r"classes \['lamp'\]"):
        IndoorMetric(truth).evaluate({"r": other})
    with pytest.raises(BadInputError, match="nothing to measure"):
        IndoorMetric({"r": Boxes.empty(NAMES)})


def test_only_the_best_boxes_are_submitted() -> None:
    rows = torch.tensor([CUBE] * 1200).double()
    boxes = _boxes(rows, np.zeros(1200, np.int64), np.random.default_rng(0).uniform(0, 1, 1200))
    kept = IndoorMetric({"r": boxes[:1]}).submitted(Sample(token="r"), boxes)
    assert len(kept) == 1000
    assert float(kept.scores.min()) >= float(boxes.scores.sort().values[199])


@pytest.mark.parametrize("yaw", [False, True])
def test_suppression_keeps_what_overlaps_nothing_better_of_its_class(yaw: bool) -> None:
    random = np.random.default_rng(5)
    rows, labels = random_rows(random, 80, yaw), torch.from_numpy(random.integers(0, 3, 80))
    scores = torch.from_numpy(random.uniform(0, 1, 80))
    kept = (floor_nms(rows, scores, labels, 0.2) if yaw else aligned_nms(rows[:, :6], scores, labels, 0.25)).tolist()
    expected: list[int] = []
    for i in sorted(range(80), key=lambda i: -float(scores[i])):
        rivals = [j for j in expected if labels[j] == labels[i]]
        if yaw:
            flat = torch.tensor([0.0, 0, 1, 1, 1]).double()
            overlaps = [plain_iou(_on_floor(rows[i], flat), _on_floor(rows[j], flat)) for j in rivals]
            limit = 0.2
        else:
            overlaps, limit = [plain_iou(rows[i].tolist(), rows[j].tolist()) for j in rivals], 0.25
        if all(overlap <= limit for overlap in overlaps):
            expected.append(i)
    assert kept == expected
