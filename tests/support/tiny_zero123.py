"""A pipeline folder of the architecture of Stable Zero123, tiny and with random weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

WIDTH = 24  # of the token


def tiny_zero123(path: Path) -> Path:
    """The folder, filled; skips the test where the packages that make one are not installed."""
    diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed")
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    torch.manual_seed(0)
    unet = diffusers.UNet2DConditionModel(
        sample_size=8, in_channels=8, out_channels=4, block_out_channels=(8, 16), layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=WIDTH, attention_head_dim=4, norm_num_groups=4,
    )  # fmt: skip
    vae = diffusers.AutoencoderKL(
        block_out_channels=(8, 8), down_block_types=("DownEncoderBlock2D",) * 2, sample_size=16,
        up_block_types=("UpDecoderBlock2D",) * 2, latent_channels=4, norm_num_groups=4, scaling_factor=0.2,
    )  # fmt: skip
    config = transformers.CLIPVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=16, patch_size=8,
        projection_dim=WIDTH,
    )  # fmt: skip
    unet.save_pretrained(path / "unet")
    vae.save_pretrained(path / "vae")
    transformers.CLIPVisionModelWithProjection(config).save_pretrained(path / "image_encoder")
    (path / "clip_camera_projection").mkdir()
    layer = {"proj.weight": 0.1 * torch.randn(WIDTH, WIDTH + 4), "proj.bias": torch.zeros(WIDTH)}
    save_file(layer, path / "clip_camera_projection" / "diffusion_pytorch_model.safetensors")
    return path
