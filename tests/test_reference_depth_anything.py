"""Depth Anything 3: the adapter on a stand-in of the package's interface, and on the package where it is installed."""

from __future__ import annotations

import importlib.util
import json
import sys
import types
from pathlib import Path

import pytest
import safetensors.torch
import torch
from fewview.recon.evidence.depth_maps import MAX_CONFIDENCE
from fewview.recon.poses.pointmaps.depth_anything import DepthAnything3
from fewview.scene.errors import BadInputError, FewviewError
from support.pointmap_networks import random_photo
from torch import Tensor, nn

PACKAGE = importlib.util.find_spec("depth_anything_3") is not None


class StandIn(nn.Module):
    """Takes and gives what the package's networks do, but computes nothing of theirs."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.head = nn.ModuleList([nn.Linear(2, 2, bias=False)] * 3)  # shared, as layers of the real head are
        self.inputs: list[Tensor] = []

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        print("the package reports its progress")
        self.inputs.append(images)
        _, count, _, height, width = images.shape
        rows = torch.arange(height).float()[:, None].expand(height, width)
        w2c = torch.eye(4)[:3].repeat(1, count, 1, 1)
        w2c[0, :, 0, 3] = torch.arange(count)
        K = torch.tensor([[400.0, 0, width / 2], [0, 401.0, height / 2], [0, 0, 1]]).repeat(1, count, 1, 1)
        depth = (self.scale + rows / height).repeat(1, count, 1, 1)
        return {"depth": depth, "depth_conf": 1 + rows.repeat(1, count, 1, 1), "extrinsics": w2c, "intrinsics": K}


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    package = types.ModuleType("depth_anything_3")
    cfg, registry = types.ModuleType("depth_anything_3.cfg"), types.ModuleType("depth_anything_3.registry")
    cfg.load_config = lambda path: path
    cfg.create_object = lambda config: StandIn()
    registry.MODEL_REGISTRY = {"da3-small": "small.yaml"}
    for module in (package, cfg, registry):
        monkeypatch.setitem(sys.modules, module.__name__, module)


def save_folder(folder: Path, network: nn.Module, model: str = "da3-small") -> Path:
    """Published folders hold the network as `model` inside another module, and its description beside it."""
    folder.mkdir()
    outer = nn.Module()
    outer.model = network
    safetensors.torch.save_model(outer, str(folder / "model.safetensors"))
    (folder / "config.json").write_text(json.dumps({"model_name": model, "config": {"__object__": {"path": "os"}}}))
    return folder


def test_the_network_sees_normalised_photographs_of_whole_patches(stand_in: None, tmp_path: Path) -> None:
    found = DepthAnything3.load(save_folder(tmp_path / "da3", StandIn()))
    grey = torch.full((600, 800, 3), 128, dtype=torch.uint8)
    found.predict([grey, grey])
    (images,) = found.network.inputs
    assert images.shape == (1, 2, 3, 378, 504)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    assert torch.allclose(images[0, 0, :, 7, 9], (128 / 255 - mean) / std)


@pytest.mark.parametrize("size", [(600, 800), (1000, 560), (90, 120)])
def test_predictions_become_cameras_and_maps(
    stand_in: None, tmp_path: Path, size: tuple[int, int], capsys: pytest.CaptureFixture[str]
) -> None:
    network = StandIn()
    with torch.no_grad():
        network.scale.fill_(3.0)
    path = save_folder(tmp_path / "da3", network) / "model.safetensors"
    state = torch.random.get_rng_state()
    stereo = DepthAnything3.load(path).predict([random_photo(*size, seed) for seed in range(3)])
    assert torch.equal(torch.random.get_rng_state(), state)
    assert capsys.readouterr().out == ""
    height, width = stereo.maps[0].depth.shape
    assert max(height, width) == 504
    assert (height % 14, width % 14) == (0, 0)
    assert abs(width / height - size[1] / size[0]) < 14 / min(height, width)
    assert torch.equal(stereo.cameras.cam_from_world[2, :3, 3], torch.tensor([2.0, 0, 0]))
    assert torch.equal(stereo.cameras.K[1], torch.tensor([[400.0, 0, width / 2], [0, 401.0, height / 2], [0, 0, 1]]))
    for depth_map in stereo.maps:
        assert torch.allclose(depth_map.depth[:, 0], 3 + torch.arange(height) / height)
        assert float(depth_map.confidence.min()) == 1
        assert float(depth_map.confidence.max()) == MAX_CONFIDENCE


def test_photographs_of_different_shapes_are_refused(stand_in: None, tmp_path: Path) -> None:
    found = DepthAnything3.load(save_folder(tmp_path / "da3", StandIn()))
    found.predict([random_photo(300, 400), random_photo(301, 401)])  # rounding is no difference
    with pytest.raises(BadInputError, match=r"different shapes \(width / height 0.750 to 1.333\)"):
        found.predict([random_photo(300, 400), random_photo(400, 300)])


def test_results_that_are_not_finite_are_told(stand_in: None, tmp_path: Path) -> None:
    network = StandIn()
    with torch.no_grad():
        network.scale.fill_(-1.0)
    found = DepthAnything3.load(save_folder(tmp_path / "da3", network))
    with pytest.raises(FewviewError, match="not finite, positive"):
        found.predict([random_photo(28, 28)])


def test_absent_weights_and_names_on_the_network_are_told(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no weights at depth-anything/DA3-LARGE, and Fewview downloads none"):
        DepthAnything3.load(Path("depth-anything/DA3-LARGE"))
    (tmp_path / "config.json").write_text('{"model_name": "da3-small"}')
    with pytest.raises(FewviewError, match=r"model\.safetensors cannot be read"):
        DepthAnything3.load(tmp_path)


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"config": {}}', "[" * 100_000])
def test_a_folder_that_does_not_name_its_model_is_told(tmp_path: Path, text: str | None) -> None:
    (tmp_path / "model.safetensors").write_bytes(safetensors.torch.save({"a": torch.ones(1)}))
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    with pytest.raises(BadInputError, match=r"config\.json cannot be read, or does not name its model"):
        DepthAnything3.load(tmp_path)


@pytest.mark.parametrize("model", ["da3metric-large", "../evil", 3, ["da3-small"]])
def test_models_without_cameras_and_names_of_anything_else_are_refused(tmp_path: Path, model: object) -> None:
    (tmp_path / "model.safetensors").write_bytes(safetensors.torch.save({"a": torch.ones(1)}))
    (tmp_path / "config.json").write_text(json.dumps({"model_name": model}))
    with pytest.raises(BadInputError, match="expected one of da3-small, "):
        DepthAnything3.load(tmp_path)


def test_weights_of_another_network_are_named(stand_in: None, tmp_path: Path) -> None:
    folder = save_folder(tmp_path / "da3", nn.Linear(2, 2))
    with pytest.raises(
        BadInputError, match=r"is not a da3-small network: it lacks 'head\.0\.weight' and 3 more and it has"
    ):
        DepthAnything3.load(folder)


@pytest.mark.skipif(PACKAGE, reason="the package depth-anything-3 is installed")
def test_an_absent_package_is_told(tmp_path: Path) -> None:
    with pytest.raises(FewviewError, match="pip install --no-deps depth-anything-3, then pip install omegaconf"):
        DepthAnything3.load(save_folder(tmp_path / "da3", StandIn()))


@pytest.mark.skipif(not PACKAGE, reason="the package depth-anything-3 is not installed")
def test_the_packages_smallest_network_with_random_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from depth_anything_3.cfg import create_object, load_config
    from depth_anything_3.registry import MODEL_REGISTRY

    torch.manual_seed(0)
    network = create_object(load_config(MODEL_REGISTRY["da3-small"]))
    with torch.no_grad():
        network.cam_dec.fc_fov[0].bias.fill_(1.0)  # untrained, its field of view would be zero
    monkeypatch.setattr("fewview.recon.poses.pointmaps.depth_anything.LONG_SIDE", 112)
    found = DepthAnything3.load(save_folder(tmp_path / "da3", network))
    photos = [random_photo(84, 112, seed) for seed in range(3)]
    stereo, again = found.predict(photos), found.predict(photos)
    assert [tuple(m.depth.shape) for m in stereo.maps] == [(84, 112)] * 3
    rotations = stereo.cameras.cam_from_world[:, :3, :3]
    assert torch.allclose(rotations @ rotations.mT, torch.eye(3).expand(3, 3, 3), atol=1e-5)  # single precision
    assert torch.equal(stereo.cameras.K[0, :2, 2], torch.tensor([56.0, 42.0]))
    for one, other in zip(stereo.maps, again.maps, strict=True):
        assert float(one.confidence.min()) > 1
        assert torch.equal(one.depth, other.depth)
    with torch.no_grad():
        photo = torch.stack([p.movedim(-1, 0) for p in photos])[None] / 255
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        direct = network.eval()((photo - mean[:, None, None]) / std[:, None, None])
    assert torch.allclose(stereo.maps[1].depth, direct["depth"][0, 1], atol=1e-5)  # the same sums in the same order
