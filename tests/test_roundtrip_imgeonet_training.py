"""Training of ImGeoNet: stopping and going on, several processes, and weights in files."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch
from fewview.detect.detector_registry import load_detector, new_detector
from fewview.detect.imgeonet.imgeonet_detector import ImGeoNetDetector
from fewview.detect.imgeonet.imgeonet_weights import load_imgeonet, save_imgeonet, start_backbone
from fewview.detect.imgeonet.model import ImGeoNet
from fewview.detect.training import DetectorTraining
from fewview.learn import TrainRun, fit
from fewview.learn.efficientnet_lite0 import EfficientNetLite0
from fewview.scene.errors import BadInputError
from support.rooms import SMALLEST_ROOMS, MadeRooms, small_config
from support.threads import one_torch_thread as one_torch_thread
from support.two_processes import assert_two_processes_agree
from torchvision.models import resnet50


def trained(run: TrainRun, **changes) -> ImGeoNet:
    torch.manual_seed(0)
    config = small_config(**changes)
    network = ImGeoNet(config)
    fit(network, DetectorTraining(ImGeoNetDetector(network), MadeRooms(4, config.classes), 3), run)
    return network


@pytest.mark.parametrize("changes", [{}, {"geometry": False}, {"yaw": True}], ids=["whole", "no geometry", "yaw"])
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(tmp_path: Path, changes):
    start = trained(TrainRun(stop_after=0), **changes).state_dict()
    whole = trained(TrainRun(), **changes).state_dict()
    trained(TrainRun(tmp_path, stop_after=3), **changes)
    resumed = trained(TrainRun(tmp_path, resume=True), **changes).state_dict()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    changed = {name for name in whole if not torch.equal(start[name], whole[name])}
    parts = ("pyramid.backbone.", "pyramid.smooth.", "neck.", "head.")
    for part in (*parts, *(("occupancy.",) if changes.get("geometry", True) else ())):
        assert any(name.startswith(part) for name in changed), part


def test_another_seed_or_setting_is_not_resumed(tmp_path: Path):
    trained(TrainRun(tmp_path, stop_after=1))
    with pytest.raises(BadInputError, match="occupancy_loss_weight"):
        trained(TrainRun(tmp_path, resume=True), occupancy_loss_weight=1.0)


def one_epoch() -> DetectorTraining:
    network = ImGeoNet(small_config(epochs=1))
    return DetectorTraining(ImGeoNetDetector(network), MadeRooms(8), 3)


def test_two_processes_end_with_the_same_weights(tmp_path: Path):
    assert_two_processes_agree(tmp_path, one_epoch)


def test_weights_come_back_with_their_config(tmp_path: Path):
    torch.manual_seed(0)
    network = ImGeoNet(SMALLEST_ROOMS)
    save_imgeonet(tmp_path / "weights.safetensors", network)
    again = load_imgeonet(tmp_path)
    assert again.config == network.config
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in network.state_dict().items())
    assert load_detector("imgeonet", tmp_path).task.classes == SMALLEST_ROOMS.classes
    assert new_detector("imgeonet", "tiny").config.image_backbone == "efficientnet-lite0"


def test_the_backbone_starts_from_a_file(tmp_path: Path):
    torch.manual_seed(1)
    source = resnet50(weights=None)
    path = tmp_path / "resnet50.safetensors"
    safetensors.torch.save_file(source.state_dict(), path)
    network = ImGeoNet(small_config(image_backbone="resnet50", image_frozen="stem"))
    assert str(path) in start_backbone(network, path)
    assert torch.equal(network.pyramid.backbone.layer3[2].conv1.weight, source.layer3[2].conv1.weight)
    lite = EfficientNetLite0((4, 8, 16, 32))
    underscored = {name.replace("conv_stem", "_conv_stem"): t for name, t in lite.state_dict().items()}
    safetensors.torch.save_file(underscored, tmp_path / "lite0.safetensors")
    network = ImGeoNet(small_config(image_backbone="efficientnet-lite0", image_frozen="all"))
    start_backbone(network, tmp_path / "lite0.safetensors")
    assert torch.equal(network.pyramid.backbone.conv_stem.weight, lite.conv_stem.weight)
    with pytest.raises(BadInputError, match="is not ImageNet weights of efficientnet-lite0"):
        start_backbone(network, path)


def test_a_frozen_backbone_without_weights_is_one_sentence():
    network = ImGeoNet(small_config(image_backbone="resnet50", image_frozen="stem"))
    with pytest.raises(BadInputError, match="add --start with a file"):
        start_backbone(network, None)
    assert "random weights" in start_backbone(ImGeoNet(SMALLEST_ROOMS), None)
