"""Training starts from weights of parts: runs of ours, and the released layouts, with their tensors counted."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fewview.detect.sparsefusion.config import SparseFusionConfig
from fewview.detect.sparsefusion.model import SparseFusionModel
from fewview.detect.sparsefusion.start_weights import frozen_at_random, start_from
from fewview.detect.sparsefusion.weight_files import save_weights
from fewview.scene.errors import BadInputError
from support.command import assert_one_sentence, fewview
from support.detection import SMALLEST
from support.nuscenes_folder import write_nuscenes
from support.released_sparsefusion import (
    initial_state,
    mask_rcnn_state,
    released_state,
    resnet50_state,
    transfusion_l_state,
)
from support.threads import one_torch_thread as one_torch_thread
from torch import Tensor

R50 = replace(SMALLEST, image_backbone="resnet50", image_frozen=True, lidar_frozen=True, neck_channels=256)
SWIN = replace(R50, image_backbone="swin_t", image_frozen=False)
LIDAR_PARTS = ("LiDAR encoder", "BEV backbone", "BEV neck", "LiDAR decoder")
BATCH_NORM = 5  # weight, bias, mean, variance, counter
DECODER = 2 * 4 + 4 + 3 * 2 + 2 * (2 + BATCH_NORM + 2)  # two attentions, feed-forward, three norms, two position MLPs
HEADS = 6 * (1 + BATCH_NORM + 2)
SWIN_BLOCK = 2 + 2 + 4 + 2 + 4  # norm, bias table and index, qkv and proj, norm, feed-forward


def saved(folder: Path, state: dict[str, Tensor]) -> Path:
    path = folder / "weights.pth"
    torch.save({"meta": {"epoch": 20}, "state_dict": OrderedDict(state)}, path)
    return path


def model_of(config: SparseFusionConfig) -> SparseFusionModel:
    torch.manual_seed(6)
    return SparseFusionModel(config)


def lidar_counts(config: SparseFusionConfig) -> dict[str, int]:
    stages, layers = len(config.encoder_channels), 2 * (config.bev_layers + 1)
    convolutions = 1 + 4 * stages + (stages - 1) + 1
    return {
        "LiDAR encoder": convolutions * (1 + BATCH_NORM),
        "BEV backbone": layers * (1 + BATCH_NORM),
        "BEV neck": 2 * (1 + BATCH_NORM),
        "LiDAR decoder": 2 + 2 + DECODER + HEADS,
    }


IMAGE_COUNTS = {
    "resnet50": {"image backbone": 53 * (1 + BATCH_NORM), "image pyramid": 4 * 2 + 4 * 2},
    "swin_t": {"image backbone": 4 + 12 * SWIN_BLOCK + 3 * 3 + 4 * 2, "image pyramid": 4 * 2 + 4 * 2},
}


def test_every_part_of_the_lidar_starts_from_transfusion_l(tmp_path: Path):
    state, model = transfusion_l_state(R50), model_of(R50)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    started = start_from(model, saved(tmp_path, state))
    assert started.parts == lidar_counts(R50)
    assert started.left == {"pts_bbox_head.heatmap_head": 1 + BATCH_NORM + 2}  # the semantic transfer takes its place
    after = model.state_dict()
    head = "pts_bbox_head"
    pairs = {
        "lidar_branch.heads.rot.3.weight": f"{head}.prediction_heads.0.rot.1.weight",
        "lidar_branch.decoder.cross_attn.in_proj_bias": f"{head}.decoder.0.multihead_attn.in_proj_bias",
        "lidar_branch.decoder.key_position.3.bias": (f"{head}.decoder.0.cross_posembed.position_embedding_head.3.bias"),
        "lidar_branch.shared_conv.weight": f"{head}.shared_conv.weight",
    }
    for mine, theirs in pairs.items():
        assert torch.equal(after[mine].flatten(), state[theirs].flatten()), mine
    kernel = state["pts_middle_encoder.encoder_layers.encoder_layer1.2.0.weight"]  # of spconv 1
    assert after["encoder.stages.0.2.0.weight"][3, 0, 1, 2, 1] == kernel[0, 1, 2, 1, 3]
    others = {k for k in after if k not in started.names}
    assert all(torch.equal(after[k], before[k]) for k in others)
    assert frozen_at_random(model, started.names) == {"image backbone": 225_344}  # stem and first stage of ResNet-50


@pytest.mark.parametrize("config", [R50, SWIN], ids=["r50", "swin"])
def test_the_image_trunk_starts_from_a_mask_rcnn(tmp_path: Path, config: SparseFusionConfig):
    state, model = mask_rcnn_state(config.image_backbone), model_of(config)
    started = start_from(model, saved(tmp_path, state))
    assert started.parts == IMAGE_COUNTS[config.image_backbone]
    assert started.left == {"rpn_head": 2, "roi_head": 4}
    after = model.state_dict()
    assert torch.equal(after["image_trunk.neck.inner_blocks.3.0.weight"], state["neck.lateral_convs.3.conv.weight"])
    if config is SWIN:
        own = after["image_trunk.backbone.features.5.4.mlp.3.weight"]
        assert torch.equal(own, state["backbone.stages.2.blocks.4.ffn.layers.1.weight"])
    assert set(frozen_at_random(model, started.names)) == set(LIDAR_PARTS)


def test_the_image_backbone_starts_from_a_resnet_50_without_counters(tmp_path: Path):
    state, model = resnet50_state(), model_of(R50)
    started = start_from(model, saved(tmp_path, state))
    assert started.parts == {"image backbone": 53 * BATCH_NORM}
    assert started.left == {"fc": 2}
    assert torch.equal(
        model.state_dict()["image_trunk.backbone.layer4.2.bn3.running_var"], state["layer4.2.bn3.running_var"]
    )


@pytest.mark.parametrize("config", [R50, SWIN], ids=["r50", "swin"])
def test_initial_weights_leave_nothing_frozen_at_random(tmp_path: Path, config: SparseFusionConfig):
    model = model_of(config)
    started = start_from(model, saved(tmp_path, initial_state(config)))
    assert started.parts == lidar_counts(config) | IMAGE_COUNTS[config.image_backbone]
    assert frozen_at_random(model, started.names) == {}
    assert "image pyramid (16)" in started.line()


@pytest.mark.parametrize("config", [R50, SWIN], ids=["r50", "swin"])
def test_a_whole_released_checkpoint_starts_every_part(tmp_path: Path, config: SparseFusionConfig):
    model = model_of(config)
    started = start_from(model, saved(tmp_path, released_state(config)))
    assert started.names == set(model.state_dict())
    # The norms of attentions that are not there, the LiDAR's own heatmap, and the pyramid's fifth level.
    assert sum(started.left.values()) == 2 + 2 + (1 + BATCH_NORM + 2) + 2


def test_the_trunk_of_a_lidar_detector_of_ours(tmp_path: Path):
    torch.manual_seed(4)
    lidar = SparseFusionModel(replace(SMALLEST, use_images=False))
    save_weights(tmp_path / "weights.safetensors", lidar)
    whole = model_of(replace(SMALLEST, lidar_frozen=True))
    before = {k: v.clone() for k, v in whole.state_dict().items()}
    started = start_from(whole, tmp_path)
    assert set(started.parts) == set(LIDAR_PARTS)
    assert frozen_at_random(whole, started.names) == {}
    assert sum(frozen_at_random(whole, ()).values()) == sum(
        p.numel() for n, p in lidar.named_parameters() if not n.startswith("lidar_heatmap")
    )
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, lidar.state_dict().get(name, before[name])), name


def test_weights_of_ours_keep_the_order_of_their_channels(tmp_path: Path):
    given = model_of(replace(SWIN, use_lidar=False))
    save_weights(tmp_path / "weights.safetensors", given)
    torch.manual_seed(7)
    model = SparseFusionModel(SWIN)
    start_from(model, tmp_path)
    name = "image_trunk.backbone.features.2.reduction.weight"
    assert torch.equal(model.state_dict()[name], given.state_dict()[name])


def test_half_a_part_is_refused(tmp_path: Path):
    state = transfusion_l_state(R50)
    del state["pts_bbox_head.class_encoding.bias"]
    with pytest.raises(BadInputError, match=r"of the LiDAR decoder .* lacks 'pts_bbox_head.class_encoding.bias'"):
        start_from(model_of(R50), saved(tmp_path, state))


def test_the_paper_does_not_train_on_parts_that_nothing_gave(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    root = write_nuscenes(tmp_path / "data").root
    train = ("detect", "train", root, "--preset", "paper", "-o", tmp_path / "run", "--device", "cpu", "--quiet")
    words = (
        "--preset paper does not train these parts",
        "LiDAR encoder",
        "image backbone (225,344 numbers)",
        "--start",
    )
    assert_one_sentence(fewview(capsys, *train), 2, *words)
    outcome = fewview(capsys, *train, "--start", saved(tmp_path, resnet50_state()))
    assert_one_sentence(outcome, 2, "LiDAR encoder")
    assert "image backbone (" not in outcome.err
