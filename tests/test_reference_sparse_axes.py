"""Sparse layers over one and two axes against dense ones, and spconv's smaller names against their definitions."""

from __future__ import annotations

import pytest
import torch
from fewview.detect import sparse
from fewview.detect.sparse import SparseConvTensor
from fewview.scene.errors import BadInputError
from support.sparse_tensors import random_sparse, random_unbounded, random_weight
from support.sparse_tensors import same_layers as same_layers
from support.threads import one_torch_thread as one_torch_thread
from torch import Tensor
from torch.nn import functional as F

CLOSE = {"rtol": 1e-5, "atol": 1e-5}  # float32 sums of up to 25 * 4 products of order 1, in another order
SHAPES = {1: (29,), 2: (11, 13)}
CONV = {1: F.conv1d, 2: F.conv2d}
TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d}
MAX_POOL = {1: F.max_pool1d, 2: F.max_pool2d}
AVG_POOL = {1: F.avg_pool1d, 2: F.avg_pool2d}
GEOMETRIES = [(1, 2, 0, 1), (2, 2, 0, 1), (3, 1, 1, 1), (3, 2, 1, 1), (3, 1, 0, 2), (5, 3, 2, 1)]


def layer(kind: str, ndim: int, *args: object, **kwargs: object) -> torch.nn.Module:
    return getattr(sparse, f"{kind}{ndim}d")(*args, **kwargs)


def dense(weight: Tensor) -> Tensor:
    return weight.movedim(-1, 1)


def occupied(x: SparseConvTensor) -> Tensor:
    return x.replace_feature(torch.ones(len(x), 1)).dense()


@pytest.mark.parametrize("ndim", [1, 2])
@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("dilation", [1, 2])
def test_submanifold(ndim: int, kernel: int, dilation: int) -> None:
    x = random_sparse(SHAPES[ndim])
    conv = layer("SubMConv", ndim, 4, 5, kernel, dilation=dilation, padding=7, algo="Native", name="a")
    y = conv(x)
    assert torch.equal(y.indices, x.indices)
    reach = dilation * (kernel // 2)
    weight = conv.weight if kernel > 1 else conv.weight.view(4, 5).T.reshape(5, *[1] * ndim, 4)  # as spconv reads it
    expected = CONV[ndim](x.dense(), dense(weight), conv.bias, padding=reach, dilation=dilation)
    torch.testing.assert_close(y.dense(), expected * occupied(x), **CLOSE)


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("kind", ["SubMConv", "SparseConv"])
def test_a_kernel_of_one_cell_is_read_as_spconv_reads_it(ndim: int, kind: str) -> None:
    """spconv 2 multiplies by `weight.view(Cin, Cout)`, although its shape says [Cout, ..., Cin]."""
    x = random_sparse({**SHAPES, 3: (4, 5, 6)}[ndim])
    conv = layer(kind, ndim, 4, 5, 1)
    y = conv(x)
    expected = SparseConvTensor(x.features @ conv.weight.view(4, 5) + conv.bias, x.indices, x.spatial_shape, 2)
    torch.testing.assert_close(y.dense(), expected.dense(), **CLOSE)
    strided = layer("SparseConv", ndim, 4, 5, 1, 2, bias=False)
    every_second = x.dense()[(slice(None), slice(None), *[slice(None, None, 2)] * ndim)]
    expected = torch.einsum("bi...,oi->bo...", every_second, strided.weight.view(5, 4))
    torch.testing.assert_close(strided(x).dense(), expected, **CLOSE)


@pytest.mark.parametrize("ndim", [1, 2])
@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation"), GEOMETRIES)
def test_strided_and_back(ndim: int, kernel: int, stride: int, padding: int, dilation: int) -> None:
    x = random_sparse(SHAPES[ndim])
    geometry = (stride, padding, dilation)
    conv = layer("SparseConv", ndim, 4, 5, kernel, *geometry, bias=False, indice_key="down")
    y = conv(x)
    expected = CONV[ndim](x.dense(), dense(conv.weight), None, *geometry)
    torch.testing.assert_close(y.dense(), expected, **CLOSE)
    reached = CONV[ndim](occupied(x), torch.ones(1, 1, *[kernel] * ndim), None, *geometry) > 0.5
    assert torch.equal(occupied(y) > 0, reached)
    assert y.spatial_shape == list(reached.shape[2:])
    assert y.ndim == ndim

    inverse = layer("SparseInverseConv", ndim, 5, 3, kernel, indice_key="down", bias=False)
    back = inverse(y)
    assert torch.equal(back.indices, x.indices)
    # Its pairs with the roles swapped are the gradient of the dense convolution; output_padding gives the lost edge.
    sizes = [n + 2 * padding - dilation * (kernel - 1) - 1 for n in SHAPES[ndim]]
    whole = TRANSPOSED[ndim](
        y.dense(), inverse.weight.movedim(-1, 0), None, stride, padding, [n % stride for n in sizes], 1, dilation
    )
    torch.testing.assert_close(back.dense(), whole * occupied(x), **CLOSE)


@pytest.mark.parametrize("ndim", [1, 2])
@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation"), GEOMETRIES)
def test_transposed(ndim: int, kernel: int, stride: int, padding: int, dilation: int) -> None:
    x = random_sparse(SHAPES[ndim], density=0.1)
    conv = layer("SparseConvTranspose", ndim, 4, 5, kernel, stride, padding, dilation, bias=False)
    expected = TRANSPOSED[ndim](x.dense(), conv.weight.movedim(-1, 0), None, stride, padding, 0, 1, dilation)
    torch.testing.assert_close(conv(x).dense(), expected, **CLOSE)


@pytest.mark.parametrize("ndim", [1, 2])
def test_gradients_are_those_of_the_dense_convolution(ndim: int) -> None:
    x = random_sparse(SHAPES[ndim])
    features = x.features.clone().requires_grad_()
    conv = layer("SparseConv", ndim, 4, 5, 3, 2, 1)
    y = conv(x.replace_feature(features)).dense()
    y.sin().sum().backward()
    volume = x.dense().requires_grad_()
    weight, bias = conv.weight.detach().clone().requires_grad_(), conv.bias.detach().clone().requires_grad_()
    reached = CONV[ndim](occupied(x), torch.ones(1, 1, *[3] * ndim), None, 2, 1) > 0.5
    (CONV[ndim](volume, dense(weight), bias, 2, 1) * reached).sin().sum().backward()
    at = x.indices.long()
    torch.testing.assert_close(features.grad, volume.grad.movedim(1, -1)[tuple(at.T)], **CLOSE)
    # Sums over all outputs of products of order 1.
    torch.testing.assert_close(conv.weight.grad, weight.grad, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(conv.bias.grad, bias.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_pools_and_their_way_back(ndim: int) -> None:
    shape = {**SHAPES, 3: (6, 8, 4)}[ndim]
    x = random_sparse(shape, density=0.5)
    x = x.replace_feature(x.features.abs() + 1)  # so that absent voxels, 0, are never the largest
    pool = layer("SparseMaxPool", ndim, 2, indice_key="pool", algo=None, name="p")
    y = pool(x)
    torch.testing.assert_close(y.dense(), {**MAX_POOL, 3: F.max_pool3d}[ndim](x.dense(), 2))
    mean = layer("SparseAvgPool", ndim, 2)(x)
    pooled = {**AVG_POOL, 3: F.avg_pool3d}[ndim]
    share = pooled(occupied(x), 2)
    torch.testing.assert_close(mean.dense(), pooled(x.dense(), 2) / share.clamp_min(1e-9), **CLOSE)
    back = layer("SparseInverseConv", ndim, 4, 2, 2, indice_key="pool")(y)
    assert torch.equal(back.indices, x.indices)


def test_global_pools_of_a_batch_with_an_empty_item() -> None:
    x = random_sparse((9, 9), batch=3)
    x = x.select_by_index(x.indices[:, 0] != 1)
    features = x.features.clone().requires_grad_()
    x = x.replace_feature(features)
    largest, mean = sparse.SparseGlobalMaxPool()(x), sparse.SparseGlobalAvgPool()(x)
    for item in (0, 2):
        rows = x.indices[:, 0] == item
        assert torch.equal(largest[item], x.features[rows].max(0).values)
        torch.testing.assert_close(mean[item], x.features[rows].mean(0))
    assert (largest[1] == 0).all()
    assert (mean[1] == 0).all()
    (largest.sum() + mean.sum()).backward()
    assert (features.grad.sum(0) - 2 * 2).abs().max() < 1e-5  # each item hands 1 to each channel, twice


def test_dense_and_back() -> None:
    for shape in ((7,), (5, 6), (3, 4, 5)):
        x = random_sparse(shape)
        volume = x.dense(channels_first=False).requires_grad_()
        y = SparseConvTensor.from_dense(volume)
        assert torch.equal(y.dense(channels_first=False), volume)
        assert y.spatial_shape == list(shape)
        y.features.sum().backward()
        assert torch.equal(volume.grad != 0, (volume.detach() != 0).any(-1, keepdim=True).expand_as(volume))
    with pytest.raises(BadInputError, match="one to four axes"):
        SparseConvTensor.from_dense(torch.zeros(2, 3))


def test_sums_with_plain_tensors_and_with_the_same_rows() -> None:
    x = random_sparse((5, 6))
    assert torch.equal((x + 2 * torch.ones(4)).features, x.features + 2)
    assert torch.equal((3 * torch.ones(4) + x).features, x.features + 3)
    again = SparseConvTensor(2 * x.features, x.indices.clone(), (5, 6), 2)
    total = x + again
    assert torch.equal(total.indices, x.indices)  # the rows stay where they are, though the sets were made apart
    torch.testing.assert_close(total.features, 3 * x.features)
    other = random_sparse((5, 6), seed=1)
    torch.testing.assert_close((x + other).dense(), x.dense() + other.dense())


def test_tables() -> None:
    x = random_sparse((5, 6))
    table = sparse.ConcatTable().add(sparse.SubMConv2d(4, 3, 3)).add(sparse.SubMConv2d(4, 3, 1))
    first, second = table(x)
    both = [first.features, second.features]
    torch.testing.assert_close(sparse.SparseSequential(table, sparse.AddTable())(x).features, both[0] + both[1])
    assert torch.equal(sparse.JoinTable()([first, second]).features, torch.cat(both, dim=1))
    with pytest.raises(BadInputError, match="same voxels"):
        sparse.AddTable()([first, sparse.SparseConv2d(4, 3, 3, padding=1)(x)])


def test_layers_over_features() -> None:
    x = random_sparse((5, 6))
    norm, plain = sparse.SparseBatchNorm(4), torch.nn.BatchNorm1d(4)
    assert torch.equal(norm(x).features, plain(x.features))
    assert torch.equal(norm(x.features), plain(x.features))
    assert torch.equal(sparse.SparseReLU()(x).features, x.features.relu())
    empty = x.select_by_index(torch.zeros(len(x), dtype=torch.bool))
    layers = sparse.SparseSequential(sparse.SubMConv2d(4, 3, 3), sparse.SparseBatchNorm(3), sparse.SparseReLU())
    layers.add(sparse.ToDense())
    assert (layers(empty) == 0).all()
    assert layers(x).shape == (2, 3, 5, 6)


def test_what_layers_say_of_themselves() -> None:
    conv = sparse.SparseConv2d(4, 5, (3, 1), (2, 1), (1, 0), 1, 1, False, "key", None, name="down")
    assert (conv.ndim, conv.subm, conv.inverse, conv.transposed, conv.groups) == (2, False, False, False, 1)
    assert (conv.kernel_size, conv.stride, conv.padding, conv.dilation) == ((3, 1), (2, 1), (1, 0), (1, 1))
    assert conv.weight.shape == (5, 3, 1, 4)
    assert (conv.name, conv.indice_key) == ("down", "key")
    assert sparse.SubMConv1d(1, 1, 3).subm
    assert sparse.SparseInverseConv2d(1, 1, 3, "key").inverse
    assert sparse.SparseConvTranspose3d(1, 1, 3).transposed
    x = random_sparse((5, 6))
    assert (x.ndim, x.spatial_shape, x.stride) == (2, [5, 6], (1, 1))
    same = SparseConvTensor(x.features, x.indices, [5, 6], 2, torch.zeros(1), None, {}, False)
    assert same.indice_dict == {}
    with pytest.raises(BadInputError, match="one to four"):
        SparseConvTensor(torch.zeros(1, 1), torch.zeros(1, 6, dtype=torch.int32), (2,) * 5, 1)
    with pytest.raises(BadInputError, match="tensor has 4 channels and 2 axes"):
        sparse.SubMConv3d(4, 5, 3)(x)


def test_a_grid_thinner_than_the_kernel() -> None:
    """It goes as far as the padding makes room, as in a dense convolution; without, there is no output."""
    x = random_sparse((1, 5, 6), density=0.4)
    for conv in (sparse.SubMConv3d(4, 5, 3, bias=False), sparse.SparseConv3d(4, 5, 3, 1, 1, bias=False)):
        expected = F.conv3d(x.dense(), dense(conv.weight), None, 1, 1)
        y = conv(x)
        torch.testing.assert_close(y.dense(), expected * occupied(y), **CLOSE)
    with pytest.raises(BadInputError, match="does not fit"):
        sparse.SparseConv3d(4, 5, 3)(x)


def test_instance_norm_is_that_of_each_item_alone() -> None:
    x = random_sparse((5, 6), batch=3)
    weight, bias = torch.tensor([1.0, 2, 3, 4]), torch.tensor([0.5, 0, -1, 2])
    y = sparse.instance_norm(x, weight, bias, epsilon=1e-3)
    for item in range(3):
        rows = x.indices[:, 0] == item
        expected = F.instance_norm(x.features[rows].T[None], weight=weight, bias=bias, eps=1e-3)[0].T
        torch.testing.assert_close(y.features[rows], expected, **CLOSE)


@pytest.mark.parametrize("kernel", [2, 3])
def test_a_transposed_convolution_onto_given_voxels(kernel: int) -> None:
    """MinkowskiEngine's rule in loops: an input at p gives W_k x to p + offset_k * finer stride, if that is there."""
    coarse, fine = random_unbounded(40, stride=2, extent=2), random_unbounded(300, extent=4, seed=3)
    weight = random_weight(5, (kernel,) * 3, 4)
    y = sparse.transposed_conv_onto(coarse, weight, None, fine.coordinates)
    assert y.coordinates is fine.coordinates
    row_of = {tuple(voxel): row for row, voxel in enumerate(fine.indices.tolist())}
    expected = torch.zeros(len(fine), 5)
    steps = range(-1, 2) if kernel == 3 else range(2)
    joined = 0
    for row, (item, *p) in enumerate(coarse.indices.tolist()):
        for i, a in enumerate(steps):
            for j, b in enumerate(steps):
                for k, c in enumerate(steps):
                    to = row_of.get((item, p[0] + a, p[1] + b, p[2] + c))
                    if to is not None:
                        expected[to] += weight[:, i, j, k] @ coarse.features[row]
                        joined += 1
    assert joined > 20
    torch.testing.assert_close(y.features, expected, **CLOSE)
    with pytest.raises(BadInputError, match="stride that divides it"):
        sparse.transposed_conv_onto(fine, weight, None, coarse.coordinates)


@pytest.mark.parametrize("limits", [(100, 100), (4, 2)])
@pytest.mark.parametrize("empty_mean", [False, True])
def test_points_to_voxels_one_by_one(limits: tuple[int, int], empty_mean: bool) -> None:
    g = torch.Generator().manual_seed(5)
    points = torch.rand(60, 4, generator=g) * torch.tensor([5.0, 4, 3, 1]) - 0.5
    max_voxels, max_points = limits
    make = sparse.PointToVoxel([1.0, 0.5, 1.5], [0, 0, 0, 4, 3, 3], 4, max_voxels, max_points)
    assert make.grid_size == [2, 6, 4]
    voxels, cells, counts, ids = make.generate_voxel_with_id(points, empty_mean=empty_mean)
    seen: dict[tuple[int, ...], int] = {}
    kept: list[list[Tensor]] = []
    for point, found in zip(points, ids.tolist(), strict=True):
        cell = tuple(int(c) for c in (point[:3] / torch.tensor([1.0, 0.5, 1.5])).floor())
        inside = all(0 <= c < n for c, n in zip(cell, (4, 6, 2), strict=True))
        if inside and cell not in seen and len(seen) < max_voxels:
            seen[cell] = len(kept)
            kept.append([])
        assert found == (seen.get(cell, -1) if inside else -1)
        if found >= 0 and len(kept[found]) < max_points:
            kept[found].append(point)
    assert cells.tolist() == [list(cell[::-1]) for cell in seen]
    assert counts.tolist() == [len(k) for k in kept]
    for voxel, k in zip(voxels, kept, strict=True):
        mean = torch.stack(k).mean(0) if empty_mean else torch.zeros(4)
        torch.testing.assert_close(voxel, torch.stack(k + [mean] * (max_points - len(k))))
    for one, other in zip(make(points, empty_mean=empty_mean), (voxels, cells, counts), strict=True):
        assert torch.equal(one, other)
    with pytest.raises(BadInputError, match=r"expected \[M, 4\]"):
        make(points[:, :3])
