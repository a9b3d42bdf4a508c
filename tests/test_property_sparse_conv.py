"""Sparse convolution: what must hold whatever the features, and inputs with little or nothing in them."""

from __future__ import annotations

import pytest
import torch
from fewview import _native
from fewview.detect import sparse
from fewview.detect.sparse import SparseConvTensor, kernel_map
from fewview.scene.errors import BadInputError
from support.native import keep_threads as keep_threads
from support.sparse_tensors import as_dict, random_sparse, random_unbounded, random_weight
from support.sparse_tensors import same_layers as same_layers
from support.threads import one_torch_thread as one_torch_thread
from torch import nn


def voxels(*where: tuple[int, int, int], channels: int = 2, stride: int = 1) -> SparseConvTensor:
    """An unbounded tensor of one item with voxels at the given places, all features 1."""
    indices = torch.tensor([[0, *w] for w in where], dtype=torch.int32).reshape(-1, 4)
    return SparseConvTensor(torch.ones(len(where), channels), indices, None, 1, stride=stride)


@pytest.mark.parametrize("stride", [2, 3])
def test_minkowski_outputs_are_floored_not_truncated(stride: int) -> None:
    x = random_unbounded()
    y = sparse.strided_conv(x, random_weight(3, (3, 3, 3), 4), None, stride, rule="minkowski")
    floored = torch.div(x.indices[:, 1:], stride, rounding_mode="floor") * stride
    expected = torch.unique(torch.cat([x.indices[:, :1], floored], dim=1), dim=0)
    assert torch.equal(y.indices, expected)
    assert int(y.indices[:, 1:].min()) < 0


def test_a_generative_convolution_makes_27_voxels_of_one_and_45_of_two_neighbours() -> None:
    weight = random_weight(3, (3, 3, 3), 2)
    one = sparse.generative_conv(voxels((-4, 0, 8), stride=2), weight)
    assert len(one) == 27
    assert one.stride == (1, 1, 1)
    assert torch.equal((one.indices[:, 1:] - torch.tensor([-4, 0, 8])).unique(), torch.tensor([-1, 0, 1]))
    assert len(sparse.generative_conv(voxels((0, 0, 0), (0, 0, 2), stride=2), weight)) == 45
    assert len(sparse.generative_conv(voxels((0, 0, 0), stride=2), random_weight(3, (2, 2, 2), 2))) == 8


@pytest.mark.parametrize("kind", ["submanifold", "strided", "minkowski"])
def test_the_order_of_rows_changes_nothing_but_the_order_of_rows(kind: str) -> None:
    x = random_sparse()
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(3))
    shuffled = SparseConvTensor(x.features[order], x.indices[order], x.spatial_shape, x.batch_size)
    weight = random_weight(5, (3, 3, 3), 4)

    def results(t: SparseConvTensor) -> dict:
        if kind == "submanifold":
            return as_dict(sparse.submanifold_conv(t, weight))
        rule = "spconv" if kind == "strided" else "minkowski"
        return as_dict(sparse.strided_conv(t, weight, None, 2, int(kind == "strided"), rule=rule))

    mine, other = results(x), results(shuffled)
    assert mine.keys() == other.keys()
    assert all(torch.equal(mine[k], other[k]) for k in mine)  # sums run in slot order, whatever the rows


def one_hot(layout: str, slot: tuple[int, int, int]) -> torch.Tensor:
    """A 3 x 3 x 3 kernel of one channel that is 1 in one slot, in the layout of a library."""
    a, b, c = slot
    if layout == "spconv2":
        weight = torch.zeros(1, 3, 3, 3, 1)
        weight[0, a, b, c, 0] = 1
    elif layout == "spconv1":
        weight = torch.zeros(3, 3, 3, 1, 1)
        weight[a, b, c, 0, 0] = 1
    else:
        weight = torch.zeros(27, 1, 1)
        weight[a + 3 * b + 9 * c] = 1  # MinkowskiEngine: the first spatial axis is the fastest
    return weight


@pytest.mark.parametrize("layout", ["spconv2", "spconv1", "minkowski"])
@pytest.mark.parametrize("slot", [(0, 1, 1), (1, 0, 1), (1, 1, 0), (2, 0, 1), (0, 1, 2)])
def test_a_one_hot_weight_moves_features_by_its_offset(layout: str, slot: tuple[int, int, int]) -> None:
    weight = sparse.converted_weight(one_hot(layout, slot), (1, 3, 3, 3, 1), layout)  # type: ignore[arg-type]
    offset = [s - 1 for s in slot]
    x = voxels((0, 0, 0), tuple(offset), channels=1)  # type: ignore[arg-type]
    x.features[:] = torch.tensor([[1.0], [7.0]])
    y = as_dict(sparse.submanifold_conv(x, weight))
    assert y[(0, 0, 0, 0)].item() == 7.0  # in = out + offset
    assert y[(0, *offset)].item() == 0.0


def test_weights_of_every_layout_are_told_by_their_shape() -> None:
    ours = random_weight(6, (3, 1, 5), 4)
    assert torch.equal(sparse.converted_weight(ours, ours.shape), ours)
    assert torch.equal(sparse.converted_weight(ours.permute(1, 2, 3, 4, 0), ours.shape), ours)
    minkowski = ours.permute(3, 2, 1, 4, 0).reshape(15, 4, 6)
    assert torch.equal(sparse.converted_weight(minkowski, ours.shape), ours)
    point = random_weight(6, (1, 1, 1), 4)
    assert torch.equal(sparse.converted_weight(point.reshape(6, 4).T, point.shape), point)
    with pytest.raises(BadInputError, match="may have the layout of spconv2 or spconv1; name which"):
        sparse.converted_weight(torch.zeros(3, 3, 3, 3, 3), (3, 3, 3, 3, 3))
    with pytest.raises(BadInputError, match="layout of none of"):
        sparse.converted_weight(torch.zeros(26, 4, 6), ours.shape)


class Counted:
    """Counts the maps that are built."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        build = kernel_map.build_map

        def counting(*arguments: object, **named: object) -> kernel_map.KernelMap:
            self.count += 1
            return build(*arguments, **named)  # type: ignore[arg-type]

        monkeypatch.setattr(kernel_map, "build_map", counting)


def test_layers_on_one_set_of_voxels_share_one_map(monkeypatch: pytest.MonkeyPatch) -> None:
    built = Counted(monkeypatch)
    x = random_sparse()
    subm = [sparse.SubMConv3d(4, 4, 3, indice_key=key) for key in ("a", None, "b")]
    down = [sparse.SparseConv3d(4, 4, 3, 2, 1) for _ in range(2)]
    for layer in subm:
        x = layer(x)
    assert built.count == 1
    coarse = [layer(x) for layer in down]
    assert built.count == 2
    assert coarse[0].coordinates is coarse[1].coordinates
    (coarse[0] + coarse[1]).features.sum().backward()
    assert built.count == 2
    sparse.SubMConv3d(4, 4, 5)(x)
    assert built.count == 3


def test_minkowski_layers_of_one_stride_give_one_set(monkeypatch: pytest.MonkeyPatch) -> None:
    built = Counted(monkeypatch)
    x = random_unbounded()
    y = sparse.strided_conv(x, random_weight(3, (3, 3, 3), 4), None, 2, rule="minkowski")
    shortcut = sparse.strided_conv(x, random_weight(3, (1, 1, 1), 4), None, 2, rule="minkowski")
    pooled = sparse.max_pool(x, 2, 2, rule="minkowski")
    assert y.coordinates is shortcut.coordinates
    assert y.coordinates is pooled.coordinates
    assert built.count == 3


def test_a_pruned_tensor_never_meets_the_maps_of_the_whole_one(monkeypatch: pytest.MonkeyPatch) -> None:
    built = Counted(monkeypatch)
    x = random_sparse()
    weight = random_weight(3, (3, 3, 3), 4)
    sparse.submanifold_conv(x, weight)
    sparse.strided_conv(x, weight, None, 2, 1)
    for keep in (torch.arange(len(x)) % 2 == 0, torch.arange(len(x)) % 2 == 1):  # as many voxels, other ones
        part = sparse.prune(x, keep)
        fresh = SparseConvTensor(part.features, part.indices, x.spatial_shape, x.batch_size)
        for operator in (
            lambda t: sparse.submanifold_conv(t, weight),
            lambda t: sparse.strided_conv(t, weight, None, 2, 1),
        ):
            assert torch.equal(operator(part).dense(), operator(fresh).dense())
    assert built.count == 2 + 2 * 4


def test_the_sum_over_a_union_is_the_dense_sum() -> None:
    a, b = random_sparse(seed=1), random_sparse(seed=2)
    total = a + b
    torch.testing.assert_close(total.dense(), a.dense() + b.dense(), rtol=0, atol=0)
    assert torch.equal((b + a).dense(), total.dense())
    assert len(total) == int(((a.dense() != 0) | (b.dense() != 0)).any(1).sum())
    doubled = a + a
    assert doubled.coordinates is a.coordinates
    assert torch.equal(doubled.features, 2 * a.features)
    with pytest.raises(BadInputError, match="do not lie on one grid"):
        sparse.union_add(a, random_sparse((5, 7, 8)))


@pytest.mark.parametrize("stride", [1, 4])
def test_interpolation_reads_voxels_halves_and_nothing(stride: int) -> None:
    x = voxels((-1 * stride, 0, 0), (0, 0, 0), stride=stride)
    x.features[:] = torch.tensor([[2.0, 4.0], [6.0, 8.0]])
    half = stride / 2
    points = torch.tensor(
        [[0, -stride, 0, 0], [0, 0, 0, 0], [0, -half, 0, 0], [0, half, 0, 0], [0, 0, half, half], [0, 9 * stride, 0, 0]]
    ).float()
    expected = [[2, 4], [6, 8], [4, 6], [3, 4], [1.5, 2], [0, 0]]  # no renormalisation beside absent voxels
    torch.testing.assert_close(sparse.interpolate(x, points), torch.tensor(expected).float())


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_results_are_the_same_bits_for_any_number_of_threads(threads: int, keep_threads: None) -> None:
    x = random_sparse((20, 20, 20), density=0.3, channels=8)  # 19 tiles
    weight = random_weight(24, (3, 3, 3), 8)

    def run() -> list[torch.Tensor]:
        inputs = [t.clone().requires_grad_() for t in (x.features, weight)]
        fresh = SparseConvTensor(inputs[0], x.indices, x.spatial_shape, x.batch_size)
        y = sparse.max_pool(sparse.strided_conv(fresh, inputs[1], None, 2, 1), 3, 2, 1)
        y.features.square().sum().backward()
        return [y.features.detach(), *(t.grad for t in inputs)]

    _native.set_num_threads(1)
    expected = run()
    _native.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(run(), expected, strict=True))


def encoder(channels: int) -> sparse.SparseSequential:
    """Every spconv-style layer once."""
    return sparse.SparseSequential(
        sparse.SubMConv3d(channels, 8, 3, bias=False, indice_key="in"),
        nn.BatchNorm1d(8),
        nn.ReLU(),
        sparse.SparseConv3d(8, 16, 3, 2, 1, indice_key="down"),
        sparse.SparseMaxPool3d(3, 1, 1),
        sparse.SparseAvgPool3d(3, 1, 1),
        sparse.SubMConv3d(16, 16, 3),
    )


@pytest.mark.parametrize("indices", [[], [[0, 1, 2, 3]], [[1, 0, 0, 0], [1, 5, 6, 7]]])
@pytest.mark.parametrize("training", [True, False])
def test_nothing_one_voxel_and_an_empty_item_pass_through_every_layer(indices: list, training: bool) -> None:
    n = len(indices)
    if training and n == 1:
        training = False  # batch statistics of one row do not exist, in no library
    features = torch.randn(n, 4, requires_grad=True)
    x = SparseConvTensor(features, torch.tensor(indices, dtype=torch.int32).reshape(n, 4), (6, 7, 8), 3)
    net = encoder(4).train(training)
    y = net(x)
    assert y.features.shape[1] == 16
    assert y.dense().shape == (3, 16, 3, 4, 4)
    assert [len(rows) > 0 for rows in y.batch_rows()] == [b in {i[0] for i in indices} for b in range(3)]
    y.features.square().sum().backward()
    assert features.grad is not None
    assert features.grad.shape == (n, 4)
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in net.parameters())


def test_nothing_passes_through_every_minkowski_operator() -> None:
    x = voxels(stride=2)
    x = x.replace_feature(x.features.requires_grad_())
    weight = random_weight(2, (3, 3, 3), 2).requires_grad_()
    y = sparse.strided_conv(x, weight, None, 2, rule="minkowski")
    z = sparse.generative_conv(y, weight, torch.zeros(2), 2)
    z = sparse.union_add(z, sparse.prune(voxels((2, 2, 2), stride=2), torch.tensor([False])))
    assert len(z) == 0
    assert z.stride == (2, 2, 2)
    read = sparse.interpolate(z, torch.zeros(3, 4))
    assert torch.equal(read, torch.zeros(3, 2))
    (z.features.sum() + read.sum()).backward()
    assert torch.equal(weight.grad, torch.zeros_like(weight))


def test_an_output_with_no_voxel_is_empty() -> None:
    x = SparseConvTensor(torch.ones(1, 2), torch.tensor([[0, 1, 1, 1]], dtype=torch.int32), (3, 3, 3), 1)
    y = sparse.strided_conv(x, random_weight(2, (1, 1, 1), 2), None, 2)  # only even cells are read
    assert y.features.shape == (0, 2)
    assert sparse.submanifold_conv(y, random_weight(3, (3, 3, 3), 2)).features.shape == (0, 3)


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        ([[0, 1, 1, 1], [0, 2, 2, 2], [0, 1, 1, 1]], r"voxel \[1, 1, 1\] of batch item 0 is named more than once"),
        ([[0, 0, 0, 8]], "outside the grid of 8 cells"),
        ([[0, -1, 0, 0]], "outside the grid of 6 cells"),
        ([[2, 0, 0, 0]], "the batch size is 2"),
        ([[0, 0, 0]], r"expected \[N, 4\]"),
    ],
)
def test_wrong_voxels_are_refused_in_a_sentence(indices: list, message: str) -> None:
    with pytest.raises(BadInputError, match=message) as caught:
        SparseConvTensor(torch.ones(len(indices), 1), torch.tensor(indices, dtype=torch.int32), (6, 7, 8), 2)
    assert isinstance(caught.value, sparse.DuplicateVoxelError) == ("more than once" in message)


def test_other_wrong_input_is_refused_in_a_sentence() -> None:
    x, weight = random_sparse(), random_weight(3, (3, 3, 3), 4)
    where = torch.tensor([[0, 1, 0, 0]], dtype=torch.int32)
    with pytest.raises(BadInputError, match="no multiples of the tensor stride 2"):
        SparseConvTensor(torch.ones(1, 1), where, None, 1, stride=2)
    with pytest.raises(BadInputError, match="use larger voxels"):
        SparseConvTensor(torch.ones(1, 1), where * 200_000, None, 1)
    with pytest.raises(BadInputError, match="there are 1 voxels"):
        SparseConvTensor(torch.ones(2, 1), where, None, 1)
    with pytest.raises(BadInputError, match="has an odd kernel"):
        sparse.submanifold_conv(x, random_weight(3, (2, 2, 2), 4))
    with pytest.raises(BadInputError, match="the tensor has 4 channels"):
        sparse.submanifold_conv(x, random_weight(3, (3, 3, 3), 5))
    with pytest.raises(BadInputError, match="has the indice_key 'up'; there are: none"):
        sparse.inverse_conv(x, weight, None, "up")
    with pytest.raises(BadInputError, match="does not fit into a grid"):
        sparse.strided_conv(x, random_weight(3, (9, 9, 9), 4))
    with pytest.raises(BadInputError, match="needs a tensor with a spatial shape"):
        sparse.strided_conv(random_unbounded(), weight, None, 2)
    with pytest.raises(BadInputError, match="cannot be divided by the stride"):
        sparse.generative_conv(random_unbounded(), weight)
    with pytest.raises(BadInputError, match="expected bool"):
        sparse.prune(x, torch.ones(len(x)))
    with pytest.raises(BadInputError, match="'me' is unknown"):
        sparse.strided_conv(x, weight, None, 2, rule="me")  # type: ignore[arg-type]
    with pytest.raises(BadInputError, match="groups=2"):
        sparse.SubMConv3d(4, 4, 3, groups=2)


def test_layers_have_spconv_2s_argument_order_and_parameters() -> None:
    layer = sparse.SparseConv3d(4, 6, (3, 1, 1), (2, 1, 1), 0, 1, 1, False, "key")
    assert {name: tuple(p.shape) for name, p in layer.named_parameters()} == {"weight": (6, 3, 1, 1, 4)}
    assert layer.indice_key == "key"
    assert tuple(sparse.SubMConv3d(4, 6, 3).bias.shape) == (6,)
    net = sparse.SparseSequential(sparse.SubMConv3d(4, 6, 3), nn.ReLU(), sparse.ToDense())
    assert list(net.state_dict()) == ["0.weight", "0.bias"]
    assert net(random_sparse()).shape == (2, 6, 6, 7, 8)
