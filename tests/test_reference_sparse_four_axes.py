"""Sparse tensors of four axes against dense convolution, which is written here as sums of convolutions of three."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fewview import _native
from fewview.detect import sparse
from fewview.detect.sparse import SparseConvTensor
from fewview.detect.sparse import kernels as sparse_kernels
from fewview.detect.sparse.coordinates import PACKINGS, pack, unpack
from fewview.scene.errors import BadInputError
from support.sparse_tensors import random_sparse
from support.sparse_tensors import same_layers as same_layers
from support.threads import one_torch_thread as one_torch_thread
from torch import Tensor
from torch.nn import functional as F

SHAPE = (5, 4, 6, 7)
CLOSE = {"rtol": 1e-5, "atol": 1e-5}  # float32 sums of up to 81 * 3 products of order 1, in another order
UNEVEN = ((3, 1, 2, 3), (2, 1, 2, 1), (1, 0, 0, 1), 1)
GEOMETRIES = [(1, 2, 0, 1), (2, 2, 0, 1), (3, 1, 1, 1), (3, 2, 1, 1), (3, 1, 2, 2), UNEVEN]


def four(value: int | tuple[int, ...]) -> tuple[int, ...]:
    return (value,) * 4 if isinstance(value, int) else value


def conv4d(x: Tensor, weight: Tensor, stride: object = 1, padding: object = 0, dilation: object = 1) -> Tensor:
    """Dense convolution of x [B, C, T, D, H, W] with weight [Cout, C, k, k, k, k]: conv3d, moment by moment."""
    s, p, d = four(stride), four(padding), four(dilation)  # type: ignore[arg-type]
    x = F.pad(x, (0, 0, 0, 0, 0, 0, p[0], p[0]))
    out = []
    for first in range(0, x.shape[2] - d[0] * (weight.shape[2] - 1), s[0]):
        each = [
            F.conv3d(x[:, :, first + k * d[0]], weight[:, :, k], None, s[1:], p[1:], d[1:])
            for k in range(weight.shape[2])
        ]
        out.append(torch.stack(each).sum(0))
    return torch.stack(out, dim=2)


def dense(weight: Tensor) -> Tensor:
    return weight.movedim(-1, 1)


def occupied(x: SparseConvTensor) -> Tensor:
    return x.replace_feature(torch.ones(len(x), 1)).dense()


def sample(channels: int = 3, density: float = 0.1, seed: int = 0) -> SparseConvTensor:
    return random_sparse(SHAPE, channels=channels, density=density, seed=seed)


def test_voxels_as_integers_and_back() -> None:
    packing = PACKINGS[4]
    ends = torch.tensor([-packing.limit, -1, 0, 1, packing.limit - 1])
    batch = torch.tensor([0, 1, packing.batch_limit - 1])
    voxels = torch.cartesian_prod(batch, ends, ends, ends, ends).int()
    keys = pack(voxels)
    assert torch.equal(unpack(keys, 4), voxels)
    assert (keys[1:] > keys[:-1]).all()  # they sort like the rows
    assert keys.min() >= 0


@pytest.mark.parametrize("kernel", [1, 3, (3, 1, 3, 5)])
@pytest.mark.parametrize("dilation", [1, 2])
def test_submanifold(kernel: int | tuple[int, ...], dilation: int) -> None:
    x = sample()
    conv = sparse.SubMConv4d(3, 5, kernel, dilation=dilation)
    y = conv(x)
    assert torch.equal(y.indices, x.indices)
    assert (y.ndim, y.spatial_shape, y.stride) == (4, list(SHAPE), (1, 1, 1, 1))
    reach = tuple(dilation * (k // 2) for k in four(kernel))
    weight = conv.weight if kernel != 1 else conv.weight.view(3, 5).T.reshape(5, 1, 1, 1, 1, 3)  # as spconv reads it
    expected = conv4d(x.dense(), dense(weight), 1, reach, dilation) + conv.bias.view(-1, 1, 1, 1, 1)
    torch.testing.assert_close(y.dense(), expected * occupied(x), **CLOSE)


@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation"), GEOMETRIES)
def test_strided_and_back(kernel: object, stride: object, padding: object, dilation: object) -> None:
    x = sample()
    conv = sparse.SparseConv4d(3, 5, kernel, stride, padding, dilation, bias=False, indice_key="down")
    y = conv(x)
    torch.testing.assert_close(y.dense(), conv4d(x.dense(), dense(conv.weight), stride, padding, dilation), **CLOSE)
    ones = torch.ones(1, 1, *conv.kernel_size)
    reached = conv4d(occupied(x), ones, stride, padding, dilation) > 0.5
    assert torch.equal(occupied(y) > 0, reached)
    assert y.spatial_shape == list(reached.shape[2:])
    inverse = sparse.SparseInverseConv4d(5, 2, kernel, indice_key="down", bias=False)
    back = inverse(y)
    assert torch.equal(back.indices, x.indices)
    # Its pairs with the roles swapped are the gradient of the dense convolution.
    volume = torch.zeros(2, 2, *SHAPE, requires_grad=True)
    kernel_of_gradient = inverse.weight.detach().movedim(-1, 0)  # [5, 2, k, k, k, k]
    conv4d(volume, kernel_of_gradient, stride, padding, dilation).backward(y.dense().detach())
    torch.testing.assert_close(back.dense(), volume.grad * occupied(x), **CLOSE)


@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation"), GEOMETRIES)
def test_transposed(kernel: object, stride: object, padding: object, dilation: object) -> None:
    x = sample(density=0.03)
    conv = sparse.SparseConvTranspose4d(3, 5, kernel, stride, padding, dilation, bias=False)
    y = conv(x)
    # The gradient of the dense convolution that comes from there to here.
    volume = torch.zeros(2, 5, *y.spatial_shape, requires_grad=True)
    conv4d(volume, conv.weight.detach().movedim(-1, 0), stride, padding, dilation).backward(x.dense())
    torch.testing.assert_close(y.dense(), volume.grad, **CLOSE)


@pytest.mark.parametrize("kind", ["SubMConv4d", "SparseConv4d"])
def test_gradients_are_those_of_the_dense_convolution(kind: str) -> None:
    x = sample()
    features = x.features.clone().requires_grad_()
    geometry = (1, 1) if kind == "SubMConv4d" else (2, 1)
    conv = getattr(sparse, kind)(3, 5, 3, *geometry)
    conv(x.replace_feature(features)).dense().sin().sum().backward()
    volume = x.dense().requires_grad_()
    weight, bias = conv.weight.detach().clone().requires_grad_(), conv.bias.detach().clone().requires_grad_()
    where = occupied(x) if kind == "SubMConv4d" else conv4d(occupied(x), torch.ones(1, 1, 3, 3, 3, 3), 2, 1) > 0.5
    ((conv4d(volume, dense(weight), *geometry) + bias.view(-1, 1, 1, 1, 1)) * where).sin().sum().backward()
    at = x.indices.long()
    torch.testing.assert_close(features.grad, volume.grad.movedim(1, -1)[tuple(at.T)], **CLOSE)
    # Sums over all outputs of products of order 1.
    torch.testing.assert_close(conv.weight.grad, weight.grad, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(conv.bias.grad, bias.grad, rtol=1e-4, atol=1e-4)


def test_native_products_are_those_of_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    x = sample(channels=16, density=0.3)  # several tiles
    layers = (sparse.SubMConv4d(16, 8, 3), sparse.SparseConv4d(16, 8, 3, 2, 1), sparse.SparseMaxPool4d(2))
    native = [layer(x).features for layer in layers]
    monkeypatch.setattr(sparse_kernels, "_is_native", lambda features: False)
    for layer, found in zip(layers, native, strict=True):
        torch.testing.assert_close(found, layer(x).features, rtol=1e-4, atol=1e-4)  # sums of 81 * 16 products


def test_pools() -> None:
    x = sample(density=0.5)
    x = x.replace_feature(x.features.abs() + 1)  # so that absent voxels, 0, are never the largest
    y = sparse.SparseMaxPool4d(2, indice_key="pool")(x)
    volume = x.dense()
    two_by_two = volume.unfold(2, 2, 2).unfold(3, 2, 2).unfold(4, 2, 2).unfold(5, 2, 2)
    torch.testing.assert_close(y.dense(), two_by_two.flatten(-4).amax(-1))
    present = occupied(x).unfold(2, 2, 2).unfold(3, 2, 2).unfold(4, 2, 2).unfold(5, 2, 2).flatten(-4).sum(-1)
    mean = sparse.SparseAvgPool4d(2)(x)
    torch.testing.assert_close(mean.dense(), two_by_two.flatten(-4).sum(-1) / present.clamp_min(1), **CLOSE)
    assert torch.equal(sparse.SparseInverseConv4d(3, 2, 2, "pool")(y).indices, x.indices)
    assert sparse.SparseGlobalMaxPool()(x).shape == (2, 3)


def test_dense_and_back_and_sums() -> None:
    x, other = sample(), sample(seed=1)
    again = SparseConvTensor.from_dense(x.dense(channels_first=False))
    torch.testing.assert_close(again.dense(), x.dense())
    torch.testing.assert_close((x + other).dense(), x.dense() + other.dense())
    rows = sparse.find_rows(x.coordinates, x.indices.flip(0))
    assert torch.equal(rows, torch.arange(len(x)).flip(0))


def unbounded(stride: int = 1, n: int = 150) -> SparseConvTensor:
    g = torch.Generator().manual_seed(2)
    voxels = torch.cat(
        [torch.randint(0, 2, (n, 1), generator=g), torch.randint(-3, 3, (n, 4), generator=g) * stride], 1
    )
    voxels = torch.unique(voxels, dim=0)
    voxels = voxels[torch.randperm(len(voxels), generator=g)]
    return SparseConvTensor(torch.randn(len(voxels), 3, generator=g), voxels.int(), None, 2, stride=stride)


@pytest.mark.parametrize("kernel", [2, 3])
def test_minkowski_s_rules_in_loops(kernel: int) -> None:
    """Outputs at floor(c / 2) 2, each the sum of W_k x over what lies under its kernel; then back onto the input's."""
    x = unbounded()
    weight = torch.randn(5, *[kernel] * 4, 3, generator=torch.Generator().manual_seed(3))
    y = sparse.strided_conv(x, weight, stride=2, rule="minkowski")
    assert y.stride == (2, 2, 2, 2)
    row_of = {tuple(v): row for row, v in enumerate(x.indices.tolist())}
    steps = range(-1, 2) if kernel == 3 else range(2)
    coarse = sorted({(b, *(c // 2 * 2 for c in at)) for b, *at in row_of})
    assert [tuple(v) for v in y.indices.tolist()] == coarse
    for row, (b, *at) in enumerate(coarse):
        expected = torch.zeros(5)
        for slot in np.ndindex(*[kernel] * 4):
            found = row_of.get((b, *(c + steps[k] for c, k in zip(at, slot, strict=True))))
            if found is not None:
                expected += weight[(slice(None), *slot)] @ x.features[found]
        torch.testing.assert_close(y.features[row], expected, rtol=1e-4, atol=1e-4)
    up = torch.randn(2, *[kernel] * 4, 5, generator=torch.Generator().manual_seed(4))
    back = sparse.transposed_conv_onto(y, up, None, x.coordinates)
    assert back.coordinates is x.coordinates
    made = sparse.generative_conv(y, up)
    rows = sparse.find_rows(made.coordinates, x.indices)
    torch.testing.assert_close(back.features[rows >= 0], made.features[rows[rows >= 0]], **CLOSE)
    assert (back.features[rows < 0] == 0).all()


def test_weights_of_minkowski_are_turned_round() -> None:
    """In MinkowskiEngine the first axis of a kernel is the fastest."""
    kernel = (2, 3, 1, 2)
    given = torch.arange(12.0)[:, None, None] * torch.ones(1, 3, 5)  # [K, Cin, Cout], each slot its own number
    found = sparse.converted_weight(given, (5, *kernel, 3), "minkowski")
    assert found.shape == (5, *kernel, 3)
    for slot in np.ndindex(*kernel):
        a, b, c, d = slot
        assert (found[(slice(None), *slot)] == a + 2 * (b + 3 * (c + d))).all()


def test_what_does_not_fit_is_said() -> None:
    features = torch.zeros(1, 3)
    far = torch.tensor([[0, 0, 0, 0, 9000]], dtype=torch.int32)
    with pytest.raises(BadInputError, match="can be held"):
        SparseConvTensor(features, far, None, 1)
    with pytest.raises(BadInputError, match="batch size is 200; expected 1 to 128 of 4 axes"):
        SparseConvTensor(features, torch.zeros(1, 5, dtype=torch.int32), (2, 2, 2, 2), 200)
    with pytest.raises(BadInputError, match="one to four"):
        SparseConvTensor(features, torch.zeros(1, 6, dtype=torch.int32), (2, 2, 2, 2, 2), 1)
    with pytest.raises(BadInputError, match="looks 1000 cells away"):
        sparse.SubMConv4d(3, 3, 3, dilation=1000)(sample())
    with pytest.raises(BadInputError, match="named more than once"):
        SparseConvTensor(torch.zeros(2, 3), torch.zeros(2, 5, dtype=torch.int32), (2, 2, 2, 2), 1)


def test_pairs_beyond_the_rows_are_refused() -> None:
    rows, start = np.array([0, 5]), np.array([0, 2])
    with pytest.raises(ValueError, match="in range"):
        _native.SparseMap.of_pairs(rows, rows, start, 5, 9)
    with pytest.raises(ValueError, match="in range"):
        _native.SparseMap.of_pairs(rows, rows, np.array([0, 1]), 9, 9)
