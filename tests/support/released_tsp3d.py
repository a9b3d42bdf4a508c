"""TSP3D's released layout, written down from its description: names and shapes of every tensor."""

from __future__ import annotations

import torch
from fewview.detect.tsp3d.config import TSP3DConfig
from torch import Tensor

State = dict[str, Tensor]


def released_layout(c: TSP3DConfig, text_channels: int) -> State:
    """Random tensors under the names of a released checkpoint of the config's sizes, `module.` before each."""
    torch.manual_seed(7)
    s: State = {}
    d = c.channels
    _kernel(s, "vision_backbone.conv1", 27, 6, c.stem_channels)
    _norm(s, "vision_backbone.norm1.bn", c.stem_channels)
    width = c.stem_channels
    for stage, (count, channels) in enumerate(zip(c.blocks, c.stage_channels, strict=True), start=1):
        for block in range(count):
            at = f"vision_backbone.layer{stage}.{block}"
            _kernel(s, f"{at}.conv1", 27, width if block == 0 else channels, channels)
            _norm(s, f"{at}.norm1.bn", channels)
            _kernel(s, f"{at}.conv2", 27, channels, channels)
            _norm(s, f"{at}.norm2.bn", channels)
            if block == 0:
                _kernel(s, f"{at}.downsample.0", 1, width, channels)  # stride 2: (1, Cin, Cout)
                _norm(s, f"{at}.downsample.1.bn", channels)
        width = channels
    _linear(s, "text_projector.0", text_channels, d)
    _affine(s, "text_projector.1", d)
    s["text_encoder.embeddings.word_embeddings.weight"] = torch.randn(5, text_channels)
    head = "head.pos_embed.position_embedding_head"
    s[f"{head}.0.weight"], s[f"{head}.0.bias"] = torch.randn(d, 3, 1), torch.randn(d)
    _norm(s, f"{head}.1", d)
    s[f"{head}.3.weight"], s[f"{head}.3.bias"] = torch.randn(d, d, 1), torch.randn(d)
    for part in ("keep_trans.0", "keep_trans.1", "com_trans"):
        for layer in range(c.attention_layers):
            _layer(s, f"head.{part}.layers.{layer}", d, c.ffn_channels)
    s["head.com_cls.weight"], s["head.com_cls.bias"] = torch.randn(1, d, 1), torch.randn(1)
    for name, out in (("keep_conv.0", 1), ("keep_conv.1", 1), ("bbox_conv", 6), ("cls_conv", 1)):
        s[f"head.{name}.kernel"], s[f"head.{name}.bias"] = torch.randn(d, out), torch.randn(1, out)
    for name in ("up_block_1", "up_block_2", "lateral_block_0", "lateral_block_1", "lateral_block_2", "out_block_0"):
        _kernel(s, f"head.{name}.0", 27, d, d)
        _norm(s, f"head.{name}.1.bn", d)
    s["head.fuse.conv.kernel"] = torch.randn(2 * d, d)
    _norm(s, "head.fuse.norm.bn", d)
    return {f"module.{name}": tensor for name, tensor in s.items()}


def _layer(s: State, at: str, d: int, hidden: int) -> None:
    attentions = (
        ("self_attention_visual.self_attn", "self_attention_visual.norm1"),
        ("self_attention_lang.self_attn", "self_attention_lang.norm1"),
        ("cross_layer.cross_lv", "cross_layer.norm_lv"),
        ("cross_layer.cross_vl", "cross_layer.norm_vl"),
    )
    for attention, norm in attentions:
        s[f"{at}.{attention}.in_proj_weight"] = torch.randn(3 * d, d)
        s[f"{at}.{attention}.in_proj_bias"] = torch.randn(3 * d)
        _linear(s, f"{at}.{attention}.out_proj", d, d)
        _affine(s, f"{at}.{norm}", d)
    for side in ("lv", "vl"):
        _linear(s, f"{at}.cross_layer.ffn_{side}.0", d, hidden)
        _linear(s, f"{at}.cross_layer.ffn_{side}.3", hidden, d)
        _affine(s, f"{at}.cross_layer.norm_{side}2", d)


def _kernel(s: State, at: str, volume: int, inside: int, outside: int) -> None:
    s[f"{at}.kernel"] = torch.randn(volume, inside, outside)


def _linear(s: State, at: str, inside: int, outside: int) -> None:
    s[f"{at}.weight"], s[f"{at}.bias"] = torch.randn(outside, inside), torch.randn(outside)


def _affine(s: State, at: str, channels: int) -> None:
    s[f"{at}.weight"], s[f"{at}.bias"] = torch.randn(channels), torch.randn(channels)


def _norm(s: State, at: str, channels: int) -> None:
    _affine(s, at, channels)
    s[f"{at}.running_mean"], s[f"{at}.running_var"] = torch.randn(channels), torch.rand(channels)
    s[f"{at}.num_batches_tracked"] = torch.tensor(3)
