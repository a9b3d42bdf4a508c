"""`--stereo` with what cannot be used: one sentence, exit code 2, nothing run and nothing left behind."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import safetensors.torch
import torch
from fewview.recon.pipeline.reconstruct_config import ReconstructConfig
from fewview.recon.pipeline.run_folder import open_run
from fewview.recon.poses.pointmaps.providers import PairwiseProvider, load_provider
from fewview.scene import BadInputError, FewviewError
from support.capture_folder import write_capture, write_photographs
from support.command import assert_one_sentence, fewview
from support.pointmap_networks import random_network, save_released


class RunsCode:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch '{self.mark}'",)


@pytest.fixture
def photographs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_photographs(tmp_path / "photographs", 3)


def refused(capsys: pytest.CaptureFixture[str], source: Path, weights: Path, *words: str) -> None:
    before = sorted(Path().rglob("*"))
    outcome = fewview(capsys, "reconstruct", source, "-o", "runs/new", "--stereo", weights, "--quiet")
    assert_one_sentence(outcome, 2, *words)
    assert sorted(Path().rglob("*")) == before


def test_a_missing_file(capsys: pytest.CaptureFixture[str], photographs: Path, tmp_path: Path) -> None:
    refused(capsys, photographs, tmp_path / "absent.pth", "absent.pth", "no weights", "DUSt3R")


def test_a_file_that_is_no_checkpoint(capsys: pytest.CaptureFixture[str], photographs: Path, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    for content in (b"", b"<html>not found</html>", b"PK", b"\x89PNG\r\n\x1a\n" + bytes(99)):
        path.write_bytes(content)
        refused(capsys, photographs, path, "weights.pth")


def test_a_pickle_that_runs_code_does_not_run(
    capsys: pytest.CaptureFixture[str], photographs: Path, tmp_path: Path
) -> None:
    path, mark = tmp_path / "weights.pth", tmp_path / "ran"
    torch.save({"model": random_network().state_dict(), "args": RunsCode(mark)}, path)
    refused(capsys, photographs, path, "could run code")
    path.write_bytes(pickle.dumps(RunsCode(mark)))
    refused(capsys, photographs, path, "could run code")
    assert not mark.exists()


def test_another_network(capsys: pytest.CaptureFixture[str], photographs: Path, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"cls_token": torch.ones(1, 1, 8)}, path)
    refused(capsys, photographs, path, "not a DUSt3R or MASt3R network", "cls_token")
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file({"cls_token": torch.ones(1, 1, 8)}, path)
    refused(capsys, photographs, path, "not a DUSt3R or MASt3R network", "cls_token")


def test_a_folder_of_something_else(capsys: pytest.CaptureFixture[str], photographs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    refused(capsys, photographs, folder, "no model.safetensors")
    safetensors.torch.save_file({"cls_token": torch.ones(1, 1, 8)}, folder / "model.safetensors")
    refused(capsys, photographs, folder, "config.json")
    (folder / "config.json").write_text('{"model_name": "bert"}')
    refused(capsys, photographs, folder, "'bert'", "da3-large")


def test_an_input_with_cameras(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    weights = save_released(tmp_path / "weights.pth", random_network())
    refused(capsys, write_capture(tmp_path / "capture", views=4), weights, "has cameras", "--stereo")


def test_another_method(capsys: pytest.CaptureFixture[str], photographs: Path, tmp_path: Path) -> None:
    weights = save_released(tmp_path / "weights.pth", random_network())
    outcome = fewview(capsys, "reconstruct", photographs, "--stereo", weights, "--method", "3dgs")
    assert_one_sentence(outcome, 2, "--stereo", "--method 3dgs")


def test_the_tensors_tell_which_network_it_is(tmp_path: Path) -> None:
    network = random_network()
    assert isinstance(load_provider(save_released(tmp_path / "weights.pth", network)), PairwiseProvider)
    folder = tmp_path / "model"  # as such networks lie on model hubs: with a config of another kind
    folder.mkdir()
    safetensors.torch.save_model(network, str(folder / "model.safetensors"))
    (folder / "config.json").write_text('{"output_mode": "pts3d"}')
    for path in (folder, folder / "model.safetensors"):
        assert isinstance(load_provider(path), PairwiseProvider)
    safetensors.torch.save_file({"model.backbone.x": torch.ones(1)}, folder / "model.safetensors")
    (folder / "config.json").write_text('{"model_name": "da3-small"}')
    # Where its package is installed, these are not its weights; where it is not, that is said.
    with pytest.raises(FewviewError, match=r"da3-small network|depth-anything-3"):
        load_provider(folder)


def test_a_run_remembers_its_weights(tmp_path: Path) -> None:
    weights = tmp_path / "weights.pth"
    config = ReconstructConfig(stereo=weights)
    with open_run("photographs", tmp_path / "run", config, resume=False, command="reconstruct") as (run, _):
        assert run.config()["options"]["stereo"] == str(weights)
    with open_run("photographs", tmp_path / "run", ReconstructConfig(), resume=True, command="reconstruct") as (
        _,
        kept,
    ):
        assert kept.stereo == weights
    other = ReconstructConfig(stereo=tmp_path / "others.pth")
    with (
        pytest.raises(BadInputError, match="was begun with --stereo"),
        open_run("photographs", tmp_path / "run", other, resume=True, command="reconstruct"),
    ):
        pass
