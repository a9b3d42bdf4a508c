"""Our nuScenes metric against the official devkit: its recorded numbers, and itself where an interpreter has it.

Set FEWVIEW_DEVKIT_PYTHON to a Python with nuscenes-devkit 1.2 or newer to run the devkit.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fewview.detect.metrics.devkit import find_devkit, largest_difference, run_devkit
from fewview.detect.metrics.greedy_matching import Pairs, match
from fewview.detect.metrics.nuscenes_metric import Evaluation, evaluate
from fewview.detect.metrics.nuscenes_submission import read_submission
from fewview.detect.metrics.nuscenes_truth import Truth
from fewview.detect.tasks.nuscenes_splits import MINI_VAL_SCENES, VAL_SCENES
from fewview.scene.boxes import Boxes
from fewview.scene.datasets.box_conventions import from_nuscenes
from fewview.scene.datasets.nuscenes_classes import DETECTION_NAMES
from fewview.scene.datasets.nuscenes_log import NuScenes
from support.metric_cases import Submission, submissions, true_boxes, write_tables

RECORDED = json.loads((Path(__file__).parent / "data" / "devkit_metrics.json").read_text())["cases"]
# Both add up at most a few hundred float64 numbers of order one in the same order; only last bits of angles differ.
SAME = 1e-12


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cases") / "data"
    write_tables(folder)
    return folder


@pytest.fixture(scope="module")
def truth(root: Path) -> Truth:
    return Truth.of(NuScenes(root))


@pytest.fixture(scope="module")
def cases(root: Path) -> dict[str, Submission]:
    return submissions(root)


def _boxes(rows: list[dict[str, Any]]) -> Boxes:
    def column(name: str, width: int) -> torch.Tensor:
        return torch.tensor([row[name] for row in rows], dtype=torch.float64).reshape(-1, width)

    velocities = torch.cat([column("velocity", 2), torch.zeros(len(rows), 1)], dim=1)
    return from_nuscenes(
        column("translation", 3),
        column("size", 3),
        column("rotation", 4),
        torch.tensor([DETECTION_NAMES.index(row["detection_name"]) for row in rows], dtype=torch.int64),
        DETECTION_NAMES,
        scores=column("detection_score", 1)[:, 0],
        velocities=velocities,
        attributes=tuple(row["attribute_name"] for row in rows),
    )


def _evaluated(truth: Truth, submission: Submission) -> Evaluation:
    return evaluate(truth, {token: _boxes(rows) for token, rows in submission.items()})


def test_every_case_is_recorded(cases: dict[str, Submission]) -> None:
    assert list(RECORDED) == list(cases)


@pytest.mark.parametrize("name", RECORDED)
def test_same_numbers_as_the_devkit(truth: Truth, cases: dict[str, Submission], name: str) -> None:
    assert largest_difference(_evaluated(truth, cases[name]).summary(), RECORDED[name]) <= SAME


def test_a_file_gives_what_the_boxes_give(truth: Truth, cases: dict[str, Submission], tmp_path: Path) -> None:
    path = tmp_path / "submission.json"
    path.write_text(json.dumps({"meta": {}, "results": cases["ties in another order"]}))
    found = evaluate(truth, read_submission(path, truth.tokens))
    assert largest_difference(found.summary(), RECORDED["ties in another order"]) <= SAME


def test_the_devkit_itself(root: Path, cases: dict[str, Submission], truth: Truth, tmp_path: Path) -> None:
    """On a case that is not recorded, with plots; and the recorded scenes of its splits."""
    python = os.environ.get("FEWVIEW_DEVKIT_PYTHON")
    if not python:
        pytest.skip("FEWVIEW_DEVKIT_PYTHON names no interpreter with the nuscenes-devkit")
    assert find_devkit(Path(python)) == Path(python)
    mixed = {
        t: [dict(b, detection_score=(i % 7) / 7) for i, b in enumerate(rows)] for t, rows in cases["crowd"].items()
    }
    path = tmp_path / "submission.json"
    path.write_text(json.dumps({"meta": {"use_lidar": True}, "results": mixed}))
    data = NuScenes(root)
    official = run_devkit(Path(python), data, path, list(mixed), "all", tmp_path / "out", plots=True)
    assert largest_difference(_evaluated(truth, mixed).summary(), official) <= SAME
    details = json.loads((tmp_path / "out" / "metrics_details.json").read_text())
    ours = evaluate(truth, read_submission(path, truth.tokens)).details()
    assert ours.keys() == details.keys()
    for key, curve in ours.items():
        for name, values in curve.items():
            np.testing.assert_allclose(values, details[key][name], atol=SAME, err_msg=f"{key} {name}")
    assert (tmp_path / "out" / "plots" / "summary.pdf").read_bytes().startswith(b"%PDF")
    program = "from nuscenes.utils import splits as s; import json; print(json.dumps([s.val, s.mini_val]))"
    said = subprocess.run([python, "-c", program], capture_output=True, check=True, text=True).stdout
    for scenes, numbers in zip(json.loads(said), (VAL_SCENES, MINI_VAL_SCENES), strict=True):
        assert sorted(scenes) == [f"scene-{number:04d}" for number in numbers]


class TestKnownAnswers:
    """The acceptance facts of the metric, from its definition."""

    def test_moved_by_three_quarters_of_a_metre(self, tmp_path: Path) -> None:
        root = tmp_path / "data"
        write_tables(root)
        truth = Truth.of(NuScenes(root))
        moved = {
            t: [dict(b, translation=[b["translation"][0] + 0.75, *b["translation"][1:]]) for b in rows]
            for t, rows in true_boxes(root).items()
        }
        exact, found = (_evaluated(truth, s) for s in (true_boxes(root), moved))
        assert found.label_aps["car"][0.5] < 0.2 < 0.7 < found.label_aps["car"][1.0]
        assert found.label_tp_errors["car"]["trans_err"] == pytest.approx(0.75, abs=0.05)  # some find a neighbour
        assert exact.label_tp_errors["car"]["trans_err"] == pytest.approx(0, abs=0.05)

    def test_half_a_turn_is_an_error_for_cars_and_none_for_barriers(self, truth: Truth, root: Path) -> None:
        w_first = {
            t: [dict(b, rotation=[-b["rotation"][3], 0.0, 0.0, b["rotation"][0]]) for b in rows]
            for t, rows in true_boxes(root).items()
        }
        found = _evaluated(truth, w_first).label_tp_errors
        assert found["car"]["orient_err"] == pytest.approx(math.pi, abs=0.3)  # some find a neighbour
        assert found["barrier"]["orient_err"] == pytest.approx(0, abs=0.3)

    def test_nothing_scores_nothing(self, truth: Truth) -> None:
        found = _evaluated(truth, {t: [] for t in truth.tokens})
        assert (found.mean_ap, found.nd_score) == (0, 0)
        assert set(found.tp_errors.values()) == {1.0}

    def test_the_sum_of_the_published_figures(self, truth: Truth) -> None:
        """mAP 0.7051 with these errors is NDS 0.7279, as SparseFusion reports."""
        errors = {
            "trans_err": 0.2757, "scale_err": 0.2506, "orient_err": 0.2767, "vel_err": 0.2562, "attr_err": 0.1869,
        }  # fmt: skip
        some = _evaluated(truth, {t: [] for t in truth.tokens})
        known = replace(
            some,
            label_aps={name: {2.0: 0.7051} for name in DETECTION_NAMES},
            label_tp_errors=dict.fromkeys(DETECTION_NAMES, errors),
        )
        assert known.nd_score == pytest.approx(0.7279, abs=5e-5)  # given with four digits


def _greedily(pairs: Pairs, n: int, m: int) -> np.ndarray:
    """The definition: one after the other, the nearest that is free."""
    free, found = set(range(m)), np.full(n, -1)
    for p, t in zip(pairs.prediction.tolist(), pairs.truth.tolist(), strict=True):
        if found[p] < 0 and t in free:
            found[p] = t
            free.remove(t)
    return found


@pytest.mark.parametrize("seed", range(20))
def test_matching_is_the_greedy_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, m = int(rng.integers(1, 60)), int(rng.integers(1, 30))
    distance = rng.integers(0, 12, (n, m)).astype(float)  # with many ties
    p, t = np.nonzero(distance < 6)
    order = np.lexsort((t, distance[p, t], p))
    pairs = Pairs(p[order], t[order], distance[p, t][order])
    for below in (6, 3, 1, 0):
        np.testing.assert_array_equal(match(pairs.below(below), n, m), _greedily(pairs.below(below), n, m))
