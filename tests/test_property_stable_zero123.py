"""The adapter to Stable Zero123, on a tiny pipeline of its architecture with random weights."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from fewview.recon.evidence.stable_zero123 import StableZero123
from fewview.scene.errors import BadInputError, FewviewError
from safetensors.torch import load_file, save_file
from support.bending_bar import films
from support.tiny_zero123 import tiny_zero123
from torch import Tensor

CENTER, UP = torch.zeros(3), torch.tensor([0.0, 0.0, 1.0])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_zero123(tmp_path_factory.mktemp("zero123"))


@pytest.fixture
def own(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "own"))


def asked(prior: Any, image: Tensor, photograph: float = 0.3, azimuth: float = 40.0) -> Tensor:
    cameras = films().cameras_around([0.0, azimuth], 8, 4.0)
    photographs = torch.full((1, 8, 8, 3), photograph)
    found: Tensor = prior.gradient(image, cameras[1], photographs, cameras[:1], 0.4, time_s=0.0)
    return found


def test_property_gradients_reach_the_picture_and_know_frame_and_view(folder: Path) -> None:
    prior = StableZero123.load(folder).prior(CENTER, UP)
    image = torch.rand(8, 8, 3, generator=torch.Generator().manual_seed(1))
    found = asked(prior, image)
    assert prior.side == 16
    assert found.shape == image.shape
    assert float(found.abs().max()) > 0
    assert torch.equal(found, asked(prior, image))
    assert not torch.equal(found, asked(prior, image, photograph=0.6))
    assert not torch.equal(found, asked(prior, image, azimuth=80.0))


def test_reference_parts_are_the_packages_own(folder: Path) -> None:
    """Encoder, condition and denoiser against the packages' networks, read and called as their users do."""
    import diffusers
    import transformers

    model = StableZero123.load(folder)
    vae = diffusers.AutoencoderKL.from_pretrained(folder / "vae")
    clip = transformers.CLIPVisionModelWithProjection.from_pretrained(folder / "image_encoder")
    unet = diffusers.UNet2DConditionModel.from_pretrained(folder / "unet")
    photograph, view = torch.rand(16, 16, 3), torch.tensor([0.1, 0.2, 0.3, 1.5])
    square = photograph.permute(2, 0, 1)[None]
    with torch.no_grad():
        latent = vae.encode(2 * square - 1).latent_dist.mode()
        torch.testing.assert_close(model.encode(2 * square - 1), 0.2 * latent)
        mean, std = (torch.tensor(v)[:, None, None] for v in (
            (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)))  # fmt: skip
        meaning = clip(pixel_values=(square - mean) / std).image_embeds
        layer = load_file(folder / "clip_camera_projection" / "diffusion_pytorch_model.safetensors")
        token = torch.cat([meaning, view[None]], dim=1) @ layer["proj.weight"].T + layer["proj.bias"]
        found = model.condition(photograph, view)
        torch.testing.assert_close(found[0], token[:, None])
        torch.testing.assert_close(found[1], latent)
        noisy = torch.randn(1, 4, 8, 8)
        expected = unet(torch.cat([noisy, latent], dim=1), 500, encoder_hidden_states=token[:, None]).sample
        torch.testing.assert_close(model.denoise(noisy, 500, found), expected)
        zeros = unet(torch.cat([noisy, 0 * latent], dim=1), 500, encoder_hidden_states=0 * token[:, None]).sample
        torch.testing.assert_close(model.denoise(noisy, 500, None), zeros)


def test_malformed_folders_are_refused(own: Path, tmp_path: Path) -> None:
    def refused(expected: str) -> None:
        with pytest.raises(BadInputError, match=expected) as found:
            StableZero123.load(own)
        assert "\n" not in str(found.value)

    config = own / "unet" / "config.json"
    text = config.read_text()
    config.write_text(json.dumps(json.loads(text) | {"in_channels": 4}))
    refused("another model: its unet takes 4 channels")
    config.write_text(json.dumps(json.loads(text) | {"block_out_channels": [8, 1 << 20]}))
    refused("is not a network of Stable Zero123|describes no network")
    config.write_text("[1")
    refused("cannot be read")
    config.write_text(text)
    weights = own / "vae" / "diffusion_pytorch_model.safetensors"
    state = load_file(weights)
    save_file({name: tensor for name, tensor in state.items() if "encoder.conv_in" not in name}, weights)
    refused("it lacks 'encoder.conv_in.bias'")
    weights.unlink()
    (own / "vae" / "diffusion_pytorch_model.bin").write_bytes(pickle.dumps({"a": 1}))
    refused("diffusion_pytorch_model.bin is a Python pickle, which could run code and is not read")
    weights.write_bytes(pickle.dumps({"a": 1}))
    refused("bare Python pickle")
    save_file(state, weights)
    shutil.rmtree(own / "clip_camera_projection")
    refused("has no clip_camera_projection")
    own = tmp_path / "nowhere"
    refused("is no folder")


def test_malformed_without_the_packages_it_says_what_to_install(tmp_path: Path, monkeypatch: Any) -> None:
    for name, content in {
        "unet": {"in_channels": 8, "out_channels": 4}, "vae": {"latent_channels": 4}, "image_encoder": {},
    }.items():  # fmt: skip
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps(content))
    monkeypatch.setitem(__import__("sys").modules, "diffusers", None)
    with pytest.raises(FewviewError, match=r"pip install 'fewview\[diffusion\]'"):
        StableZero123.load(tmp_path)
