"""TSP3D's parts against plain computations: attention, losses, assignment, text encoders, tokenisers."""

from __future__ import annotations

import importlib.util
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from fewview.detect.text.bert import BertConfig, BertEncoder, load_bert
from fewview.detect.text.byte_pairs import BytePairs
from fewview.detect.text.word_pieces import WordPieces
from fewview.detect.tsp3d.assign import nearest_voxels, within_cubes
from fewview.detect.tsp3d.backbone import VoxelConv
from fewview.detect.tsp3d.grounding_losses import distance_iou_loss, focal_loss, losses
from fewview.detect.tsp3d.model import Output, Scored
from fewview.detect.tsp3d.scene_batch import Batch, Truth
from fewview.detect.tsp3d.text_fusion import FusionLayer
from support.grounding import SMALLEST
from support.threads import one_torch_thread as one_torch_thread
from torch import Tensor, nn


def plain_attention(module: nn.MultiheadAttention, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """[n, C] by loops over heads, from the definition."""
    c, heads = query.shape[1], module.num_heads
    parts = zip((query, key, value), module.in_proj_weight.split(c), module.in_proj_bias.split(c), strict=True)
    q, k, v = (x @ w.T + b for x, w, b in parts)
    out = []
    for h in range(heads):
        own = slice(h * c // heads, (h + 1) * c // heads)
        weight = (q[:, own] @ k[:, own].T / math.sqrt(c // heads)).softmax(1)
        out.append(weight @ v[:, own])
    return torch.cat(out, dim=1) @ module.out_proj.weight.T + module.out_proj.bias


def test_a_fusion_layer_is_its_definition() -> None:
    torch.manual_seed(0)
    layer = FusionLayer(SMALLEST).double().eval()
    voxels, places, words = torch.randn(7, 16).double(), torch.randn(7, 16).double(), torch.randn(4, 16).double()

    def attend(part: nn.Module, x: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return part.norm(x + plain_attention(part.attention, q, k, v))

    def forward_part(part: nn.Module, x: Tensor) -> Tensor:
        return part.norm(x + part.last(part.first(x).clamp(min=0)))

    v = attend(layer.voxels_self, voxels, voxels + places, voxels + places, voxels)
    t = attend(layer.words_self, words, words, words, words)
    looked = attend(layer.voxels_to_words, v, v + places, t, t)  # both from the same features
    t = attend(layer.words_to_voxels, t, t, v, v)
    found_v, found_t = layer(voxels[None], places[None], words[None])
    torch.testing.assert_close(found_v[0], forward_part(layer.voxels_ffn, looked))
    torch.testing.assert_close(found_t[0], forward_part(layer.words_ffn, t))


def test_both_directions_start_from_the_same_weights() -> None:
    layer = FusionLayer(SMALLEST)
    for name, tensor in layer.voxels_to_words.state_dict().items():
        assert torch.equal(tensor, layer.words_to_voxels.state_dict()[name]), name


def test_the_focal_loss_is_its_formula() -> None:
    logits = torch.tensor([-3.0, -0.5, 0.0, 0.5, 3.0], dtype=torch.float64)
    positive = torch.tensor([True, False, True, False, False])
    p = 1 / (1 + torch.exp(-logits))
    expected = torch.where(positive, -0.25 * (1 - p) ** 2 * p.log(), -0.75 * p**2 * (1 - p).log())
    torch.testing.assert_close(focal_loss(logits, positive), expected)


def test_the_distance_iou_loss_of_equal_disjoint_and_half_overlapping_boxes() -> None:
    a = torch.tensor([[0.0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 1, 1], [0, 0, 0, 2, 1, 1]])
    b = torch.tensor([[0.0, 0, 0, 1, 1, 1], [9, 0, 0, 1, 1, 1], [1, 0, 0, 2, 1, 1]])
    equal, disjoint, half = distance_iou_loss(a, b)
    assert float(equal) == 0
    assert float(disjoint) == pytest.approx(1 + 81 / (100 + 1 + 1))
    assert float(half) == pytest.approx(1 - 1 / 3 + 1 / (9 + 1 + 1))


def slow_assignment(points: Tensor, boxes: Tensor, count: int) -> list[int]:
    """One voxel after another, from the definition."""
    found = []
    for point in points.tolist():
        away = [math.dist(point, box[:3]) for box in boxes.tolist()]
        box = away.index(min(away))
        every = sorted(math.dist(other, boxes[box, :3].tolist()) for other in points.tolist())
        found.append(box if away[box] < every[min(count, len(every) - 1)] else -1)
    return found


@pytest.mark.parametrize("n", [1, 5, 33, 80])
def test_the_assigner_is_its_definition(n: int) -> None:
    generator = torch.Generator().manual_seed(n)
    points = torch.rand(n, 3, generator=generator, dtype=torch.float64) * 4
    boxes = torch.rand(3, 6, generator=generator, dtype=torch.float64) * 4
    assert nearest_voxels(points, boxes, 8).tolist() == slow_assignment(points, boxes, 8)


def test_every_lonely_box_gets_its_32_voxels_and_no_voxel_two_boxes() -> None:
    generator = torch.Generator().manual_seed(0)
    points = torch.cat([torch.rand(60, 3, generator=generator), torch.rand(60, 3, generator=generator) + 10])
    boxes = torch.tensor([[0.5, 0.5, 0.5, 1, 1, 1], [10.5, 10.5, 10.5, 1, 1, 1]])
    found = nearest_voxels(points, boxes, 32)
    assert [int((found == i).sum()) for i in range(2)] == [32, 32]


def test_keep_cubes_have_the_half_edges_of_the_release() -> None:
    r, finest = 13, 0.04  # the release's numbers: r * l0 * 2^(level - 1) / 2
    assert SMALLEST.keep_half_edges_m == pytest.approx(tuple(r * finest * 2**level / 2 for level in (2, 1)))
    scene, target = SMALLEST.keep_half_edges_m
    center = torch.zeros(1, 3)
    at = torch.tensor([[1.03, 0, 0], [1.05, 0, 0], [1.0, -1.0, 1.0], [0, 0, 0.51], [0, 0, 0.53]])
    assert within_cubes(at, center, scene).tolist() == [True, False, True, True, True]
    assert within_cubes(at, center, target).tolist() == [False, False, False, True, False]
    assert within_cubes(at, torch.zeros(0, 3), scene).sum() == 0


def test_losses_of_a_batch_by_hand() -> None:
    voxels = torch.tensor([[0, 0, 0, 0], [0, 10, 0, 0], [1, 0, 0, 0], [1, 50, 0, 0]], dtype=torch.int32)
    truth = [Truth(torch.tensor([[0.1, 0, 0, 1.0, 1, 1]]), torch.zeros(0, 6), torch.tensor([[4.0, 0, 0, 1, 1, 1]]))] * 2
    logits = torch.tensor([0.3, -0.2, 0.1, 0.7])
    keep = (Scored(voxels, torch.tensor([1.0, 2, 3, 4])), Scored(voxels, torch.tensor([0.5, 0.1, 0.2, 0.3])))
    output = Output(voxels, torch.zeros(4, 3), torch.zeros(4, 3), logits, keep, Scored(voxels, logits), 2)
    config = replace(SMALLEST, positives=1, voxel_m=0.08)
    empty = torch.zeros(0)
    found = losses(output, Batch(voxels, empty, 2, empty, (1, 1), (0, 1), tuple(truth)), config)
    positive = torch.tensor([True, False, True, False])  # of two voxels in a scene the farther one is always left out
    assert float(found["class"]) == pytest.approx(float(focal_loss(logits, positive).sum() / 2))
    assert float(found["completion"]) == pytest.approx(float(found["class"]))
    box = distance_iou_loss(torch.tensor([[0.0, 0, 0, 1, 1, 1]]), truth[0].targets)
    assert float(found["box"]) == pytest.approx(float(box))
    # Scene level: x = 0 (0.1 m from the target), 0.8 and 4.0 are within 1.04 m of a box. Target level: only x = 0.
    total = 0.0
    for scored, kept in zip(keep, ([True, True, True, True], [True, False, True, False]), strict=True):
        label = torch.tensor(kept)
        values = focal_loss(scored.logits, ~label)
        for rows in ([0, 1], [2, 3]):
            total += float(values[rows].sum() / label[rows].sum()) / 3
    assert float(found["keep"]) == pytest.approx(total / 2)


def test_a_batch_without_any_positive_voxel_has_no_box_loss() -> None:
    voxels = torch.zeros(1, 4, dtype=torch.int32)
    offsets = torch.zeros(1, 3, requires_grad=True)
    truth = Truth(torch.tensor([[0.0, 0, 0, 1, 1, 1]]), torch.zeros(0, 6), torch.zeros(0, 6))
    output = Output(voxels, offsets, offsets * 0, offsets[:, 0], (), None, 1)
    empty = torch.zeros(0)
    found = losses(output, Batch(voxels, empty, 1, empty, (1,), (0,), (truth,)), SMALLEST)
    assert float(found["box"]) == 0
    sum(found.values()).backward()
    assert bool(torch.isfinite(offsets.grad).all())


def test_strided_convolution_is_the_definition_with_negative_coordinates() -> None:
    """Outputs at floor(c / 2) 2, each the sum over the 27 cells about it: x is the first axis of the kernel."""
    from fewview.detect.sparse import SparseConvTensor

    torch.manual_seed(0)
    cells = torch.randint(-5, 6, (60, 3)).unique(dim=0)
    x = SparseConvTensor(torch.randn(len(cells), 3), torch.nn.functional.pad(cells, (1, 0)).int(), None, 1)
    conv = VoxelConv(3, 4, 3, 2)
    out = conv(x)
    rows = {tuple(cell): i for i, cell in enumerate(cells.tolist())}
    places = {tuple(2 * math.floor(v / 2) for v in cell) for cell in rows}
    assert {tuple(v[1:]) for v in out.indices.tolist()} == places
    for place, value in zip(out.indices[:, 1:].tolist(), out.features, strict=True):
        expected = torch.zeros(4)
        for i, j, k in ((i, j, k) for i in range(3) for j in range(3) for k in range(3)):
            row = rows.get((place[0] + i - 1, place[1] + j - 1, place[2] + k - 1))
            if row is not None:
                expected = expected + conv.weight[:, i, j, k] @ x.features[row]
        torch.testing.assert_close(value, expected, atol=1e-5, rtol=1e-5)


# ---- text --------------------------------------------------------------------------------------------------------


def as_torch_layer(encoder: BertEncoder) -> nn.TransformerEncoder:
    """PyTorch's own encoder with the same weights."""
    c = encoder.config
    kind = nn.TransformerEncoderLayer(
        c.channels, c.heads, c.hidden, 0.0, nn.functional.gelu, c.epsilon, batch_first=True
    )
    made = nn.TransformerEncoder(kind, c.layers, enable_nested_tensor=False).eval()
    for theirs, ours in zip(made.layers, encoder.encoder["layer"], strict=True):
        own = ours.attention["self"]
        theirs.self_attn.in_proj_weight.data = torch.cat([own[n].weight for n in ("query", "key", "value")])
        theirs.self_attn.in_proj_bias.data = torch.cat([own[n].bias for n in ("query", "key", "value")])
        pairs = (
            (theirs.self_attn.out_proj, ours.attention["output"]["dense"]),
            (theirs.norm1, ours.attention["output"]["LayerNorm"]),
            (theirs.linear1, ours.intermediate["dense"]),
            (theirs.linear2, ours.output["dense"]),
            (theirs.norm2, ours.output["LayerNorm"]),
        )
        for a, b in pairs:
            a.load_state_dict(b.state_dict())
    return made


@pytest.mark.parametrize("first_position", [0, 2])
def test_the_encoder_is_pytorchs_own_and_padding_changes_nothing(first_position: int) -> None:
    torch.manual_seed(0)
    config = BertConfig(50, 24, 2, 3, 40, 20, 2, 1e-5, first_position)
    encoder = BertEncoder(config).eval()
    tokens = torch.randint(0, 50, (2, 7))
    present = torch.ones(2, 7, dtype=torch.bool)
    present[1, 4:] = False
    found = encoder(tokens, present)
    e = encoder.embeddings
    position = torch.arange(7) + first_position
    start = e["word_embeddings"].weight[tokens] + e["position_embeddings"].weight[position]
    start = e["LayerNorm"](start + e["token_type_embeddings"].weight[0])
    expected = as_torch_layer(encoder)(start, src_key_padding_mask=~present)
    torch.testing.assert_close(found[0], expected[0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found[1, :4], expected[1, :4], atol=1e-5, rtol=1e-4)
    alone = encoder(tokens[1:, :4], present[1:, :4])
    torch.testing.assert_close(alone[0], found[1, :4], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("kind", "prefix"), [("bert", "bert."), ("roberta", "roberta."), ("bert", "")])
def test_a_folder_of_weights_is_read_without_what_is_unused(tmp_path: Path, kind: str, prefix: str) -> None:
    torch.manual_seed(0)
    first = 2 if kind == "roberta" else 0
    encoder = BertEncoder(BertConfig(30, 8, 1, 2, 12, 16, 1, 1e-12, first)).eval()
    state = {prefix + name: tensor for name, tensor in encoder.state_dict().items()}
    state[prefix + "pooler.dense.weight"] = torch.zeros(8, 8)
    state[prefix + "embeddings.position_ids"] = torch.zeros(1, 16, dtype=torch.int64)
    safetensors.torch.save_file(state, tmp_path / "model.safetensors")
    table = {
        "model_type": kind, "vocab_size": 30, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 12, "max_position_embeddings": 16, "type_vocab_size": 1, "layer_norm_eps": 1e-12,
        "hidden_act": "gelu", "pad_token_id": 1,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(table))
    loaded = load_bert(tmp_path)
    tokens, present = torch.randint(0, 30, (1, 5)), torch.ones(1, 5, dtype=torch.bool)
    assert torch.equal(loaded(tokens, present), encoder(tokens, present))
    assert loaded.config.first_position == first
    assert not any(p.requires_grad for p in loaded.parameters())


def test_word_pieces_take_the_longest_piece(tmp_path: Path) -> None:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "book", "##shelf", "##s", "chair", ",", "cafe", "-"]
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(words), encoding="utf-8")
    tokenise = WordPieces(path)
    found = [words[i] for i in tokenise("The Bookshelfs, café-chair zzz\u0007")]
    assert found == ["[CLS]", "the", "book", "##shelf", "##s", ",", "cafe", "-", "chair", "[UNK]", "[SEP]"]


def test_byte_pairs_join_in_the_order_that_was_learnt(tmp_path: Path) -> None:
    merges = ["h e", "t he", "Ġ the", "Ġ c", "a t", "Ġc at"]
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "the", "Ġthe", "Ġcat", "s", "'", "Ã", "©"]
    (tmp_path / "vocab.json").write_text(json.dumps({piece: i for i, piece in enumerate(pieces)}), encoding="utf-8")
    (tmp_path / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges), encoding="utf-8")
    tokenise = BytePairs(tmp_path)
    assert [pieces[i] for i in tokenise("the the cats é")][1:-1] == ["the", "Ġthe", "Ġcat", "s", "<unk>", "Ã", "©"]
    assert tokenise("")[0] == 0
    assert tokenise("")[-1] == 2


def test_the_packaged_encoder_knows_what_means_the_same() -> None:
    from fewview.detect.text.text_encoders import MINILM_MODULE, MINILM_PACKAGE, load_text_encoder, load_tokenizer

    if importlib.util.find_spec(MINILM_MODULE) is None:
        pytest.skip(f"the package {MINILM_PACKAGE} is not installed")
    tokenise, encoder = load_tokenizer("minilm"), load_text_encoder("minilm")
    assert tokenise("Hello world") == [101, 7592, 2088, 102]  # the numbers that BERT's vocabulary is known by

    def mean(text: str) -> Tensor:
        tokens = torch.tensor([tokenise(text)])
        return nn.functional.normalize(encoder(tokens, torch.ones_like(tokens, dtype=torch.bool)).mean(1)[0], dim=0)

    couch, sofa, toilet = mean("the couch"), mean("the sofa"), mean("the toilet")
    assert float(couch @ sofa) > 0.7 > float(couch @ toilet)
