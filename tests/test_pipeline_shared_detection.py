"""`detect run` and `detect eval` by two processes of torchrun give what one process gives."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from fewview.commands.shared_detection import join_parts, part_of
from fewview.learn.processes import texts_of_processes
from fewview.scene.datasets.lidar_detections import DetectionsFile, read_detections
from support.generated import generate
from support.two_processes import TORCHRUN
from test_cli_detect_run import frames


def fewview(*arguments: object, processes: int = 1) -> str:
    """Standard output of the command, by so many processes."""
    start = TORCHRUN if processes == 2 else (sys.executable,)
    command = [*start, "-m", "fewview", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_two_processes_find_and_measure_what_one_does(tmp_path: Path) -> None:
    data = generate(tmp_path / "data", scenes=1)
    run = (
        "detect",
        "run",
        data,
        "--preset",
        "tiny",
        "--device",
        "cpu",
        "--pictures",
        2,
        "--json",
        "--quiet",
        "--threads",
        1,
    )
    one = json.loads(fewview(*run, "-o", tmp_path / "one"))
    two = fewview(*run, "-o", tmp_path / "two", processes=2)
    assert len(two.strip().splitlines()) == 1  # the first process speaks for both
    two = json.loads(two)
    assert (two["samples"], two["boxes"]) == (one["samples"], one["boxes"])
    assert [Path(p).name for p in two["pictures"]] == [Path(p).name for p in one["pictures"]]
    alone, shared = (json.loads((tmp_path / n / "submission.json").read_text()) for n in ("one", "two"))
    assert (shared["meta"], list(shared["results"])) == (alone["meta"], list(alone["results"]))
    for token, boxes in alone["results"].items():
        # Each process measures which kernels are fastest; those of another instruction set round otherwise.
        scores = [sorted(box["detection_score"] for box in found) for found in (boxes, shared["results"][token])]
        assert scores[1] == pytest.approx(scores[0], rel=1e-3)
    assert sorted(p.name for p in (tmp_path / "two").glob("*.jsonl")) == ["detections.jsonl"]

    measured = fewview("detect", "eval", data, tmp_path / "two" / "submission.json", "--json", "--quiet", processes=2)
    assert len(measured.strip().splitlines()) == 1
    assert json.loads(measured)["samples"] == one["samples"]


def test_parts_of_an_interrupted_run_are_taken_up(tmp_path: Path) -> None:
    found, about, file = frames(0, 3), {"weights": "some"}, tmp_path / "detections.jsonl"
    names = found[0].boxes.names
    whole = DetectionsFile(file, about, resume=False)
    whole.add(found[0])
    for rank, frame in enumerate(found[1:]):
        part = DetectionsFile(part_of(file, rank), about, resume=False)
        part.add(frame)
        part.add(found[0])  # it is in the whole one, too
    join_parts(whole, names)
    assert [f.token for f in read_detections(file, names)] == [f.token for f in found]
    assert list(tmp_path.glob("*.jsonl")) == [file]


@pytest.mark.parametrize("text", ["", "a", "Zürich ✓ " * 50])
def test_texts_come_back_from_one_process(text: str) -> None:
    assert texts_of_processes(text) == [text]
    assert torch.frombuffer(bytearray(text.encode() or b" "), dtype=torch.uint8).numel() > 0


ENDS = """
import os, torch
from fewview.learn.processes import process_group, texts_of_processes
with process_group(torch.device("cpu")) as (rank, _):
    import torchvision  # functions of PyTorch that it imports have the current group as a default
    assert texts_of_processes(str(rank)) == ["0", "1"]
print(*(open(f"/proc/self/task/{thread}/comm").read() for thread in os.listdir("/proc/self/task")))
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are listed in /proc on Linux only")
def test_no_thread_of_a_group_outlives_it(tmp_path: Path) -> None:
    (tmp_path / "ends.py").write_text(ENDS)
    done = subprocess.run([*TORCHRUN, tmp_path / "ends.py"], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "gloo" not in done.stdout
