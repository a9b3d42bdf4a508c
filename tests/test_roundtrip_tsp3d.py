"""TSP3D's files: weights of our own and of the release, boxes, and a training by two processes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fewview.detect.detector_registry import DETECTORS, load_detector, new_detector
from fewview.detect.measure import Predictor, measure
from fewview.detect.metrics.grounding_metric import GroundingMetric
from fewview.detect.metrics.grounding_results import read_grounding_results, write_grounding_results
from fewview.detect.sparse import SparseConvTensor
from fewview.detect.training import DetectorTraining
from fewview.detect.tsp3d.backbone import GrowingConv, VoxelConv
from fewview.detect.tsp3d.config import TSP3DConfig
from fewview.detect.tsp3d.grounding_detector import TSP3DDetector
from fewview.detect.tsp3d.model import TSP3DModel
from fewview.detect.tsp3d.tsp3d_released import convert_released, released_name
from fewview.detect.tsp3d.tsp3d_weights import load_model, save_weights
from fewview.scene.errors import BadInputError
from support.grounding import SMALLEST, TwoRooms, batch
from support.released_tsp3d import released_layout
from support.threads import one_torch_thread as one_torch_thread
from support.two_processes import assert_two_processes_agree

# The released layout has no encoder that is learnt.
RELEASED = replace(SMALLEST, text="minilm", attention_layers=2, blocks=(1, 2, 1, 1))


def test_boxes_of_sentences_come_back_from_their_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    samples, metric = TwoRooms(), GroundingMetric.of(TwoRooms())
    scores, found = measure(Predictor(TSP3DDetector(TSP3DModel(SMALLEST)), torch.device("cpu")), samples, metric)
    write_grounding_results(tmp_path / "boxes.json", found)
    again = metric.evaluate(read_grounding_results(tmp_path / "boxes.json"))
    assert again.summary() == scores.summary()
    assert scores.summary()["overall"]["sentences"] == 8


def one_epoch() -> DetectorTraining:
    detector = TSP3DDetector(TSP3DModel(replace(SMALLEST, epochs=1)))
    return DetectorTraining(detector, TwoRooms(), 3)


def test_two_processes_end_with_the_same_weights(tmp_path: Path) -> None:
    assert_two_processes_agree(tmp_path, one_epoch)


def test_weights_and_config_come_back_from_a_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = TSP3DModel(replace(SMALLEST, names=("chair", "bed"))).eval()
    save_weights(tmp_path / "weights.safetensors", model)
    loaded = load_detector("tsp3d", tmp_path)
    assert loaded.network.config == model.config
    given = batch(SMALLEST)
    with torch.no_grad():
        a, b = model(given), loaded.network.eval()(given)
    assert torch.equal(a.logits, b.logits)


def test_a_frozen_text_encoder_is_no_part_of_the_weights() -> None:
    detector = new_detector("tsp3d", DETECTORS["tsp3d"].presets[-1])
    names = list(detector.network.state_dict())
    assert not [name for name in names if "encoder" in name or name.startswith("words.")]
    assert detector.task.name == DETECTORS["tsp3d"].task


# ---- the released layout -----------------------------------------------------------------------------------------


def test_every_released_tensor_has_its_place() -> None:
    model = TSP3DModel(RELEASED)
    theirs = released_layout(RELEASED, 384)
    converted = convert_released(theirs, model, Path("released.pth"))
    model.load_state_dict(converted, strict=True)
    assert {f"module.{released_name(name)}" for name in model.state_dict()} == {
        name for name in theirs if ".text_encoder." not in name
    }
    name = "coarse_fusion.layers.1.voxels_to_words.attention.in_proj_weight"
    assert torch.equal(converted[name], theirs["module.head.keep_trans.1.layers.1.cross_layer.cross_vl.in_proj_weight"])
    assert torch.equal(converted["box.weight"], theirs["module.head.bbox_conv.kernel"].T)


@pytest.mark.parametrize("change", ["missing", "left over", "shape"])
def test_a_checkpoint_that_does_not_fit_is_one_sentence(tmp_path: Path, change: str) -> None:
    config = replace(TSP3DConfig(), blocks=(1, 1, 1, 1), stem_channels=8, stage_channels=(8, 16, 16, 16))
    theirs = released_layout(config, 768)
    key = "module.head.lateral_block_1.0.kernel"
    if change == "missing":
        del theirs[key]
    elif change == "left over":
        theirs["module.head.extra.kernel"] = torch.zeros(1)
    else:
        theirs[key] = torch.zeros(8, 16, 16)
    torch.save({"model": theirs, "epoch": 3}, tmp_path / "released.pth")
    with pytest.raises(BadInputError) as told:
        convert_released(theirs, TSP3DModel(config), tmp_path / "released.pth")
    assert ("extra" if change == "left over" else "lateral_block_1") in str(told.value)
    with pytest.raises(BadInputError, match=r"released\.pth"):
        load_model(tmp_path / "released.pth")  # of the paper's sizes


def slot(offset: tuple[int, int, int]) -> int:
    """The place of an offset in MinkowskiEngine's kernels: x fastest, from -1."""
    x, y, z = (v + 1 for v in offset)
    return x + 3 * y + 9 * z


@pytest.mark.parametrize("offset", [(-1, 0, 0), (0, -1, 0), (0, 0, 1), (1, 1, -1), (0, 0, 0)])
def test_one_hot_kernels_move_features_as_in_the_release(offset: tuple[int, int, int]) -> None:
    """A convolution's output at p takes the input at p + offset; a generative one gives to p + offset."""
    from fewview.detect.sparse import converted_weight

    kernel = torch.zeros(27, 1, 1)
    kernel[slot(offset)] = 1
    cells = torch.tensor([[0, x, y, z] for x in range(-4, 6) for y in range(-4, 6) for z in range(-4, 6)])
    numbered = SparseConvTensor(torch.arange(1.0, 1001.0)[:, None], cells.int(), None, 1)
    conv = VoxelConv(1, 1, 3)
    conv.weight.data = converted_weight(kernel, conv.weight.shape, "minkowski")
    value = {tuple(c[1:]): v for c, v in zip(cells.tolist(), conv(numbered).features[:, 0].tolist(), strict=True)}
    number = {tuple(c[1:]): v for c, v in zip(cells.tolist(), numbered.features[:, 0].tolist(), strict=True)}
    for x, y, z in ((0, 0, 0), (2, -1, 3)):
        assert value[x, y, z] == number[x + offset[0], y + offset[1], z + offset[2]]

    coarse = SparseConvTensor(torch.tensor([[5.0]]), torch.tensor([[0, 8, -8, 0]]).int(), None, 1, stride=8)
    up = GrowingConv(1, 1)
    up.weight.data = converted_weight(kernel, up.weight.shape, "minkowski")
    grown = up(coarse)
    lit = grown.indices[grown.features[:, 0] != 0].tolist()
    assert lit == [[0, 8 + 4 * offset[0], -8 + 4 * offset[1], 4 * offset[2]]]
