"""Facts that hold for TSP3D whatever its weights are: voxels of levels, pruning by scene, additions, padding, boxes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fewview.detect.sparse import SparseConvTensor, interpolate, max_pool
from fewview.detect.tasks.grounding_samples import (
    ScanSample,
    SentencesByScan,
    open_grounding_samples,
    sample_of_sentence,
)
from fewview.detect.text.text_encoders import load_tokenizer
from fewview.detect.training import DetectorTraining
from fewview.detect.tsp3d.backbone import Backbone, ConvNorm, GrowingConv, VoxelNorm
from fewview.detect.tsp3d.config import TSP3DConfig, preset
from fewview.detect.tsp3d.grounding_augment import NOISE_M, draw_change
from fewview.detect.tsp3d.grounding_detector import TSP3DDetector
from fewview.detect.tsp3d.grounding_prepare import GroundingPreparation
from fewview.detect.tsp3d.model import Output, TSP3DModel
from fewview.detect.tsp3d.scene_batch import Batch, collate
from fewview.detect.tsp3d.voxel_choice import (
    at_most,
    features_at,
    grown_scores,
    keep_probability,
    kept_or_best,
    top_voxels,
)
from fewview.scene.scan import Scan
from support.grounding import SENTENCES, SMALLEST, batch, room_scan, sample, write_scannet
from support.threads import one_torch_thread as one_torch_thread
from torch import Tensor, nn


def model(config: TSP3DConfig = SMALLEST) -> TSP3DModel:
    torch.manual_seed(0)
    return TSP3DModel(config)


def in_evaluation(network: TSP3DModel, given: Batch) -> Output:
    with torch.no_grad():
        output: Output = network.eval()(given)
    return output


def room_of_voxels(voxel_m: float, count: int = 60_000) -> SparseConvTensor:
    """The floor and walls of 6 x 6 x 3 m, some of it at negative coordinates."""
    random = np.random.default_rng(0)
    points = random.uniform((-3, -3, -0.5), (3, 3, 2.5), (count, 3))
    side = random.integers(0, 3, count)
    points[np.arange(count), side] = np.array([-3, 3, -0.5])[side]
    cells = np.unique(np.floor(points / voxel_m).astype(np.int32), axis=0)
    voxels = torch.from_numpy(np.pad(cells, ((0, 0), (1, 0))))
    return SparseConvTensor(torch.randn(len(voxels), 6), voxels, None, 1)


def test_the_released_backbone_has_strides_16_32_64_and_128_channels() -> None:
    config = replace(preset("paper"), blocks=(1, 1, 1, 1), stem_channels=8, stage_channels=(8, 16, 16, 16))
    backbone = Backbone(config).eval()
    with torch.no_grad():
        x = room_of_voxels(0.01, 6000)
        stem = backbone.stem(x)
        levels = backbone(x)
    assert stem.stride == (2, 2, 2)
    assert max_pool(stem, 2, 2, rule="minkowski").stride == (4, 4, 4)
    assert [level.stride for level in levels] == [(16,) * 3, (32,) * 3, (64,) * 3]
    counts = [len(level) for level in levels]
    assert counts == sorted(counts, reverse=True)
    assert len(set(counts)) == 3
    for level, stride in zip(levels, (16, 32, 64), strict=True):
        assert level.features.shape[1] == 16
        assert len(level.indices.unique(dim=0)) == len(level)
        assert bool((level.indices[:, 1:] % stride == 0).all())
    assert preset("paper").channels == 128
    assert preset("paper").stage_channels == (64, 128, 128, 128)


def test_the_tiny_levels_have_the_released_sizes() -> None:
    paper, tiny = preset("paper"), preset("tiny")
    assert paper.voxel_m * paper.stem_strides * 4 == pytest.approx(tiny.voxel_m * tiny.stem_strides * 4) == 0.16


def test_one_voxel_grows_to_27_and_two_to_45() -> None:
    up = ConvNorm(GrowingConv(4, 4)).eval()
    one = SparseConvTensor(torch.ones(1, 4), torch.tensor([[0, -64, 0, 64]], dtype=torch.int32), None, 1, stride=64)
    grown = up(one)
    offsets = (grown.indices[:, 1:] - one.indices[:, 1:]).div(32).tolist()
    assert grown.stride == (32, 32, 32)
    assert sorted(map(tuple, offsets)) == sorted((i, j, k) for i in (-1, 0, 1) for j in (-1, 0, 1) for k in (-1, 0, 1))
    two = torch.tensor([[0, 0, 0, 0], [0, 64, 0, 0]], dtype=torch.int32)
    assert len(up(SparseConvTensor(torch.ones(2, 4), two, None, 1, stride=64))) == 45


def scored_voxels(scenes: int = 2, each: int = 6) -> SparseConvTensor:
    cells = torch.tensor([[b, i, 0, 0] for b in range(scenes) for i in range(each)], dtype=torch.int32)
    return SparseConvTensor(torch.randn(len(cells), 3), cells, None, scenes)


def test_high_logits_prune_and_a_scene_keeps_its_best_voxel() -> None:
    x = scored_voxels()
    assert float(keep_probability(torch.tensor(-5.0))) > 0.99
    assert len(kept_or_best(x, torch.full((12,), -9.0), 0.7)) == 12
    logits = torch.full((12,), 9.0)
    logits[4] = 8.0  # the best of the first scene
    kept = kept_or_best(x, logits, 0.7)
    assert kept.indices[:, 0].tolist() == [0, 1]
    assert kept.indices[0].tolist() == x.indices[4].tolist()
    some = kept_or_best(x, torch.cat([torch.full((6,), -9.0), torch.full((6,), 9.0)]), 0.7)
    assert [int((some.indices[:, 0] == b).sum()) for b in range(2)] == [6, 1]


def test_the_lowest_interpolated_logits_of_each_scene_are_kept_in_training() -> None:
    fine = torch.tensor([[b, i, 0, 0] for b in range(2) for i in range(8)], dtype=torch.int32)
    x = SparseConvTensor(torch.randn(16, 3), fine, None, 2)
    coarse = torch.tensor([[b, i, 0, 0] for b in range(2) for i in range(0, 8, 2)], dtype=torch.int32)
    logit = torch.tensor([1.0, -2.0, -1.0, 3.0, 3.0, 2.0, 1.0, -4.0])[:, None]
    # At 7 there is half of the corner at 6, and the other half is absent, which counts 0.
    scores = grown_scores(-logit[:, 0], SparseConvTensor(logit, coarse, None, 2, stride=2), x.coordinates)
    kept = top_voxels(x, scores, 3).indices[:, :2].tolist()
    assert kept == [[0, 2], [0, 3], [0, 4], [1, 5], [1, 6], [1, 7]]
    assert top_voxels(x, scores, 8) is x


def test_scores_grow_by_interpolation_and_features_of_the_lattice_are_gathered() -> None:
    cells = torch.randint(-3, 4, (60, 4), generator=torch.Generator().manual_seed(0))
    cells[:, 0] = (cells[:, 0] > 0).long()
    x = SparseConvTensor(
        torch.randn(len(cells.unique(dim=0)), 1),
        cells.unique(dim=0).int() * torch.tensor([1, 4, 4, 4]).int(),
        None,
        2,
        stride=4,
    )
    up = GrowingConv(1, 1)
    grown = up(x)
    scores = grown_scores(x.features[:, 0], x)
    torch.testing.assert_close(scores, interpolate(x, grown.indices.float())[:, 0])
    some = grown.select_by_index(torch.arange(0, len(grown), 3)).coordinates
    torch.testing.assert_close(grown_scores(x.features[:, 0], x, some), scores[::3])
    elsewhere = torch.cat([x.indices[::2], x.indices[:3] + torch.tensor([0, 400, 0, 0]).int()])
    torch.testing.assert_close(features_at(x, elsewhere), interpolate(x, elsewhere.float()))


def test_draws_are_bounded_by_scene_and_follow_the_seed() -> None:
    x = scored_voxels(2, 50)
    torch.manual_seed(1)
    first = at_most(x, 7)
    torch.manual_seed(1)
    again = at_most(x, 7)
    assert torch.equal(first.indices, again.indices)
    assert [len(rows) for rows in first.batch_rows()] == [7, 7]
    assert at_most(x, 50) is x
    fixed = [at_most(x, 7, seed=3).indices for _ in range(2)]
    assert torch.equal(*fixed)
    mine = fixed[0][fixed[0][:, 0] == 1]  # the draw of a scene does not depend on the others
    alone = at_most(SparseConvTensor(x.features[50:], x.indices[50:], None, 2), 7, seed=3)
    assert torch.equal(alone.indices, mine)


def test_interpolation_at_the_lattice_is_a_gather_and_absent_counts_nothing() -> None:
    x = SparseConvTensor(
        torch.randn(2, 3), torch.tensor([[0, 0, 0, 0], [0, 4, 0, 0]], dtype=torch.int32), None, 1, stride=4
    )
    found = interpolate(x, torch.tensor([[0, 0, 0, 0], [0, 4, 0, 0], [0, 40, 0, 0], [0, 2.0, 0, 0], [0, 6.0, 0, 0]]))
    torch.testing.assert_close(found[:2], x.features)
    assert bool((found[2] == 0).all())
    torch.testing.assert_close(found[3], x.features.mean(0))
    torch.testing.assert_close(found[4], x.features[1] / 2)


def test_another_text_for_the_second_scene_leaves_the_first_as_it_is() -> None:
    network = model()
    a, b = batch(SMALLEST, (0, 1)), batch(SMALLEST, (0, 2))
    for name in ("offsets", "logits"):
        out_a, out_b = in_evaluation(network, a), in_evaluation(network, b)
        mine_a, mine_b = out_a.voxels[:, 0] == 0, out_b.voxels[:, 0] == 0
        torch.testing.assert_close(getattr(out_a, name)[mine_a], getattr(out_b, name)[mine_b], atol=1e-5, rtol=1e-4)


def test_sentences_that_share_a_scan_find_what_each_finds_alone() -> None:
    network = model()
    preparation = GroundingPreparation(SMALLEST)
    scene = preparation.prepare(preparation.read(sample_of_all(room_scan())))
    together = in_evaluation(network, collate([scene, scene]))
    apart = in_evaluation(network, batch(SMALLEST, (0, 1, 2, 3), (0,) * 4))
    assert (together.sentences, apart.sentences) == (8, 4)
    for sentence in range(8):
        mine, alone = together.voxels[:, 0] == sentence, apart.voxels[:, 0] == sentence % 4
        assert torch.equal(together.voxels[mine][:, 1:], apart.voxels[alone][:, 1:])
        for name in ("offsets", "log_sizes", "logits"):
            torch.testing.assert_close(getattr(together, name)[mine], getattr(apart, name)[alone], atol=1e-5, rtol=1e-4)


class Counting(nn.Module):
    """An encoder that counts the sentences that it encodes."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.encoded = nn.Embedding(100, 384), 0

    def forward(self, tokens: Tensor, present: Tensor) -> Tensor:
        self.encoded += len(tokens)
        return self.table(tokens)


@pytest.mark.parametrize("dropout", [False, True])
def test_a_frozen_encoder_reads_a_sentence_once_unless_it_has_dropout(dropout: bool) -> None:
    network = model(replace(SMALLEST, text="minilm", text_dropout=dropout)).train()
    encoder = Counting()
    network.use_text_encoder(encoder)
    tokens, lengths = torch.tensor([[1, 2, 3], [4, 5, 0], [1, 2, 3]]), (3, 2, 3)
    first = network.encode(tokens, lengths)
    again = network.encode(tokens, lengths)
    assert encoder.encoded == (6 if dropout else 2)
    for a, b, length in zip(first, again, lengths, strict=True):
        assert torch.equal(a, b)
        assert len(a) == length
    other = Counting()
    network.use_text_encoder(other)  # nothing of the one before is left
    network.eval().encode(tokens, lengths)
    assert other.encoded == 2


def test_padding_of_the_text_has_no_effect() -> None:
    network = model()
    given = batch(SMALLEST, (0,), (0,))
    padded = replace(given, tokens=torch.nn.functional.pad(given.tokens, (0, 9)))
    a, b = in_evaluation(network, given), in_evaluation(network, padded)
    assert torch.equal(a.offsets, b.offsets)
    # And beside a longer sentence, which pads it within the encoder.
    longer = batch(SMALLEST, (0, 3), (0, 0))
    c = in_evaluation(network, longer)
    detector = TSP3DDetector(network)
    torch.testing.assert_close(detector.decode(a)[0].centers, detector.decode(c)[0].centers, atol=1e-4, rtol=0)


def test_addition_makes_no_duplicates_and_none_above_a_threshold_of_one() -> None:
    eager, never = (model(replace(SMALLEST, completion_threshold=t)) for t in (0.0, 1.0))
    given = batch(SMALLEST)
    for network in (eager, never):
        out = in_evaluation(network, given)
        assert len(out.voxels.unique(dim=0)) == len(out.voxels)
        assert (out.counts["out"] > out.counts["grown"]) == (network is eager)


def test_there_is_one_box_a_sentence_with_a_score_and_a_size() -> None:
    network = model()
    detector = TSP3DDetector(network)
    boxes = detector.decode(in_evaluation(network, batch(SMALLEST)))
    assert [len(b) for b in boxes] == [1, 1]
    for box in boxes:
        assert 0 < float(box.scores) < 1
        assert bool((box.sizes > 0).all())


def test_a_scan_whose_voxels_are_all_pruned_still_has_a_box() -> None:
    network = model(replace(SMALLEST, completion=False))
    for keep in (network.coarse_keep, network.middle_keep):
        torch.nn.init.zeros_(keep.weight)
        torch.nn.init.constant_(keep.bias, 20.0)
    out = in_evaluation(network, batch(SMALLEST))
    assert out.counts["coarse kept"] == out.counts["middle kept"] == 2
    assert [len(b) for b in TSP3DDetector(network).decode(out)] == [1, 1]


def test_caps_bound_what_is_computed_in_training() -> None:
    network = model().train()
    torch.manual_seed(0)
    out = network(batch(SMALLEST))
    scenes = 2
    assert len(out.keep[0].voxels) <= SMALLEST.coarse_cap * scenes
    assert len(out.keep[1].voxels) <= SMALLEST.middle_cap * scenes
    assert out.completion is not None
    assert len(out.completion.voxels) <= SMALLEST.completion_cap * scenes
    assert out.counts["grown"] <= SMALLEST.fine_top_range[1] * scenes


def kept_for_gradients(run: Callable[[], object]) -> int:
    """Bytes of the tensors that a forward pass keeps for the backward one."""
    stores: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        stores[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        alive = run()  # no storage is freed, so that none is counted as another one
    assert alive is not None
    return sum(stores.values())


def test_beyond_the_backbone_the_memory_of_training_does_not_grow_with_the_room() -> None:
    config = replace(SMALLEST, surface_only=False, points=100_000)
    network, preparation = model(config).train(), GroundingPreparation(config)
    beyond, backbone = [], []
    for scale, count in ((2, 24_000), (4, 96_000)):  # as dense, so four times as many voxels
        read = preparation.read(sample_of_sentence(room_scan(0, count), 0))
        given = collate([preparation.prepare(replace(read, points=read.points * scale, objects=None))])
        torch.manual_seed(0)
        x = SparseConvTensor(given.features, given.voxels, None, given.scans)
        backbone.append(kept_for_gradients(lambda x=x: network.backbone(x)))
        beyond.append(kept_for_gradients(lambda given=given: network(given)) - backbone[-1])
    assert backbone[1] > 3 * backbone[0]
    # What grows is a little more, as the drawn voxels lie farther apart and share fewer of their 27.
    assert beyond[1] < 1.2 * beyond[0]


def test_pruning_leaves_fewer_voxels_than_the_threshold_zero() -> None:
    open_wide = replace(SMALLEST, coarse_threshold=0.0, middle_threshold=0.0)
    given = batch(SMALLEST)
    pruned, whole = in_evaluation(model(), given), in_evaluation(model(open_wide), given)
    assert whole.counts["coarse kept"] == whole.counts["coarse"]
    assert pruned.counts["middle seen"] <= whole.counts["middle seen"]
    assert pruned.counts["out"] <= whole.counts["out"]


def test_parts_can_be_left_out() -> None:
    given = batch(SMALLEST)
    plain = model(replace(SMALLEST, pruning=False, completion=False))
    out = in_evaluation(plain, given)
    assert out.completion is None
    assert out.keep == ()
    assert out.counts["out"] == out.counts["fine"]  # the decoder's voxels are the backbone's
    names = [name for name, _ in plain.named_parameters()]
    assert not any("completion" in name for name in names)


def test_a_single_voxel_passes_batch_norm_in_training() -> None:
    norm = VoxelNorm(4).train()
    before = norm.running_mean.clone()
    assert bool(torch.isfinite(norm(torch.randn(1, 4))).all())
    assert torch.equal(norm.running_mean, before)


def test_gradients_reach_every_part() -> None:
    network = model().train()
    torch.manual_seed(0)
    given = batch(SMALLEST)
    detector = TSP3DDetector(network)
    sum(detector.loss(network(given), given).values()).backward()
    idle = [name for name, p in network.named_parameters() if p.grad is None or not bool(p.grad.abs().sum() > 0)]
    # The last words of the last transformer but the first token, and the attention of one word to itself.
    assert not [name for name in idle if "words" not in name and "attention" not in name], idle


# ---- sentences of one scan -----------------------------------------------------------------------------------------


def sample_of_all(scan: Scan) -> ScanSample:
    asked = tuple(sample_of_sentence(scan, i) for i in range(len(scan.sentences)))
    return ScanSample(token=scan.name, scan=scan, asked=asked)


def test_a_step_takes_sentences_that_allow_the_same_change_of_their_scan() -> None:
    preparation = GroundingPreparation(replace(SMALLEST, sentences_per_scan=2, prompts_per_scan=0))
    read = preparation.read(sample_of_all(room_scan()))
    tokens = [question.tokens for question in read.questions]
    drawn = [
        sorted(tokens.index(one.tokens) for one in preparation.prepare(read, np.random.default_rng(seed)).asked)
        for seed in range(40)
    ]
    # The second sentence is the one with "left": it comes alone. Of the other three any two come together.
    assert {tuple(rows) for rows in drawn} == {(1,), (0, 2), (0, 3), (2, 3)}


def test_a_detection_prompt_means_every_object_of_its_classes() -> None:
    preparation = GroundingPreparation(replace(SMALLEST, sentences_per_scan=1, prompts_per_scan=3))
    read = preparation.read(sample_of_all(room_scan()))
    assert read.rows_of_class == {"bed": (3,), "chair": (0, 1), "table": (2,)}
    tokenize = load_tokenizer("words")
    for seed in range(10):
        _, *prompts = preparation.prepare(read, np.random.default_rng(seed)).asked
        assert len(prompts) == 3
        for prompt in prompts:
            assert prompt.truth is not None
            count = len(prompt.truth.targets)
            names = [name for name in ("bed", "chair", "table") if tokenize(name)[1] in prompt.tokens]
            assert count == sum(len(read.rows_of_class[name]) for name in names) > 0


def test_an_epoch_has_a_scan_as_often_as_its_sentences_need(tmp_path: Path) -> None:
    root = write_scannet(tmp_path, {"scene0000_00": room_scan(0, 3000), "scene0001_00": room_scan(1, 3000)})
    by_scan = SentencesByScan(open_grounding_samples(root, "train"), 3)
    assert by_scan.tokens == ("scene0000_00", "scene0001_00")
    assert by_scan.of_epoch() == [0, 0, 1, 1]
    assert [one.sentence for one in by_scan[1].asked] == [text for text, _ in SENTENCES]
    detector = TSP3DDetector(model(replace(SMALLEST, sentences_per_scan=3, epochs=2, batch_size=2)))
    training = DetectorTraining(detector, by_scan, 0)
    assert training.steps == 4
    assert next(iter(training.batches(0))).scans == 2


# ---- augmentation ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sentence", ["the chair near the bed", "left of the bed there is a chair"])
def test_a_view_dependent_sentence_is_turned_a_little_and_never_mirrored(sentence: str) -> None:
    seen = []
    for seed in range(40):
        matrix = draw_change([sentence], 4, np.random.default_rng(seed)).matrix
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
        seen.append((np.linalg.det(matrix) < 0, abs(np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0]))) > 6))
    mirrored, turned = (any(values) for values in zip(*seen, strict=True))
    assert (mirrored, turned) == (("left" not in sentence),) * 2


def test_boxes_follow_the_points_of_their_objects() -> None:
    config = replace(SMALLEST, points=100_000, jitter=0.0)
    preparation = GroundingPreparation(config)
    read = preparation.read(sample(0, 0))
    change = draw_change([read.questions[0].sentence], len(read.points), np.random.default_rng(5))
    truth = preparation.prepare(read, np.random.default_rng(5)).asked[0].truth
    own = change.points(read.points)[read.object_of_point == 0]
    expected = torch.cat([(own.amin(0) + own.amax(0)) / 2, own.amax(0) - own.amin(0)])
    torch.testing.assert_close(truth.targets[0], expected, atol=1e-5, rtol=0)
    assert 0 <= float(change.noise.min()) <= float(change.noise.max()) < NOISE_M


def test_jitter_moves_no_centre_unless_as_released() -> None:
    for released in (False, True):
        preparation = GroundingPreparation(replace(SMALLEST, jitter=0.2, jitter_centers=released))
        read = preparation.read(sample(0, 0))
        without = GroundingPreparation(replace(SMALLEST, jitter=0.0))
        a = preparation.prepare(read, np.random.default_rng(3)).asked[0].truth
        b = without.prepare(read, np.random.default_rng(3)).asked[0].truth
        assert bool((a.targets[:, :3] == b.targets[:, :3]).all()) != released
        assert not torch.equal(a.targets[:, 3:], b.targets[:, 3:])


def test_the_first_point_of_a_voxel_stands_for_it() -> None:
    preparation = GroundingPreparation(SMALLEST)
    read = preparation.read(sample())
    points = torch.tensor([[0.01, 0.01, 0.01], [0.02, 0.02, 0.02], [-0.01, 0.01, 0.01]])
    scene = preparation.prepare(replace(read, points=points, colors=torch.zeros(3, 3), objects=None))
    assert scene.voxels.tolist() == [[-1, 0, 0], [0, 0, 0]]  # floor, not truncation
    torch.testing.assert_close(scene.features[:, :3], points[[2, 0]])


def test_another_object_that_the_sentence_names_is_the_nearest_of_its_kind() -> None:
    one = sample(0, 3)  # "the bed next to the blue chair"
    assert one.near == 1
    assert sample(0, 0).near is None  # "the red chair"
    assert room_scan().objects.name(1) == "chair"
