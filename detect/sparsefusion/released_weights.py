"""The released checkpoints: the names of their tensors, and their conversion to ours.

Every tensor of a file has a place in the network or is one of the few that the released network stores and never
uses; anything else means that it is another network's file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from ...learn.foreign_weights import State, check_weights
from ...scene.errors import BadInputError
from ..sparse import SparseConv3d, SubMConv3d, converted_weight
from .config import SparseFusionConfig
from .model import SparseFusionModel

_HEAD = "pts_bbox_head."

# Our names to the released ones, the first that fits; each is a pattern for the beginning.
_PARTS = (
    (r"encoder\.stages\.(\d+)\.", lambda m: f"pts_middle_encoder.encoder_layers.encoder_layer{int(m[1]) + 1}."),
    (r"encoder\.", "pts_middle_encoder."),
    (r"bev_backbone\.", "pts_backbone."),
    (r"bev_neck\.", "pts_neck."),
    (r"lidar_heatmap\.0\.", _HEAD + "heatmap_head.0.conv."),
    (r"lidar_heatmap\.1\.", _HEAD + "heatmap_head.0.bn."),
    (r"lidar_heatmap\.3\.", _HEAD + "heatmap_head.1."),
    (r"lidar_branch\.decoder\.", _HEAD + "point_transformer.decoder.0."),
    (r"lidar_branch\.heads\.", _HEAD + "point_transformer.prediction_heads."),
    (r"lidar_branch\.", _HEAD),
    (r"image_trunk\.neck\.inner_blocks\.(\d)\.0\.", r"img_neck.lateral_convs.\1.conv."),
    (r"image_trunk\.neck\.layer_blocks\.(\d)\.0\.", r"img_neck.fpn_convs.\1.conv."),
    (r"image_trunk\.backbone\.norms\.", "img_backbone.norm"),
    (r"image_trunk\.backbone\.features\.0\.0\.", "img_backbone.patch_embed.projection."),
    (r"image_trunk\.backbone\.features\.0\.2\.", "img_backbone.patch_embed.norm."),
    (r"image_trunk\.backbone\.features\.([1357])\.", lambda m: f"img_backbone.stages.{int(m[1]) // 2}.blocks."),
    (r"image_trunk\.backbone\.features\.([246])\.", lambda m: f"img_backbone.stages.{int(m[1]) // 2 - 1}.downsample."),
    (r"image_trunk\.backbone\.", "img_backbone."),
    (r"geometric_transfer\.shared_conv_img\.", _HEAD + "shared_conv_img."),
    (r"geometric_transfer\.", _HEAD + "depth_resnet."),
    (r"camera_branch\.heatmap_heads\.(\d)\.([01])\.", _HEAD + r"img_heatmap_head.\1.0.module.\2."),
    (r"camera_branch\.heatmap_heads\.(\d)\.3\.", _HEAD + r"img_heatmap_head.\1.1."),
    (r"camera_branch\.class_encoding\.", _HEAD + "img_class_encoding."),
    (r"camera_branch\.decoder\.", _HEAD + "img_transformer.decoder.0."),
    (r"camera_branch\.heads\.cls\.", _HEAD + "img_transformer.prediction_heads.cls."),
    (r"camera_branch\.heads\.(\w+)\.", _HEAD + r"img_transformer.prediction_heads.\1_2d."),
    (r"camera_branch\.level_pos", _HEAD + "level_pos"),
    (r"semantic_transfer\.lidar_projection\.", _HEAD + "heatmap_pts_proj."),
    (r"semantic_transfer\.image_projection\.", _HEAD + "heatmap_img_proj."),
    (r"semantic_transfer\.decoder\.", _HEAD + "cross_heatmap_decoder."),
    (r"semantic_transfer\.reduce_conv\.", _HEAD + "reduce_conv.module."),
    (r"semantic_transfer\.heatmap_head\.", _HEAD + "cross_heatmap_head.0."),
    (r"view_transform\.camera_gate\.bn\.", _HEAD + "view_transformer.camera_net.bn."),
    (r"view_transform\.camera_gate\.mlp\.", _HEAD + "view_transformer.camera_net.mlp_depth."),
    (r"view_transform\.view_projection\.", _HEAD + "view_transformer.view_projection."),
    (r"view_transform\.heads\.(\w+)\.", _HEAD + r"view_transformer.prediction_heads.\1_view."),
    (r"view_transform\.", _HEAD + "view_transformer."),
    (r"fusion\.lidar_projection\.", _HEAD + "fusion_transformer.pts_projection."),
    (r"fusion\.image_projection\.", _HEAD + "fusion_transformer.img_projection."),
    (r"fusion\.decoder\.", _HEAD + "fusion_transformer.decoder.0."),
    (r"fusion\.heads\.", _HEAD + "fusion_transformer.prediction_heads."),
)
# Then, anywhere in the name that came out.
_INSIDE = (
    (r"\.cross_attn\.", ".multihead_attn."),
    (r"\.query_position\.", ".self_posembed.position_embedding_head."),
    (r"\.key_position\.", ".cross_posembed.position_embedding_head."),
    (r"((?:view|pts|img)_projection)\.0\.", r"\1.feat_proj."),
    (r"((?:view|pts|img)_projection)\.1\.", r"\1.norm."),
    # Box heads: convolution and batch norm are one module there. Those of the image stage are plain.
    (r"((?:point|view|fusion)_?transformer\w*\.prediction_heads\.\w+)\.0\.", r"\1.0.conv."),
    (r"((?:point|view|fusion)_?transformer\w*\.prediction_heads\.\w+)\.1\.", r"\1.0.bn."),
    (r"((?:point|view|fusion)_?transformer\w*\.prediction_heads\.\w+)\.3\.", r"\1.1."),
    # MMDetection's Swin: windows and feed-forward parts are modules of their own there.
    (r"(img_backbone\.stages\..*\.attn)\.", r"\1.w_msa."),
    (r"(img_backbone\.stages\..*)\.mlp\.0\.", r"\1.ffn.layers.0.0."),
    (r"(img_backbone\.stages\..*)\.mlp\.3\.", r"\1.ffn.layers.1."),
)
_PATCH_MERGING = re.compile(r"image_trunk\.backbone\.features\.[246]\.(reduction|norm)\.")  # of Swin
# Stored and never used: the norm before an attention that these layers do not have, the pyramid's fifth level.
_DEAD = (
    _HEAD + "view_transformer.decoder.norm1.",
    _HEAD + "fusion_transformer.decoder.0.norm1.",
    "img_neck.fpn_convs.4.conv.",
)
_DEAD_WITH_SEMANTICS = (_HEAD + "heatmap_head.",)  # the LiDAR's own heatmap, where the semantic transfer makes it


def released_name(name: str) -> str:
    """The name in a released checkpoint of a tensor of ours."""
    for pattern, their in _PARTS:
        new, count = re.subn("^" + pattern, their, name)  # type: ignore[arg-type]
        if count:
            name = new
            break
    else:
        raise ValueError(f"no released name is known for {name!r}")
    for pattern, their in _INSIDE:
        name = re.sub(pattern, their, name)
    return name


def convert_released(state: Mapping[str, Tensor], model: SparseFusionModel, path: Path) -> State:
    """The tensors of a released checkpoint under our names and in our shapes.

    Sparse kernels may be in the order of spconv 1.x or 2.x, which their shape tells. Raises BadInputError that names
    what is missing, left over or of another shape.
    """
    own = model.state_dict()
    theirs = {name: released_name(name) for name in own}
    dead = _DEAD + (_DEAD_WITH_SEMANTICS if model.config.transfers_semantics else ())
    left = [n for n in state if n not in set(theirs.values()) and not n.startswith(dead)]
    missing = [their for their in theirs.values() if their not in state]
    if left or missing:
        lacks = f"it lacks '{min(missing)}'{_more(missing)}" if missing else ""
        has = f"it has '{min(left)}'{_more(left)}" if left else ""
        raise BadInputError(
            f"{path} is not a released SparseFusion checkpoint with {_kind(model.config)}: "
            f"{' and '.join(filter(None, (lacks, has)))}. Give that file, or weights that `fewview detect train` "
            "wrote; files with parts of the network, such as an image backbone, are for `fewview detect train --start`."
        )
    converted = converted_tensors({name: state[their] for name, their in theirs.items()}, model, path)
    return check_weights(converted, model, path, "a released SparseFusion checkpoint")


def converted_tensors(given: Mapping[str, Tensor], model: SparseFusionModel, path: Path) -> State:
    """Tensors of other software under our names, in our shapes and our order of channels.

    Raises BadInputError for a sparse kernel that fits no layout; all else is left to `check_weights`.
    """
    kernels = {f"{n}.weight" for n, m in model.named_modules() if isinstance(m, (SubMConv3d, SparseConv3d))}
    own = model.state_dict()
    return {name: _shaped(tensor, own[name], name, name in kernels, path) for name, tensor in given.items()}


def _shaped(tensor: Tensor, own: Tensor, name: str, is_kernel: bool, path: Path) -> Tensor:
    if is_kernel:
        try:
            return converted_weight(tensor, own.shape)
        except BadInputError as error:
            raise BadInputError(f"{path}: '{released_name(name)}' does not fit. {error}") from error
    if tensor.ndim == own.ndim + 1 and tensor.shape[-1] == 1:
        return tensor[..., 0]  # convolutions over queries with a kernel of one are linear layers here
    if name.endswith("relative_position_index") and tensor.numel() == own.numel():
        return tensor.flatten()
    if _PATCH_MERGING.match(name) and tensor.shape == own.shape:
        return merged_patches(tensor)
    return tensor


def merged_patches(theirs: Tensor) -> Tensor:
    """A norm's [4 C] or a reduction's [D, 4 C] of MMDetection's patch merging in torchvision's order of the 4 C inputs.

    Both put four neighbours into one token. MMDetection unfolds: channel by channel, the neighbours row by row.
    torchvision concatenates: neighbour by neighbour, column by column, all channels of each.
    """
    apart = theirs.unflatten(-1, (-1, 4))[..., [0, 2, 1, 3]]
    return apart.transpose(-1, -2).flatten(-2).contiguous()


def _kind(config: SparseFusionConfig) -> str:
    return {"resnet50": "ResNet-50", "swin_t": "Swin-T"}.get(config.image_backbone, "another image backbone")


def _more(names: list[str]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""
