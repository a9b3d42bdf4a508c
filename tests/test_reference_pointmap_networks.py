"""Pointmap networks against plain reference implementations, and against the published facts of the checkpoints."""

from __future__ import annotations

import copy
import re

import numpy as np
import pytest
import torch
from fewview.recon.poses.pointmaps.dust3r import Dust3r
from fewview.recon.poses.pointmaps.dust3r_network import (
    DptSizes,
    Dust3rNetwork,
    NetworkSizes,
    points_and_confidence,
    rope_angles,
    rotate,
    upsample,
)
from support.plain_pointmaps import Weights, between, decode, encode, enlarge, turn
from support.pointmap_networks import DPT, LINEAR, random_network, random_photo

MAST3R_DPT = DptSizes(descriptor_sizes=(4 * (1024 + 768), (24 + 1) * 16**2))

# The names and shapes of DUSt3R_ViTLarge_BaseDecoder_512_dpt.pth. That the file has 1009 tensors under "model", beside
# "args", is reported in engichang1467/Open-Rig3R issue 34; that 292 of them are the encoder's, in its pull request 43;
# the names of the DPT head, with both names of the level convolutions, in HengyiWang/spann3r issue 32; the sizes in the
# training arguments quoted in jiah-cloud/Align3R issue 14. The rest follows from the layers of naver/croco and
# naver/dust3r, whose widths inside the DPT head are constants there.
RELEASED = r"""
patch_embed.proj.weight 1024 3 16 16
patch_embed.proj.bias 1024
enc_blocks.(\d+).norm[12].(weight|bias) 1024
enc_blocks.(\d+).attn.qkv.weight 3072 1024
enc_blocks.(\d+).attn.qkv.bias 3072
enc_blocks.(\d+).attn.proj.weight 1024 1024
enc_blocks.(\d+).attn.proj.bias 1024
enc_blocks.(\d+).mlp.fc1.weight 4096 1024
enc_blocks.(\d+).mlp.fc1.bias 4096
enc_blocks.(\d+).mlp.fc2.weight 1024 4096
enc_blocks.(\d+).mlp.fc2.bias 1024
enc_norm.(weight|bias) 1024
mask_token 1 1 768
decoder_embed.weight 768 1024
decoder_embed.bias 768
dec_blocks2?.(\d+).norm([123]|_y).(weight|bias) 768
dec_blocks2?.(\d+).attn.qkv.weight 2304 768
dec_blocks2?.(\d+).attn.qkv.bias 2304
dec_blocks2?.(\d+).(cross_)?attn.proj[qkv]?.weight 768 768
dec_blocks2?.(\d+).(cross_)?attn.proj[qkv]?.bias 768
dec_blocks2?.(\d+).mlp.fc1.weight 3072 768
dec_blocks2?.(\d+).mlp.fc1.bias 3072
dec_blocks2?.(\d+).mlp.fc2.weight 768 3072
dec_blocks2?.(\d+).mlp.fc2.bias 768
dec_norm.(weight|bias) 768
downstream_head[12].dpt.act_postprocess.0.0.weight 96 1024 1 1
downstream_head[12].dpt.act_postprocess.0.1.weight 96 96 4 4
downstream_head[12].dpt.act_postprocess.0.[01].bias 96
downstream_head[12].dpt.act_postprocess.1.0.weight 192 768 1 1
downstream_head[12].dpt.act_postprocess.1.1.weight 192 192 2 2
downstream_head[12].dpt.act_postprocess.1.[01].bias 192
downstream_head[12].dpt.act_postprocess.2.0.weight 384 768 1 1
downstream_head[12].dpt.act_postprocess.2.0.bias 384
downstream_head[12].dpt.act_postprocess.3.0.weight 768 768 1 1
downstream_head[12].dpt.act_postprocess.3.1.weight 768 768 3 3
downstream_head[12].dpt.act_postprocess.3.[01].bias 768
downstream_head[12].dpt.scratch.(layer1_rn|layer_rn.0).weight 256 96 3 3
downstream_head[12].dpt.scratch.(layer2_rn|layer_rn.1).weight 256 192 3 3
downstream_head[12].dpt.scratch.(layer3_rn|layer_rn.2).weight 256 384 3 3
downstream_head[12].dpt.scratch.(layer4_rn|layer_rn.3).weight 256 768 3 3
downstream_head[12].dpt.scratch.refinenet[1234].out_conv.weight 256 256 1 1
downstream_head[12].dpt.scratch.refinenet[1234].out_conv.bias 256
downstream_head[12].dpt.scratch.refinenet[1234].resConfUnit[12].conv[12].weight 256 256 3 3
downstream_head[12].dpt.scratch.refinenet[1234].resConfUnit[12].conv[12].bias 256
downstream_head[12].dpt.head.0.weight 128 256 3 3
downstream_head[12].dpt.head.0.bias 128
downstream_head[12].dpt.head.2.weight 128 128 3 3
downstream_head[12].dpt.head.2.bias 128
downstream_head[12].dpt.head.4.weight 4 128 1 1
downstream_head[12].dpt.head.4.bias 4
downstream_head[12].proj.weight 1024 768
downstream_head[12].proj.bias 1024
downstream_head[12].head_local_features.fc1.weight 7168 1792
downstream_head[12].head_local_features.fc1.bias 7168
downstream_head[12].head_local_features.fc2.weight 6400 7168
downstream_head[12].head_local_features.fc2.bias 6400
"""
TABLE = [line.rsplit(" ", len(re.findall(r" \d+", line))) for line in RELEASED.strip().splitlines()]


def shapes(sizes: NetworkSizes) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in Dust3rNetwork(sizes).state_dict().items()}


@pytest.mark.parametrize(
    ("sizes", "count"),
    [(NetworkSizes(), 1009), (NetworkSizes(dpt=None), 877), (NetworkSizes(dpt=MAST3R_DPT), 1017)],
    ids=["512_dpt", "linear", "catmlpdpt"],
)
def test_full_size_networks_have_the_released_names_and_shapes(sizes: NetworkSizes, count: int) -> None:
    found = shapes(sizes)
    assert len(found) == count
    used = set()
    for name, shape in found.items():
        matches = [row for row in TABLE if re.fullmatch(row[0].replace(".", r"\."), name)]
        assert len(matches) == 1, name
        assert shape == tuple(int(n) for n in matches[0][1:]), name
        used.add(matches[0][0])
    # Every row speaks of this network, but for the rows of the other heads.
    others = {row[0] for row in TABLE} - used
    assert all(r"head[12].dpt" in row or r"[12].proj" in row or "local_features" in row for row in others)
    assert sum(name.startswith(("patch_embed.", "enc_")) for name in found) == 292


@pytest.mark.parametrize("sizes", [DPT, LINEAR], ids=["dpt", "linear"])
@pytest.mark.parametrize("size_j", [(48, 80), (64, 32)], ids=["landscape", "portrait"])
def test_the_network_equals_its_plain_twin(sizes: NetworkSizes, size_j: tuple[int, int]) -> None:
    network = random_network(sizes)
    weights = Weights(network.state_dict())
    photos = [random_photo(48, 80, 1), random_photo(*size_j, 2)]
    grids = [(photo.shape[0] // 16, photo.shape[1] // 16) for photo in photos]
    tokens = [encode(weights, photo.double().numpy().transpose(2, 0, 1) / 127.5 - 1, 2) for photo in photos]
    expected = decode(weights, tokens, grids, 4)
    found = Dust3r(network).predict(*photos)
    single = (found.points_i, found.confidence_i), (found.points_j, found.confidence_j)
    exact = copy.deepcopy(network).double()
    images = [photo.double().movedim(-1, 0)[None] / 127.5 - 1 for photo in photos]
    double = [points_and_confidence(raw) for raw in exact.decode(*(exact.encode(image) for image in images))]
    for raw, *outputs in zip(expected, double, single, strict=True):
        length = np.sqrt((raw[:3] ** 2).sum(0))
        wanted = (raw[:3] / length * np.expm1(length)).transpose(1, 2, 0), 1 + np.exp(raw[3])
        # In double precision only the angles are float32 numbers, of up to 4 for 5 rows: off by 2e-7, as are their
        # sines. GELU by its tanh formula instead would be off by 5e-6 of the largest value, rotations by angles that
        # are 1 % larger by 2e-5, and rows taken for columns by 3e-3. In single precision sums lose some 1e-6 by their
        # order, and what is left to find is a part that is of even less precision.
        for output, share in zip(outputs, (1e-6, 1e-4), strict=True):
            for values, these in zip(output, wanted, strict=True):
                assert np.abs(values.numpy().reshape(these.shape) - these).max() < share * np.abs(these).max()


def test_rotation_is_that_of_complex_numbers() -> None:
    tokens = torch.randn(1, 1, 35, 64, generator=torch.Generator().manual_seed(0))
    rows, columns = np.mgrid[:5, :7]
    expected = turn(tokens[0, 0].double().numpy(), rows.ravel(), columns.ravel())
    found = rotate(tokens, rope_angles(5, 7, 64))[0, 0].double()
    assert torch.allclose(found, torch.from_numpy(expected), atol=1e-5)  # single precision, values near 4


def test_attention_depends_on_relative_positions_only() -> None:
    generator = torch.Generator().manual_seed(0)
    query, key = (torch.randn(64, generator=generator, dtype=torch.float64) for _ in range(2))
    angles = rope_angles(6, 9, 64).double().unflatten(0, (6, 9))

    def score(at: tuple[int, int], other: tuple[int, int]) -> float:
        one, two = (rotate(x[None, None, None], angles[p][None])[0, 0, 0] for x, p in ((query, at), (key, other)))
        return float(one @ two)

    base = score((0, 1), (2, 3))
    for down, right in ((1, 0), (0, 4), (3, 5)):
        # The angles are single-precision numbers up to 8, so their differences are good to 1e-6.
        assert abs(score((down, 1 + right), (2 + down, 3 + right)) - base) < 1e-4
    assert abs(score((0, 1), (3, 3)) - base) > 1e-2
    assert abs(score((0, 1), (2, 4)) - base) > 1e-2
    assert abs(score((0, 0), (0, 0)) - float(query @ key)) < 1e-12


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (8, 2)])
def test_enlarging_keeps_the_corners_and_is_linear_between(size: tuple[int, int]) -> None:
    maps = torch.rand(1, 2, *size, generator=torch.Generator().manual_seed(0))
    found = upsample(maps)
    assert torch.allclose(found, torch.from_numpy(enlarge(maps.double().numpy())).float(), atol=1e-6)
    assert torch.equal(found[..., 0, 0], maps[..., 0, 0])
    assert torch.allclose(found[..., -1, -1], maps[..., -1, -1])
    assert np.allclose(between(size[0]).sum(1), 1)


def test_outputs_become_points_and_confidences() -> None:
    raw = torch.tensor([[0.3, -0.4, 1.2, -5.0], [0.0, 0.0, 0.0, 2.0], [0.0, 0.0, -9.0, 0.0]]).T[None, :, None]
    points, confidence = points_and_confidence(raw)
    length = 1.3
    scale = float(np.expm1(length) / length)
    assert torch.allclose(points[0, 0, 0], torch.tensor([0.3, -0.4, 1.2]) * scale)
    assert torch.equal(points[0, 0, 1], torch.zeros(3))
    assert torch.allclose(points[0, 0, 2], torch.tensor([0.0, 0.0, -float(np.expm1(9.0))]))
    assert torch.allclose(confidence[0, 0], 1 + torch.tensor([-5.0, 2.0, 0.0]).exp())
