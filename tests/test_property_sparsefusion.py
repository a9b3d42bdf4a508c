"""Properties of the whole network with any weights: the facts that the method's description promises."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from fewview.detect.common.circle_nms import circle_nms
from fewview.detect.sparse import SparseConv3d, SparseConvTensor, SubMConv3d
from fewview.detect.sparsefusion.augment import Augmentation
from fewview.detect.sparsefusion.camera_branch import image_features
from fewview.detect.sparsefusion.config import preset
from fewview.detect.sparsefusion.decode import IMAGE_QUERY_WEIGHT, SQUARED_RADIUS_M2, detections, query_scores
from fewview.detect.sparsefusion.driving_batch import Batch
from fewview.detect.sparsefusion.encoder import SparseEncoder
from fewview.detect.sparsefusion.heatmap_targets import SMALL_CLASSES
from fewview.detect.sparsefusion.model import Output, SparseFusionModel
from fewview.detect.sparsefusion.stage_losses import losses
from fewview.detect.sparsefusion.voxelize import voxelize
from fewview.detect.tasks.driving_task import CLASS_NAMES
from fewview.scene.boxes import Boxes
from fewview.scene.errors import BadInputError
from support.detection import SMALLEST, make_batch, make_sample
from support.rounding import BFLOAT16, assert_within, sum_error
from support.threads import one_torch_thread as one_torch_thread

DENSE_PRODUCTS = (torch.nn.Linear, torch.nn.Conv2d, torch.nn.ConvTranspose2d)
SPARSE_PRODUCTS = (SubMConv3d, SparseConv3d)


@pytest.fixture(scope="module")
def batch() -> Batch:
    return make_batch(SMALLEST)


@pytest.fixture(scope="module")
def model() -> SparseFusionModel:
    torch.manual_seed(0)
    return SparseFusionModel(SMALLEST).eval()


@pytest.fixture(scope="module")
def output(model: SparseFusionModel, batch: Batch) -> Output:
    with torch.no_grad():
        return model(batch)


def test_the_papers_encoder_ends_in_256_channels_of_180_by_180():
    config = preset("paper")
    encoder = SparseEncoder(config).eval()
    assert encoder.depths == [41, 21, 11, 5, 2]
    assert encoder.out_channels == 256
    points = make_sample(0, points=60).points
    with torch.no_grad():
        voxels = voxelize([points], config, 1000)
        assert encoder(voxels, 1).shape == (1, 256, 180, 180)
        seen = []
        hooks = [stage.register_forward_hook(lambda _m, _i, out: seen.append(out)) for stage in encoder.stages]
        encoder(voxels, 1)
    for hook in hooks:
        hook.remove()
    assert [tensor.spatial_shape[0] for tensor in seen] == [21, 11, 5, 5]


def test_channels_fold_height_innermost():
    """Channel c of height d becomes 2 c + d."""
    config = preset("paper")
    encoder = SparseEncoder(config)
    dense = encoder.conv_out[0]
    assert dense.kernel_size == (3, 1, 1)
    assert dense.stride == (2, 1, 1)
    values = torch.arange(2 * 3 * 2).reshape(1, 3, 2, 1, 2)
    assert torch.equal(values.flatten(1, 2)[0, 2 * 1 + 1], values[0, 1, 1])


def test_queries_of_both_kinds_and_their_places(output: Output):
    c = SMALLEST
    assert output.lidar.codes.shape == (2, c.lidar_queries, 10)
    assert output.view.codes.shape == (2, c.image_queries, 10)
    assert output.fusion.codes.shape == (2, c.lidar_queries + c.image_queries, 10)
    assert output.fusion.logits.shape == (2, c.lidar_queries + c.image_queries, len(CLASS_NAMES))
    positions = output.lidar_queries.positions
    assert bool(((positions > 0) & (positions < torch.tensor(c.bev_size))).all())
    assert (preset("paper").lidar_queries, preset("paper").image_queries) == (200, 200)


def test_border_cells_give_queries_to_pedestrians_and_cones_only(model: SparseFusionModel):
    nx, ny = SMALLEST.bev_size
    bev = torch.randn(1, SMALLEST.hidden_channels, ny, nx)
    heat = torch.full((1, 10, ny, nx), -9.0)
    heat[:, :, 0], heat[:, :, :, -1] = 9, 9  # only the border looks like something
    queries = model.lidar_branch.choose(bev, heat)
    assert set(queries.classes.unique().tolist()) <= set(SMALL_CLASSES)
    assert bool((queries.scores > 0.9).all())
    heat[:, list(SMALL_CLASSES)] = -9
    heat[:, 3, 5, 6] = 1
    queries = model.lidar_branch.choose(bev, heat)
    best = queries.scores[0].argmax()
    assert (int(queries.classes[0, best]), queries.positions[0, best].tolist()) == (3, [6.5, 5.5])


def test_black_images_change_which_queries_are_chosen_but_not_what_they_are(batch: Batch):
    model = SparseFusionModel(replace(SMALLEST, lidar_queries=400)).eval()  # many, so that some choices are close
    dark = replace(batch, images=torch.zeros_like(batch.images))
    with torch.no_grad():
        light_output, dark_output = model(batch), model(dark)
    assert not torch.equal(light_output.bev_heatmap, dark_output.bev_heatmap)
    a, b = light_output.lidar_queries, dark_output.lidar_queries

    def table(queries, sample: int) -> dict[tuple, torch.Tensor]:
        keys = zip(queries.classes[sample].tolist(), queries.positions[sample].tolist(), strict=True)
        rows = zip(keys, queries.features[sample], strict=True)
        return {(label, *position): feature for (label, position), feature in rows}

    same = 0
    for sample in range(2):
        light, black = table(a, sample), table(b, sample)
        assert set(light) != set(black)
        for key in set(light) & set(black):
            assert torch.equal(light[key], black[key])
            same += 1
    assert same  # otherwise nothing was compared


def test_an_image_query_whose_classes_disagree_scores_zero(output: Output):
    scores = query_scores(output)
    n = SMALLEST.lidar_queries
    queries = output.image_queries
    decided = output.image.logits.argmax(dim=-1)
    agree = decided == queries.classes
    assert bool((~agree).any())
    assert float(scores[:, n:][~agree].abs().max()) == 0
    for b, q in agree.nonzero().tolist():
        label = queries.classes[b, q]
        expected = output.fusion.logits[b, n + q, label].sigmoid() * IMAGE_QUERY_WEIGHT * queries.scores[b, q]
        torch.testing.assert_close(scores[b, n + q, label], expected)
    # A LiDAR query scores at its own class only.
    other = torch.nn.functional.one_hot(output.lidar_queries.classes, 10) == 0
    assert float(scores[:, :n][other].abs().max()) == 0


def test_a_forced_agreement_scores_half(model: SparseFusionModel, output: Output):
    classes = output.image_queries.classes
    logits = torch.nn.functional.one_hot(classes, 10).float()
    agreeing = replace(output, image=replace(output.image, logits=logits))
    scores = query_scores(agreeing)[:, SMALLEST.lidar_queries :]
    at_class = scores.gather(2, classes[..., None])[..., 0]
    fusion = output.fusion.logits[:, SMALLEST.lidar_queries :].gather(2, classes[..., None])[..., 0]
    torch.testing.assert_close(at_class, 0.5 * fusion.sigmoid() * output.image_queries.scores)


def kept(boxes: Boxes) -> torch.Tensor:
    return circle_nms(boxes, SQUARED_RADIUS_M2)


def _cars(gap_m: float, name: str = "car", scores: tuple[float, float] = (0.9, 0.8)) -> Boxes:
    label = torch.full((2,), CLASS_NAMES.index(name))
    centers = torch.tensor([[10.0, 4.0, 0], [10.0 + gap_m, 4.0, 1.0]])
    return Boxes.upright(centers, torch.ones(2, 3), torch.zeros(2), label, CLASS_NAMES, scores=torch.tensor(scores))


def test_nms_keeps_two_cars_60_cm_apart_and_drops_one_of_two_at_58_cm():
    assert kept(_cars(0.60)).tolist() == [0, 1]
    assert kept(_cars(0.58)).tolist() == [0]
    assert kept(_cars(0.58, scores=(0.8, 0.9))).tolist() == [1]
    assert kept(_cars(0.58, scores=(0.9, 0.9))).tolist() == [0, 1]  # only a strictly higher score suppresses
    assert kept(_cars(0.41, "barrier")).tolist() == [0]
    assert kept(_cars(0.43, "barrier")).tolist() == [0, 1]
    assert kept(_cars(0.31, "pedestrian")).tolist() == [0]
    assert kept(_cars(0.01, "bicycle")).tolist() == [0, 1]


def test_nms_looks_at_each_class_alone_and_a_dropped_box_drops_none():
    row = Boxes.cat([_cars(0.5), _cars(0.5, "truck")])
    assert kept(row).tolist() == [0, 2]
    centers = torch.tensor([[0.0, 0, 0], [0.5, 0, 0], [1.0, 0, 0]])
    chain = Boxes.upright(
        centers, torch.ones(3, 3), torch.zeros(3), torch.zeros(3).long(), CLASS_NAMES, scores=torch.tensor([3.0, 2, 1])
    )
    assert kept(chain).tolist() == [0, 2]
    assert kept(chain[:0]).tolist() == []


def test_boxes_come_out_inside_of_the_kept_range(output: Output):
    for boxes in detections(output, SMALLEST):
        assert len(boxes) <= SMALLEST.lidar_queries + SMALLEST.image_queries
        assert bool((boxes.centers[:, :2].abs() <= 61.2).all())
        assert bool((boxes.centers[:, 2].abs() <= 10).all())
        assert bool((boxes.sizes > 0).all())


@pytest.mark.parametrize(
    "off",
    [
        {},
        {"use_images": False},
        {"use_lidar": False},
        {"semantic_transfer": False},
        {"geometric_transfer": False},
    ],
)
def test_every_part_can_be_left_out_and_all_weights_learn(off: dict[str, bool], batch: Batch):
    torch.manual_seed(1)
    config = replace(SMALLEST, **off)
    model = SparseFusionModel(config).train()
    output = model(batch)
    found = losses(output, batch, config)
    torch.stack(list(found.values())).sum().backward()
    idle = [name for name, p in model.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    assert idle == []
    assert (output.lidar is None) == (not config.use_lidar)
    assert (output.view is None) == (not config.use_images)
    assert (output.fusion is None) == (not config.fuses)
    assert len(detections(output, config)) == 2


def test_a_model_needs_a_modality():
    with pytest.raises(BadInputError, match="nothing to see"):
        replace(SMALLEST, use_images=False, use_lidar=False)
    with pytest.raises(BadInputError, match="multiples of 32"):
        replace(SMALLEST, image_width_px=100)


def test_samples_of_a_batch_do_not_see_each_other(model: SparseFusionModel, batch: Batch):
    with torch.no_grad():
        together = model(batch)
        alone = model(make_batch(SMALLEST, (1,)))
    # Sums run in another order; everything is of the order of 1 to 100 cells.
    torch.testing.assert_close(together.fusion.codes[1], alone.fusion.codes[0], atol=1e-3, rtol=1e-3)


def test_a_sample_without_points_and_one_without_boxes(model: SparseFusionModel, batch: Batch):
    empty = replace(batch, points=[p[:0] for p in batch.points])
    with torch.no_grad():
        output = model(empty)
    assert bool(torch.isfinite(output.fusion.codes).all())
    none = replace(make_sample(3), boxes=Boxes.empty(CLASS_NAMES))
    targets = tuple(
        replace(
            t,
            boxes=t.boxes[:0],
            visible=t.visible[:0],
            sightings=type(t.sightings)(*(v[:0] for v in vars(t.sightings).values())),
        )
        for t in batch.targets
    )
    found = losses(output, replace(empty, targets=targets), SMALLEST)
    assert all(bool(torch.isfinite(v)) for v in found.values())
    assert none.boxes is not None


def test_a_view_with_one_query_gives_zeros(model: SparseFusionModel, batch: Batch):
    """As the released code has it: a query that is alone in its view is not decoded."""
    with torch.no_grad():
        shape = batch.images.shape[:2]
        levels = model.image_trunk(batch.images.flatten(0, 1))
        levels = model.camera_branch.with_levels(model.geometric_transfer(torch.zeros(12, 2, 24, 32), levels))
        features = image_features([x.unflatten(0, shape) for x in levels], batch.views)
        queries = model.camera_branch.choose(features, model.camera_branch.heatmaps(features))
        n = SMALLEST.image_queries
        views = torch.zeros(2, n, dtype=torch.int64)
        views[0, 3] = 4
        views[1, ::2] = 5
        decoded, _, _ = model.camera_branch(features, replace(queries, views=views))
    assert not decoded[0, 3].any()
    kept = torch.ones(n, dtype=torch.bool)
    kept[3] = False
    assert bool(decoded[0, kept].any(dim=-1).all())
    assert bool(decoded[1].any(dim=-1).all())


def test_mixed_precision_runs_and_is_close(model: SparseFusionModel, batch: Batch):
    """Autocast on a CPU has the same rules for types as on a GPU."""
    with torch.no_grad():
        exact = model(batch)
        with torch.autocast("cpu", torch.bfloat16):
            rough = model(batch)
    assert rough.fusion.codes.dtype == torch.float32
    assert bool(torch.isfinite(rough.fusion.codes).all())
    assert not torch.equal(rough.bev_heatmap.float(), exact.bev_heatmap)
    # Before any choice of queries, where a change is smooth. Some twenty layers with random weights, which let errors
    # grow as much as what they are errors of: three roundings of 2^-8 each, and room for all to point one way.
    off = (rough.bev_heatmap.float() - exact.bev_heatmap).norm() / exact.bev_heatmap.norm()
    assert float(off) < 20 * 3 * BFLOAT16


def test_mixed_precision_rounds_each_layer_as_the_format_does(model: SparseFusionModel, batch: Batch):
    """Every layer of the network on what it is really given, in bfloat16 and in float64."""
    given: dict[torch.nn.Module, torch.Tensor | SparseConvTensor] = {}

    def keep(layer: torch.nn.Module, inputs: tuple[torch.Tensor | SparseConvTensor]) -> None:
        given[layer] = inputs[0]

    layers = [m for m in model.modules() if isinstance(m, DENSE_PRODUCTS + SPARSE_PRODUCTS)]
    hooks = [layer.register_forward_pre_hook(keep) for layer in layers]
    with torch.no_grad():
        model(batch)
        for hook in hooks:
            hook.remove()
        assert len(given) > 60
        for layer, x in given.items():
            sparse_layer = isinstance(layer, SPARSE_PRODUCTS)
            with torch.autocast("cpu", torch.bfloat16):
                rough = layer(x).features if sparse_layer else layer(x)
            plain = copy.deepcopy(layer).double()
            sizes_of = copy.deepcopy(plain)
            for parameter in sizes_of.parameters():
                parameter.abs_()
            if sparse_layer:
                features = x.features.double()
                exact = plain(x.replace_feature(features)).features
                sizes = sizes_of(x.replace_feature(features.abs())).features
            else:
                exact, sizes = plain(x.double()), sizes_of(x.double().abs())
                assert rough.dtype == torch.bfloat16
            # Both factors are rounded and, in dense layers, the sum: with and without the bias, which takes a second.
            roundings = 2 if sparse_layer else 4
            lost = sum_error(layer.weight.numel(), sizes)
            assert_within(rough, exact, lost + ((1 + BFLOAT16) ** roundings - 1) * sizes)


def test_augmented_batches_have_finite_losses():
    change = Augmentation(0.5, 0.93, (1.0, 0.3, -0.2), True, False, (0.9, 1.1, 1, 0.95, 1.05, 1), ((0.5, 0.5),) * 6)
    batch = make_batch(SMALLEST, (0, 1), change)
    torch.manual_seed(2)
    model = SparseFusionModel(SMALLEST).train()
    found = losses(model(batch), batch, SMALLEST)
    assert len(found) == 11
    assert all(bool(torch.isfinite(v)) and float(v.detach()) >= 0 for v in found.values())
