"""ADen's weights: what is written is read again, and what is not whole or not ours is refused with a sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch
from fewview.learn.bundled_weights import named_by_word
from fewview.recon.poses.networks.aden.aden_weights import load_aden, save_aden
from fewview.recon.poses.networks.aden.config import AdenConfig
from fewview.recon.poses.networks.aden.image_encoder import ImageEncoder, read_backbone
from fewview.recon.poses.networks.aden.model import Aden
from fewview.scene.errors import BadInputError

CONFIG = AdenConfig(grid=2, look=2, hidden=8, fused=8, heads=2, hypotheses=5)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ImageEncoder, Aden]:
    path = tmp_path_factory.mktemp("weights") / "aden.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder, network = ImageEncoder("efficientnet-lite0"), Aden(CONFIG, 344)
    save_aden(path, encoder, network)
    return path, encoder, network


def test_weights_are_read_as_they_were_written(written: tuple[Path, ImageEncoder, Aden]) -> None:
    path, encoder, network = written
    again_encoder, again = load_aden(path)
    assert again.config == CONFIG
    for ours, theirs in ((encoder, again_encoder), (network, again)):
        for name, tensor in ours.state_dict().items():
            # Matrices are kept in float16: 11 bits, and 6e-8 where a number is nearly nothing.
            assert torch.allclose(theirs.state_dict()[name].float(), tensor.float(), rtol=2**-11, atol=6e-8), name
    assert not any(p.requires_grad for p in again.parameters())


@pytest.mark.parametrize("may_be_folder", [False, True])
def test_the_word_for_the_bundled_weights_gives_way_to_what_may_be_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, may_be_folder: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    word, bundled = Path("aden"), Path("elsewhere") / "aden.safetensors"

    def named(given: Path) -> Path:
        return named_by_word(given, word, bundled, may_be_folder=may_be_folder)

    assert named(word) == bundled
    word.mkdir()
    assert named(word) == (word if may_be_folder else bundled)
    word.rmdir()
    word.write_bytes(b"weights of one's own")
    assert named(word) == word
    assert named(tmp_path) == tmp_path


def test_the_encoder_gives_a_grid_of_three_scales(written: tuple[Path, ImageEncoder, Aden]) -> None:
    _, encoder, _ = written
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert encoder(images, 4).shape == (2, 16, 344)
    assert encoder(images, 1).shape == (2, 1, 344)
    assert not encoder.train().training  # the statistics of its norms are ImageNet's for good


def test_the_published_design_has_one_token_for_each_photograph() -> None:
    with torch.device("meta"):
        network = Aden(AdenConfig.paper(), 3584)
    assert network.fusion.grid == 1
    assert network.config.hypotheses == 500
    assert AdenConfig.from_dict(AdenConfig.paper().as_dict()) == AdenConfig.paper()


def test_backbone_weights_are_read_under_the_names_of_their_package(
    tmp_path: Path, written: tuple[Path, ImageEncoder, Aden]
) -> None:
    _, encoder, _ = written
    state = {f"_{k}": v for k, v in encoder.trunk.state_dict().items()}
    state = {_underscored(name): tensor for name, tensor in state.items()}
    state["_fc.weight"] = torch.zeros(3, 3)
    state["_blocks.15._bn0.bias"] = torch.zeros(3)
    path = tmp_path / "lite0.safetensors"
    safetensors.torch.save_file(state, path)
    again = read_backbone(path, "efficientnet-lite0")
    assert torch.equal(again.trunk.conv_stem.weight, encoder.trunk.conv_stem.weight)
    del state["_conv_stem.weight"]
    safetensors.torch.save_file(state, path)
    with pytest.raises(BadInputError, match=r"lacks 'conv_stem\.weight'"):
        read_backbone(path, "efficientnet-lite0")


def _underscored(name: str) -> str:
    """`_blocks.0.bn0.bias` as the package writes it, `_blocks.0._bn0.bias`."""
    parts = name.split(".")
    return ".".join([*parts[:2], f"_{parts[2]}", *parts[3:]]) if parts[0] == "_blocks" else name


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({}, "settings cannot be read"),
        ({"aden_settings": "{"}, "settings cannot be read"),
        ({"aden_settings": json.dumps({**CONFIG.as_dict(), "look": 0})}, "expected sizes"),
        ({"aden_settings": json.dumps({**CONFIG.as_dict(), "fused": 9})}, "the heads divide"),
        ({"aden_settings": json.dumps({**CONFIG.as_dict(), "backbone": "vgg"})}, "expected the backbone"),
        ({"aden_settings": json.dumps({**CONFIG.as_dict(), "more": 1})}, "expected the settings"),
        ({"aden_settings": json.dumps({**CONFIG.as_dict(), "fused": 16})}, "has shape"),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    tmp_path: Path, written: tuple[Path, ImageEncoder, Aden], change: dict[str, str], sentence: str
) -> None:
    path = tmp_path / "other.safetensors"
    safetensors.torch.save_file(safetensors.torch.load_file(written[0]), path, change)
    with pytest.raises(BadInputError, match=sentence):
        load_aden(path)


def test_a_file_that_is_cut_off_or_missing_is_refused(tmp_path: Path, written: tuple[Path, ImageEncoder, Aden]) -> None:
    path = tmp_path / "cut.safetensors"
    path.write_bytes(written[0].read_bytes()[:-1000])
    with pytest.raises(BadInputError, match="damaged or cut off"):
        load_aden(path)
    with pytest.raises(BadInputError, match="cannot be read"):
        load_aden(tmp_path / "nothing.safetensors")
