"""Weights from released checkpoints, and our own files of them."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fewview.detect.sparsefusion.config import preset
from fewview.detect.sparsefusion.model import SparseFusionModel
from fewview.detect.sparsefusion.released_weights import convert_released
from fewview.detect.sparsefusion.weight_files import empty_model, load_model, read_config, save_weights
from support.detection import SMALLEST, make_batch
from support.released_sparsefusion import released_state
from support.threads import one_torch_thread as one_torch_thread

SMALL = replace(SMALLEST, image_backbone="resnet50", image_frozen=True, lidar_frozen=True)


@pytest.mark.parametrize("spconv", [1, 2])
def test_every_tensor_of_a_released_checkpoint_finds_its_place(spconv: int):
    state = released_state(SMALL, spconv)
    model = empty_model(SMALL)
    model.load_state_dict(convert_released(state, model, Path("released.pth")), assign=True)
    kernel = state["pts_middle_encoder.encoder_layers.encoder_layer2.2.0.weight"]
    ours = model.state_dict()["encoder.stages.1.2.0.weight"]
    # One place of the kernel, from channel 3 to channel 5.
    assert ours[5, 0, 1, 2, 3] == (kernel[5, 0, 1, 2, 3] if spconv == 2 else kernel[0, 1, 2, 3, 5])
    pairs = {
        "lidar_branch.heads.rot.0.weight": "pts_bbox_head.point_transformer.prediction_heads.rot.0.conv.weight",
        "lidar_branch.heads.rot.1.running_var": "pts_bbox_head.point_transformer.prediction_heads.rot.0.bn.running_var",
        "view_transform.heads.dim.3.bias": "pts_bbox_head.view_transformer.prediction_heads.dim_view.1.bias",
        "camera_branch.heads.depth.2.weight": "pts_bbox_head.img_transformer.prediction_heads.depth_2d.2.weight",
        "fusion.decoder.key_position.3.bias": (
            "pts_bbox_head.fusion_transformer.decoder.0.cross_posembed.position_embedding_head.3.bias"
        ),
        "semantic_transfer.heatmap_head.bias": "pts_bbox_head.cross_heatmap_head.0.bias",
        "image_trunk.neck.layer_blocks.2.0.weight": "img_neck.fpn_convs.2.conv.weight",
        "image_trunk.backbone.layer3.4.conv2.weight": "img_backbone.layer3.4.conv2.weight",
    }
    for mine, theirs in pairs.items():
        assert torch.equal(model.state_dict()[mine].flatten(), state[theirs].flatten()), mine


def test_without_semantic_transfer_the_lidars_own_heatmap_is_taken_over():
    config = replace(SMALL, semantic_transfer=False)
    model = empty_model(config)
    kept = ("heatmap_pts_proj", "heatmap_img_proj", "cross_heatmap", "reduce_conv")
    state = {
        name: tensor
        for name, tensor in released_state(SMALL).items()
        if not name.removeprefix("pts_bbox_head.").startswith(kept)
    }
    converted = convert_released(state, model, Path("released.pth"))
    assert torch.equal(converted["lidar_heatmap.3.bias"], state["pts_bbox_head.heatmap_head.1.bias"])


@pytest.mark.parametrize("name", ["paper", "paper-swin"])
def test_a_released_file_loads_and_says_which_image_backbone_it_has(tmp_path: Path, name: str):
    state = released_state(preset(name))
    torch.save({"meta": {"epoch": 6, "iter": 100}, "state_dict": OrderedDict(state)}, tmp_path / "released.pth")
    model = load_model(tmp_path / "released.pth")
    assert model.config == preset(name)
    assert torch.equal(model.state_dict()["camera_branch.level_pos"], state["pts_bbox_head.level_pos"])
    frozen = {n for n, p in model.named_parameters() if not p.requires_grad}
    assert any(n.startswith("encoder.") for n in frozen)
    assert not any(n.startswith("fusion.") for n in frozen)


def test_our_own_weights_carry_their_config(tmp_path: Path):
    torch.manual_seed(3)
    model = SparseFusionModel(replace(SMALLEST, geometric_transfer=False)).eval()
    save_weights(tmp_path / "weights.safetensors", model)
    assert read_config(tmp_path / "weights.safetensors") == model.config
    again = load_model(tmp_path).eval()
    batch = make_batch(SMALLEST, (0,))
    with torch.no_grad():
        assert torch.equal(again(batch).fusion.codes, model(batch).fusion.codes)


def test_patches_are_merged_in_the_order_of_the_file():
    """MMDetection's patch merging, by its definition: `nn.Unfold` of 2 x 2 with stride 2, a norm, a linear layer."""
    torch.manual_seed(5)
    config = replace(SMALL, image_backbone="swin_t", image_frozen=False)
    state = released_state(config)
    model = empty_model(config)
    model.load_state_dict(convert_released(state, model, Path("released.pth")), assign=True)
    for stage, channels in enumerate((96, 192, 384)):
        x = torch.randn(2, 6, 4, channels)
        theirs = f"img_backbone.stages.{stage}.downsample"
        unfolded = torch.nn.functional.unfold(x.permute(0, 3, 1, 2), 2, stride=2).transpose(1, 2)  # [2, 6, 4 C]
        normed = torch.nn.functional.layer_norm(
            unfolded, (4 * channels,), state[f"{theirs}.norm.weight"], state[f"{theirs}.norm.bias"]
        )
        expected = normed @ state[f"{theirs}.reduction.weight"].T
        found = model.image_trunk.backbone.features[2 * stage + 2](x).flatten(1, 2)
        # Sums of 4 C products in another order; names alone give another layer altogether.
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
