"""Released checkpoints of TSP3D under our names: every tensor of theirs has its place, or the file is refused."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from ...learn.foreign_weights import State
from ...scene.errors import BadInputError
from ..sparse import converted_weight
from .model import TSP3DModel

# Our name -> theirs, the first that fits.
_PARTS = (
    (r"backbone\.stem\.conv\.weight", "vision_backbone.conv1.kernel"),
    (r"backbone\.stem\.norm\.", "vision_backbone.norm1.bn."),
    (r"text_projection\.", "text_projector."),
    (r"position\.first\.", "head.pos_embed.position_embedding_head.0."),
    (r"position\.norm\.", "head.pos_embed.position_embedding_head.1."),
    (r"position\.last\.", "head.pos_embed.position_embedding_head.3."),
    (r"coarse_fusion\.", "head.keep_trans.1."),
    (r"middle_fusion\.", "head.keep_trans.0."),
    (r"completion_fusion\.", "head.com_trans."),
    (r"coarse_keep\.", "head.keep_conv.1."),
    (r"middle_keep\.", "head.keep_conv.0."),
    (r"completion_score\.", "head.com_cls."),
    (r"lateral\.(\d)\.conv\.weight", r"head.lateral_block_\1.0.kernel"),
    (r"lateral\.(\d)\.norm\.", r"head.lateral_block_\1.1.bn."),
    (r"up_coarse\.conv\.weight", "head.up_block_2.0.kernel"),
    (r"up_coarse\.norm\.", "head.up_block_2.1.bn."),
    (r"up_middle\.conv\.weight", "head.up_block_1.0.kernel"),
    (r"up_middle\.norm\.", "head.up_block_1.1.bn."),
    (r"out\.conv\.weight", "head.out_block_0.0.kernel"),
    (r"out\.norm\.", "head.out_block_0.1.bn."),
    (r"join\.weight", "head.fuse.conv.kernel"),
    (r"join_norm\.", "head.fuse.norm.bn."),
    (r"box\.", "head.bbox_conv."),
    (r"score\.", "head.cls_conv."),
)
_IN_LAYERS = (
    (r"\.voxels_self\.attention\.", ".self_attention_visual.self_attn."),
    (r"\.voxels_self\.norm\.", ".self_attention_visual.norm1."),
    (r"\.words_self\.attention\.", ".self_attention_lang.self_attn."),
    (r"\.words_self\.norm\.", ".self_attention_lang.norm1."),
    (r"\.words_to_voxels\.attention\.", ".cross_layer.cross_lv."),
    (r"\.words_to_voxels\.norm\.", ".cross_layer.norm_lv."),
    (r"\.voxels_to_words\.attention\.", ".cross_layer.cross_vl."),
    (r"\.voxels_to_words\.norm\.", ".cross_layer.norm_vl."),
    (r"\.words_ffn\.first\.", ".cross_layer.ffn_lv.0."),
    (r"\.words_ffn\.last\.", ".cross_layer.ffn_lv.3."),
    (r"\.words_ffn\.norm\.", ".cross_layer.norm_lv2."),
    (r"\.voxels_ffn\.first\.", ".cross_layer.ffn_vl.0."),
    (r"\.voxels_ffn\.last\.", ".cross_layer.ffn_vl.3."),
    (r"\.voxels_ffn\.norm\.", ".cross_layer.norm_vl2."),
)
_IN_BLOCKS = (
    (r"first\.conv\.weight", "conv1.kernel"),
    (r"first\.norm\.", "norm1.bn."),
    (r"second\.conv\.weight", "conv2.kernel"),
    (r"second\.norm\.", "norm2.bn."),
    (r"shortcut\.conv\.weight", "downsample.0.kernel"),
    (r"shortcut\.norm\.", "downsample.1.bn."),
)
_LINEAR_KERNELS = ("coarse_keep", "middle_keep", "join", "box", "score")  # 1 x 1 sparse convolutions there
_FROZEN = "text_encoder."  # RoBERTa-base as it was; it is read from its own folder


def released_name(name: str) -> str:
    """The name in a released checkpoint of a tensor of ours, without `module.`."""
    stage = re.match(r"backbone\.stages\.(\d)\.(\d+)\.(.*)", name)
    if stage:
        inner = stage[3]
        for pattern, their in _IN_BLOCKS:
            inner = re.sub("^" + pattern, their, inner)
        # Their stages count from 1.
        return f"vision_backbone.layer{int(stage[1]) + 1}.{stage[2]}.{inner}"
    for pattern, their in _PARTS:
        new, count = re.subn("^" + pattern, their, name)
        if count:
            name = new
            break
    else:
        raise ValueError(f"no released name is known for {name!r}")
    for pattern, their in _IN_LAYERS:
        name = re.sub(pattern, their, name)
    owner, _, last = name.rpartition(".")
    sparse = ("head.keep_conv.0", "head.keep_conv.1", "head.bbox_conv", "head.cls_conv")
    return f"{owner}.kernel" if owner in sparse and last == "weight" else name


def is_released(state: Mapping[str, Tensor]) -> bool:
    """True where the names are those of a released checkpoint."""
    return any(name.removeprefix("module.").startswith("vision_backbone.") for name in state)


def convert_released(state: Mapping[str, Tensor], model: TSP3DModel, path: Path) -> State:
    """The tensors of a released checkpoint under our names and in our shapes; the text encoder's copy is left out.

    Kernels there run over x fastest, as MinkowskiEngine stores them. Raises BadInputError that names what is missing,
    left over or of another shape.
    """
    theirs = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    own = model.state_dict()
    names = {name: released_name(name) for name in own}
    missing = [their for their in names.values() if their not in theirs]
    left = [n for n in theirs if n not in set(names.values()) and not n.startswith(_FROZEN)]
    if missing or left:
        lacks = f"it lacks '{min(missing)}' ({len(missing)} in all)" if missing else ""
        has = f"it has '{min(left)}' ({len(left)} in all)" if left else ""
        raise BadInputError(
            f"{path} is not a released TSP3D checkpoint: {' and '.join(filter(None, (lacks, has)))}. Give that file, "
            "or weights that `fewview detect train --task grounding` wrote."
        )
    return {name: _shaped(theirs[their], own[name], name, their, path) for name, their in names.items()}


def _shaped(tensor: Tensor, own: Tensor, name: str, their: str, path: Path) -> Tensor:
    if own.ndim == 5:
        try:
            return converted_weight(tensor, own.shape, "minkowski")
        except BadInputError as error:
            raise BadInputError(f"{path}: '{their}' does not fit. {error}") from error
    if name.rpartition(".")[0] in _LINEAR_KERNELS:
        if name.endswith(".weight"):  # [Cin, Cout], maybe with a leading 1
            return tensor.reshape(tensor.shape[-2:]).T.contiguous() if tensor.ndim in (2, 3) else tensor
        return tensor.reshape(-1)  # biases are [1, Cout] there
    if tensor.ndim == own.ndim + 1 and tensor.shape[-1] == 1:
        return tensor[..., 0]  # convolutions over points with a kernel of one are linear layers here
    return tensor
