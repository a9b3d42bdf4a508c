"""Names and shapes of released checkpoints, written down from their module trees, not from our network.

SparseFusion's own, and those that its training starts from: TransFusion-L, Mask R-CNN and ResNet-50.
"""

from __future__ import annotations

import torch
import torchvision
from fewview.detect.sparsefusion.config import SparseFusionConfig
from torch import Tensor

Shapes = dict[str, tuple[int, ...]]
BOX_HEADS = {"center": 2, "height": 1, "dim": 3, "rot": 2, "vel": 2, "heatmap": 10}
IMAGE_HEADS = {"center_2d": 2, "depth_2d": 1, "dim_2d": 3, "rot_2d": 2, "vel_2d": 2}


def released_state(config: SparseFusionConfig, spconv: int = 2, seed: int = 0) -> dict[str, Tensor]:
    """Random tensors under the released names; `spconv` 1 or 2 is the layout of the sparse kernels."""
    return _filled(_shapes(config, spconv), seed)


def transfusion_l_state(config: SparseFusionConfig, spconv: int = 1) -> dict[str, Tensor]:
    """TransFusion-L, whose only decoder has no `point_transformer` around it, and one head in a list of heads."""
    s: Shapes = {}
    _lidar_trunk(s, config, spconv)
    _lidar_head(s, config, "pts_bbox_head", "pts_bbox_head.decoder.0", "pts_bbox_head.prediction_heads.0")
    return _filled(s, 1)


def resnet50_state() -> dict[str, Tensor]:
    """torchvision's, classifier included, as files from before PyTorch 0.4.1 have it: without counters."""
    net = torchvision.models.resnet50(weights=None).state_dict()
    return _filled({k: tuple(v.shape) for k, v in net.items() if not k.endswith("num_batches_tracked")}, 2)


def mask_rcnn_state(backbone: str) -> dict[str, Tensor]:
    """MMDetection's Mask R-CNN on nuImages: a pyramid whose fifth level is a pooling, and heads of its own."""
    s: Shapes = {}
    _image_trunk(s, backbone, 256, "backbone", "neck", levels=4)
    _affine(s, "rpn_head.rpn_conv", (256, 256, 3, 3))
    _affine(s, "roi_head.bbox_head.fc_cls", (11, 1024))
    _affine(s, "roi_head.mask_head.conv_logits", (10, 256, 1, 1))
    return _filled(s, 3)


def initial_state(config: SparseFusionConfig) -> dict[str, Tensor]:
    """The released initial weights: the LiDAR's parts under SparseFusion's names, image backbone and pyramid."""
    s: Shapes = {}
    _lidar_trunk(s, config, 2)
    _image_trunk(s, config.image_backbone, config.neck_channels, "img_backbone", "img_neck", levels=4)
    transformer = "pts_bbox_head.point_transformer"
    _lidar_head(s, config, "pts_bbox_head", f"{transformer}.decoder.0", f"{transformer}.prediction_heads")
    return _filled(s, 4)


def _filled(shapes: Shapes, seed: int) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in shapes.items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(7)
        elif name.endswith("relative_position_index"):
            state[name] = _relative_positions()
        elif "backbone." in name and "downsample" not in name and len(shape) > 1:  # large; values that differ suffice
            state[name] = torch.full(shape, 0.01 * (1 + len(state) % 89))
        else:
            state[name] = torch.randn(shape, generator=g)
            if name.endswith("running_var"):
                state[name] = state[name].abs() + 0.1
    return state


def _relative_positions(window: int = 7) -> Tensor:
    """[49, 49]: each pair's offset as a number, by the definition in the Swin paper."""
    cells = [(i, j) for i in range(window) for j in range(window)]
    side = 2 * window - 1
    return torch.tensor([[(a - c + window - 1) * side + b - d + window - 1 for c, d in cells] for a, b in cells])


def _shapes(c: SparseFusionConfig, spconv: int) -> Shapes:
    s: Shapes = {}
    _lidar_trunk(s, c, spconv)
    _image_trunk(s, c.image_backbone, c.neck_channels, "img_backbone", "img_neck", levels=5)
    _head(s, c)
    return s


def _image_trunk(s: Shapes, kind: str, channels: int, backbone: str, neck: str, levels: int) -> None:
    """An MMDetection backbone and its `FPN`, of whose levels the last may be made by a convolution or by pooling."""
    if kind == "swin_t":
        _swin(s, backbone)
        widths = (96, 192, 384, 768)
    else:
        net = torchvision.models.resnet50(weights=None).state_dict()
        s |= {f"{backbone}.{k}": tuple(v.shape) for k, v in net.items() if not k.startswith("fc.")}
        widths = (256, 512, 1024, 2048)
    for i, width in enumerate(widths):
        _affine(s, f"{neck}.lateral_convs.{i}.conv", (channels, width, 1, 1))
    for i in range(levels):
        _affine(s, f"{neck}.fpn_convs.{i}.conv", (channels, channels, 3, 3))


def _affine(s: Shapes, name: str, shape: tuple[int, ...], bias: bool = True) -> None:
    s[f"{name}.weight"] = shape
    if bias:
        s[f"{name}.bias"] = shape[:1]


def _norm(s: Shapes, name: str, width: int) -> None:
    _affine(s, name, (width,))


def _batch_norm(s: Shapes, name: str, width: int) -> None:
    _norm(s, name, width)
    s |= {f"{name}.running_mean": (width,), f"{name}.running_var": (width,), f"{name}.num_batches_tracked": ()}


def _sparse(s: Shapes, name: str, out: int, kernel: tuple[int, int, int], inside: int, spconv: int) -> None:
    s[f"{name}.weight"] = (out, *kernel, inside) if spconv == 2 else (*kernel, inside, out)


def _lidar_trunk(s: Shapes, c: SparseFusionConfig, spconv: int) -> None:
    e, widths = "pts_middle_encoder", c.encoder_channels
    cube = (3, 3, 3)
    _sparse(s, f"{e}.conv_input.0", widths[0], cube, 5, spconv)
    _batch_norm(s, f"{e}.conv_input.1", widths[0])
    for i, width in enumerate(widths):
        layer = f"{e}.encoder_layers.encoder_layer{i + 1}"
        for block in (0, 1):
            for k in (1, 2):
                _sparse(s, f"{layer}.{block}.conv{k}", width, cube, width, spconv)
                _batch_norm(s, f"{layer}.{block}.bn{k}", width)
        if i + 1 < len(widths):
            _sparse(s, f"{layer}.2.0", widths[i + 1], cube, width, spconv)
            _batch_norm(s, f"{layer}.2.1", widths[i + 1])
    _sparse(s, f"{e}.conv_out.0", widths[-1], (3, 1, 1), widths[-1], spconv)
    _batch_norm(s, f"{e}.conv_out.1", widths[-1])
    before = 2 * widths[-1]
    for b, width in enumerate(c.bev_channels):
        for i in range(c.bev_layers + 1):
            _affine(s, f"pts_backbone.blocks.{b}.{3 * i}", (width, before, 3, 3), bias=False)
            _batch_norm(s, f"pts_backbone.blocks.{b}.{3 * i + 1}", width)
            before = width
    neck = c.bev_neck_channels
    s["pts_neck.deblocks.0.0.weight"] = (neck, c.bev_channels[0], 1, 1)
    s["pts_neck.deblocks.1.0.weight"] = (c.bev_channels[1], neck, 2, 2)
    for i in (0, 1):
        _batch_norm(s, f"pts_neck.deblocks.{i}.1", neck)


def _swin(s: Shapes, b: str) -> None:
    """MMDetection's `SwinTransformer`: stages of blocks, each with a `ShiftWindowMSA` (`attn`, whose only child with
    weights is the `WindowMSA` called `w_msa`) and an mmcv `FFN` (`layers` = [[linear, act, drop], linear, drop])."""
    _affine(s, f"{b}.patch_embed.projection", (96, 3, 4, 4))
    _norm(s, f"{b}.patch_embed.norm", 96)
    for i, (depth, heads) in enumerate(zip((2, 2, 6, 2), (3, 6, 12, 24), strict=True)):
        d = 96 * 2**i
        for j in range(depth):
            block = f"{b}.stages.{i}.blocks.{j}"
            _norm(s, f"{block}.norm1", d)
            s[f"{block}.attn.w_msa.relative_position_bias_table"] = (169, heads)
            s[f"{block}.attn.w_msa.relative_position_index"] = (49, 49)
            _affine(s, f"{block}.attn.w_msa.qkv", (3 * d, d))
            _affine(s, f"{block}.attn.w_msa.proj", (d, d))
            _norm(s, f"{block}.norm2", d)
            _affine(s, f"{block}.ffn.layers.0.0", (4 * d, d))
            _affine(s, f"{block}.ffn.layers.1", (d, 4 * d))
        if i < 3:
            _norm(s, f"{b}.stages.{i}.downsample.norm", 4 * d)
            _affine(s, f"{b}.stages.{i}.downsample.reduction", (2 * d, 4 * d), bias=False)
        _norm(s, f"{b}.norm{i}", d)


def _head(s: Shapes, c: SparseFusionConfig) -> None:
    h, d = "pts_bbox_head", c.hidden_channels
    s[f"{h}.level_pos"] = (4, d)
    _lidar_head(s, c, h, f"{h}.point_transformer.decoder.0", f"{h}.point_transformer.prediction_heads")
    _affine(s, f"{h}.img_class_encoding", (d, 10, 1))
    r = f"{h}.depth_resnet"
    _affine(s, f"{r}.conv_depth.0", (d, 2, 3, 3))
    _batch_norm(s, f"{r}.conv_depth.1", d)
    for i in range(4):
        for k in (1, 2):
            _affine(s, f"{r}.layers.{i}.0.conv{k}", (d, d, 3, 3), bias=False)
            _batch_norm(s, f"{r}.layers.{i}.0.bn{k}", d)
        if i:
            _affine(s, f"{r}.layers.{i}.0.downsample.0", (d, d, 1, 1))
            _batch_norm(s, f"{r}.layers.{i}.0.downsample.1", d)
        _affine(s, f"{r}.fuse_layers.{i}", (d, d + c.neck_channels, 3, 3))
        _affine(s, f"{h}.img_heatmap_head.{i}.0.module.0", (d, d, 3, 3))
        _norm(s, f"{h}.img_heatmap_head.{i}.0.module.1", d)
        _affine(s, f"{h}.img_heatmap_head.{i}.1", (10, d, 3, 3))
    _layer(s, f"{h}.img_transformer.decoder.0", c, 2, 2, deformable=True)
    p = f"{h}.img_transformer.prediction_heads"
    for name, out in IMAGE_HEADS.items():
        _affine(s, f"{p}.{name}.0", (c.head_channels, d))
        _affine(s, f"{p}.{name}.2", (c.head_channels, c.head_channels))
        _affine(s, f"{p}.{name}.4", (out, c.head_channels))
    _affine(s, f"{p}.cls.0", (c.head_channels, d), bias=False)
    _norm(s, f"{p}.cls.1", c.head_channels)
    _affine(s, f"{p}.cls.3", (10, c.head_channels))
    for name in ("heatmap_pts_proj", "heatmap_img_proj"):
        _affine(s, f"{h}.{name}.0", (d, d))
        _norm(s, f"{h}.{name}.1", d)
    _layer(s, f"{h}.cross_heatmap_decoder", c, 3, 2, deformable=True)
    _affine(s, f"{h}.reduce_conv.module.0", (d, d + 1, 3, 3))
    _norm(s, f"{h}.reduce_conv.module.1", d)
    _affine(s, f"{h}.cross_heatmap_head.0", (10, d, 3, 3))
    v = f"{h}.view_transformer"
    _batch_norm(s, f"{v}.camera_net.bn", 16)
    for i, inside in ((0, 16), (2, d), (4, d)):
        _affine(s, f"{v}.camera_net.mlp_depth.{i}", (d, inside, 1))
    _projection(s, f"{v}.view_projection", d)
    _layer(s, f"{v}.decoder", c, 9, 9, alone=True)
    _box_heads(s, f"{v}.prediction_heads", c, "_view")
    f = f"{h}.fusion_transformer"
    _projection(s, f"{f}.pts_projection", d)
    _projection(s, f"{f}.img_projection", d)
    _layer(s, f"{f}.decoder.0", c, 2, 2, norm=True, alone=True)
    _box_heads(s, f"{f}.prediction_heads", c, "")


def _lidar_head(s: Shapes, c: SparseFusionConfig, h: str, decoder: str, heads: str) -> None:
    d = c.hidden_channels
    _affine(s, f"{h}.shared_conv", (d, 2 * c.bev_neck_channels, 3, 3))
    _affine(s, f"{h}.heatmap_head.0.conv", (d, d, 3, 3), bias=False)
    _batch_norm(s, f"{h}.heatmap_head.0.bn", d)
    _affine(s, f"{h}.heatmap_head.1", (10, d, 3, 3))
    _affine(s, f"{h}.class_encoding", (d, 10, 1))
    _layer(s, decoder, c, 2, 2, norm=True)
    _box_heads(s, heads, c, "")


def _projection(s: Shapes, name: str, d: int) -> None:
    _affine(s, f"{name}.feat_proj", (d, d))
    _norm(s, f"{name}.norm", d)


def _attention(s: Shapes, name: str, d: int) -> None:
    s |= {f"{name}.in_proj_weight": (3 * d, d), f"{name}.in_proj_bias": (3 * d,)}
    _affine(s, f"{name}.out_proj", (d, d))


def _layer(
    s: Shapes,
    name: str,
    c: SparseFusionConfig,
    query: int,
    key: int,
    norm: bool = False,
    deformable: bool = False,
    alone: bool = False,
) -> None:
    """`alone`: without self-attention, whose norm is stored all the same."""
    d = c.hidden_channels
    if not alone:
        _attention(s, f"{name}.self_attn", d)
    if deformable:
        samples = c.attention_heads * 4 * 4
        _affine(s, f"{name}.multihead_attn.sampling_offsets", (2 * samples, d))
        _affine(s, f"{name}.multihead_attn.attention_weights", (samples, d))
        _affine(s, f"{name}.multihead_attn.value_proj", (d, d))
        _affine(s, f"{name}.multihead_attn.output_proj", (d, d))
    else:
        _attention(s, f"{name}.multihead_attn", d)
    _affine(s, f"{name}.linear1", (c.ffn_channels, d))
    _affine(s, f"{name}.linear2", (d, c.ffn_channels))
    for i in (1, 2, 3):
        _norm(s, f"{name}.norm{i}", d)
    for which, inputs in (("self", query), ("cross", key)):
        head = f"{name}.{which}_posembed.position_embedding_head"
        _affine(s, f"{head}.0", (d, inputs, 1))
        if norm:
            _batch_norm(s, f"{head}.1", d)
        _affine(s, f"{head}.{3 if norm else 2}", (d, d, 1))


def _box_heads(s: Shapes, name: str, c: SparseFusionConfig, ending: str) -> None:
    for part, out in BOX_HEADS.items():
        _affine(s, f"{name}.{part}{ending}.0.conv", (c.head_channels, c.hidden_channels, 1), bias=False)
        _batch_norm(s, f"{name}.{part}{ending}.0.bn", c.head_channels)
        _affine(s, f"{name}.{part}{ending}.1", (out, c.head_channels, 1))
