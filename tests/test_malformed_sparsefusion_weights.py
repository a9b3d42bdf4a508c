"""Files that are no SparseFusion weights: one sentence each, and nothing in them runs."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from fewview.detect.sparsefusion.model import SparseFusionModel
from fewview.detect.sparsefusion.released_weights import convert_released
from fewview.detect.sparsefusion.start_weights import start_from
from fewview.detect.sparsefusion.weight_files import empty_model, load_model, save_weights
from fewview.scene.errors import BadInputError
from support.detection import SMALLEST
from support.released_sparsefusion import released_state
from support.threads import one_torch_thread as one_torch_thread

SMALL = replace(SMALLEST, image_backbone="resnet50", image_frozen=True)


def refused(path: Path, pattern: str) -> None:
    with pytest.raises(BadInputError, match=pattern) as error:
        load_model(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


class RunsCode:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch '{self.mark}'",)


def test_a_pickle_that_runs_code_is_refused(tmp_path: Path):
    mark = tmp_path / "ran"
    path = tmp_path / "evil.pth"
    torch.save({"state_dict": {"a": torch.zeros(1)}, "meta": RunsCode(mark)}, path)
    refused(path, "could run code")
    assert not mark.exists()


def test_another_networks_file_is_named(tmp_path: Path):
    path = tmp_path / "resnet.pth"
    torch.save({"state_dict": {"conv1.weight": torch.zeros(64, 3, 7, 7), "fc.bias": torch.zeros(10)}}, path)
    refused(
        path, r"not a released SparseFusion checkpoint with ResNet-50: it lacks 'img_backbone.*it has 'conv1.weight'"
    )
    (tmp_path / "text.pth").write_text("hello")
    refused(tmp_path / "text.pth", "not a file of weights")
    refused(tmp_path / "nothing.pth", "cannot be read")


@pytest.fixture(scope="module")
def model() -> SparseFusionModel:
    return empty_model(SMALL)


def _changed(change) -> dict[str, torch.Tensor]:
    state = released_state(SMALL)
    change(state)
    return state


KERNEL = "pts_middle_encoder.conv_input.0.weight"
LINEAR = "pts_bbox_head.heatmap_pts_proj.0.weight"


@pytest.mark.parametrize(
    ("change", "pattern"),
    [
        (lambda s: s.pop(LINEAR), f"lacks '{LINEAR}'"),
        (lambda s: s.update(extra=torch.zeros(1)), "has 'extra'"),
        (lambda s: s.update({LINEAR: torch.zeros(3, 3)}), "has shape"),
        (lambda s: s.update({LINEAR: torch.full_like(s[LINEAR], torch.nan)}), "not finite"),
        (lambda s: s.update({LINEAR: s[LINEAR].int()}), "expected torch.float32"),
        (lambda s: s.update({KERNEL: torch.zeros(2, 2, 2, 5, 4)}), f"'{KERNEL}' does not fit"),
    ],
)
def test_a_damaged_released_state_is_named(model: SparseFusionModel, change, pattern: str):
    with pytest.raises(BadInputError, match=pattern):
        convert_released(_changed(change), model, Path("released.pth"))


@pytest.mark.parametrize(
    ("change", "pattern"),
    [
        ({"hidden_channels": "many"}, "hidden_channels"),
        ({"no_such_field": 1}, "no_such_field"),
        ({"attention_heads": 7}, "cannot be shared"),
        ({"hidden_channels": 32}, "has shape"),
        ({"voxel_m": [0, 0, 0]}, "cannot be used"),
    ],
)
def test_our_own_file_with_another_config_is_refused(tmp_path: Path, change: dict, pattern: str):
    path = tmp_path / "weights.safetensors"
    network = SparseFusionModel(replace(SMALLEST, use_images=False))
    save_weights(path, network)
    config = {**json.loads(json.dumps(asdict(network.config))), **change}
    safetensors.torch.save_file(dict(network.state_dict()), path, {"sparsefusion_config": json.dumps(config)})
    refused(path, pattern)


def test_a_cut_file_and_one_that_shares_nothing(tmp_path: Path):
    path = tmp_path / "weights.safetensors"
    save_weights(path, SparseFusionModel(replace(SMALLEST, use_images=False)))
    camera = SparseFusionModel(replace(SMALLEST, use_lidar=False))
    with pytest.raises(BadInputError, match="no part in common"):
        start_from(camera, path)
    wider = SparseFusionModel(replace(SMALLEST, encoder_channels=(8, 6, 8)))
    with pytest.raises(BadInputError, match=r"weights for this --preset: .* has shape"):
        start_from(wider, path)
    path.write_bytes(path.read_bytes()[:-100])
    refused(path, "damaged|cut off")
