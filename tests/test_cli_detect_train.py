"""`fewview detect train` and `run`, from a data set to boxes that `eval` measures."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from types import SimpleNamespace

import cv2
import pytest
import torch
from fewview import _native
from fewview.detect.learning_curve import read_curve
from fewview.detect.sparsefusion.driving_batch import Batch
from fewview.detect.sparsefusion.model import Output, SparseFusionModel
from fewview.detect.sparsefusion.weight_files import load_model
from fewview.learn import precision
from support.command import assert_one_sentence, fewview
from support.data import shared_data
from support.nuscenes_folder import write_nuscenes
from support.threads import one_torch_thread as one_torch_thread


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_nuscenes(tmp_path_factory.mktemp("drive") / "data").root


def test_train_resume_run_and_eval(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    train = ("detect", "train", root, "-o", run, "--device", "cpu", "--json", "--val-split", "all")
    outcome = fewview(capsys, *train, "--epochs", 1)
    assert outcome.code == 0, outcome.err
    assert outcome.json["finished"]
    assert outcome.json["step"] == outcome.json["steps"] == 2
    assert outcome.json["peak_memory_gb"] > 0.1
    assert 0 <= outcome.json["metrics"]["nd_score"] <= 1
    assert "training: done" in outcome.err
    assert "loss" in outcome.err
    assert {"weights.safetensors", "config.json", "metrics.json", "submission.json"} <= {p.name for p in run.iterdir()}

    again = fewview(capsys, *train, "--epochs", 1)
    assert_one_sentence(again, 2, "holds a training run already", "--resume")
    other = fewview(capsys, *train, "--without", "images", "--resume", "--quiet")
    assert_one_sentence(other, 2, "other settings", "use_images")
    done = fewview(capsys, *train, "--epochs", 1, "--resume")
    assert done.code == 0
    assert done.json["step"] == 2

    longer = fewview(capsys, *train, "--epochs", 3, "--resume")
    assert longer.code == 0, longer.err
    assert longer.json["step"] == 6
    assert "begun with epochs=1 and goes on with 3" in longer.err
    shorter = fewview(capsys, *train, "--epochs", 2, "--resume", "--quiet")
    assert_one_sentence(shorter, 2, "has 6 steps, more than the 4")
    curve = read_curve(run / "learning_curve.csv")
    assert [(row["epoch"], row["step"], row["steps"]) for row in curve] == [(1, 2, 2), (2, 4, 2), (3, 6, 2)]
    parts = [name for name in curve[0] if name not in ("epoch", "step", "steps", "loss")]
    assert {"fusion_class", "bev_heatmap"} <= set(parts)
    assert curve[2]["loss"] == pytest.approx(sum(curve[2][name] for name in parts), rel=1e-4)  # six digits are written
    assert sorted(p.name for p in (run / "epochs").iterdir()) == [f"epoch_000{i}.safetensors" for i in (1, 2, 3)]
    last = load_model(run / "epochs" / "epoch_0003.safetensors").state_dict()
    for name, tensor in load_model(run).state_dict().items():
        assert torch.equal(tensor, last[name]), name

    found = tmp_path / "found"
    outcome = fewview(capsys, "detect", "run", root, "--weights", run, "-o", found, "--json", "--pictures", 2)
    assert outcome.code == 0, outcome.err
    assert outcome.json["samples"] == 4
    assert not outcome.json["random_weights"]
    assert [Path(p).name for p in outcome.json["pictures"]] == ["00000.jpg", "00003.jpg"]
    picture = cv2.imread(outcome.json["pictures"][0])
    # Two rows of 360, a square beside them, and the legend below.
    assert picture.shape[1:] == (3 * 640 + 720, 3)
    assert 720 < picture.shape[0] < 820
    # The same weights give the boxes of the measurement after training; sums may run in another order.
    before, after = (json.loads((folder / "submission.json").read_text())["results"] for folder in (run, found))
    assert list(before) == list(after)
    for token, boxes in before.items():
        assert after[token][0]["detection_score"] == pytest.approx(boxes[0]["detection_score"], abs=1e-4)
    outcome = fewview(capsys, "detect", "eval", root, found / "submission.json", "--json")
    assert outcome.code == 0, outcome.err


def test_mixed_precision_runs_the_network_in_bfloat16(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Boxes do not tell how near the results are, as their queries may be others: test_property_sparsefusion.py holds
    each layer to the format's bound."""
    heatmaps: list[tuple[torch.Tensor, torch.Tensor]] = []
    forward = SparseFusionModel.forward

    def watched(model: SparseFusionModel, batch: Batch) -> Output:
        assert torch.is_autocast_enabled("cpu")
        assert torch.get_autocast_dtype("cpu") == torch.bfloat16
        with torch.autocast("cpu", enabled=False):
            exact = forward(model, batch)
        output = forward(model, batch)
        heatmaps.append((output.bev_heatmap.float(), exact.bev_heatmap))
        return output

    monkeypatch.setattr(SparseFusionModel, "forward", watched)
    scenes = tmp_path / "scenes.txt"
    scenes.write_text("scene-0000\n")
    run = ("detect", "run", root, "--preset", "tiny", "-o", tmp_path / "found", "--split", scenes, "--device", "cpu")
    # What the processor lacks is done in float32, on rounded numbers.
    monkeypatch.setattr(precision, "_native", SimpleNamespace(has_bf16=lambda: True))
    outcome = fewview(capsys, *run, "--mixed-precision", "--pictures", 0)
    assert outcome.code == 0, outcome.err
    assert len(heatmaps) == 2
    assert not any(torch.equal(rough, exact) for rough, exact in heatmaps)
    found = json.loads((tmp_path / "found" / "submission.json").read_text())["results"]
    assert len(found) == 2
    for box in itertools.chain(*found.values()):
        assert 0 <= box["detection_score"] <= 1
        assert all(math.isfinite(value) for key in ("translation", "size", "rotation") for value in box[key])
    assert any(found.values())


def test_parts_that_are_left_out_are_noted(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    outcome = fewview(
        capsys, "detect", "train", root, "-o", run, "--epochs", 1, "--without", "images", "--split", "all", "--quiet"
    )
    assert outcome.code == 0, outcome.err
    config = json.loads((run / "config.json").read_text())
    assert (config["use_images"], config["use_lidar"]) == (False, True)
    whole = tmp_path / "whole"
    outcome = fewview(capsys, "detect", "train", root, "-o", whole, "--epochs", 1, "--start", run)
    assert outcome.code == 0, outcome.err
    assert "Starting from" in outcome.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("train", "{root}", "--epochs", 0), ("--epochs 0",)),
        (("train", "{root}", "--batch-size", 8), ("do not fill one step",)),
        (("train", "{root}", "--without", "images", "lidar"), ("nothing to see",)),
        (("train", "{root}", "--split", "generated_train"), ("no split",)),
        (("train", "{root}", "--start", "{root}/LICENSE"), ("cannot be read",)),
        (("train", "{root}/nowhere"), ("no nuScenes-format tables",)),
        (("train", "{root}", "--sweeps", 0), ("--sweeps 0",)),
        (("train", "{root}", "--keep-every", -1), ("--keep-every -1",)),
        (("run", "{root}", "--sweeps", 0), ("--sweeps 0", "1 to 1000")),
        (("run", "{root}", "--min-score", 2), ("--min-score 2",)),
        (("run", "{root}", "--weights", "{root}/nothing.pth"), ("nothing.pth", "cannot be read")),
        (("run", "{root}/nothing.json", "--preset", "tiny"), ("nothing.json",)),
    ],
)
def test_wrong_options_are_one_sentence(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple, words: tuple[str, ...]
) -> None:
    arguments = [str(o).replace("{root}", str(root)) for o in options]
    outcome = fewview(capsys, "detect", *arguments, "-o", tmp_path / "out", "--quiet")
    assert_one_sentence(outcome, 2, *words)


@pytest.mark.parametrize("command", ["train", "run"])
def test_mixed_precision_needs_instructions_for_it(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    options = ("detect", command, root, "-o", tmp_path / "out", "--device", "cpu", "--quiet", "--mixed-precision")
    monkeypatch.setattr(_native, "has_bf16", lambda: False)
    assert_one_sentence(fewview(capsys, *options), 2, "--mixed-precision", "AVX512_BF16")


def test_training_in_mixed_precision(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # What the processor lacks is done in float32, on rounded numbers.
    monkeypatch.setattr(precision, "_native", SimpleNamespace(has_bf16=lambda: True))
    run = tmp_path / "run"
    train = ("detect", "train", root, "-o", run, "--device", "cpu", "--epochs", 1, "--json", "--mixed-precision")
    outcome = fewview(capsys, *train)
    assert outcome.code == 0, outcome.err
    assert outcome.json["finished"]


def test_a_real_frame_from_an_info_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    info = next(shared_data("nuscenes_frame").glob("*.json"))
    outcome = fewview(capsys, "detect", "run", info, "--preset", "tiny", "-o", tmp_path, "--json", "--min-score", 0)
    assert outcome.code == 0, outcome.err
    assert outcome.json["random_weights"]
    assert "the network is random, and its boxes mean nothing" in outcome.err
    assert outcome.json["boxes"] > 0
    submission = json.loads((tmp_path / "submission.json").read_text())
    assert submission["meta"]["use_camera"]
    assert submission["meta"]["use_lidar"]
    assert len(outcome.json["pictures"]) == 1
