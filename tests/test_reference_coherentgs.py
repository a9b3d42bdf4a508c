"""The parts of CoherentGS and of dense flow against plain definitions of them."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from fewview.recon.evidence.dense_flow import consistency, eroded, sampled
from fewview.recon.methods.coherentgs.coherence_losses import coarse_l1, disparity_variation, pooled
from fewview.recon.methods.coherentgs.coherent_decoder import CoherentDecoder
from fewview.recon.methods.coherentgs.disparity_layers import layer_index, layer_thresholds, sharpened
from fewview.recon.methods.coherentgs.inverse_alignment import inverse_aligned
from fewview.recon.methods.coherentgs.model import _cyclic
from fewview.recon.methods.coherentgs.pixel_lattice import Match, MeasuredDepth
from torch import Tensor


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def plain_bilinear(values: Tensor, x: float, y: float) -> Tensor:
    """Value at a pixel position, the border repeated."""
    rows, columns = values.shape[:2]
    x, y = min(max(x - 0.5, 0.0), columns - 1.0), min(max(y - 0.5, 0.0), rows - 1.0)
    i, j = int(x), int(y)
    i1, j1 = min(i + 1, columns - 1), min(j + 1, rows - 1)
    top = values[j, i] * (1 - (x - i)) + values[j, i1] * (x - i)
    return top * (1 - (y - j)) + (values[j1, i] * (1 - (x - i)) + values[j1, i1] * (x - i)) * (y - j)


def test_consistency_is_the_way_there_and_back() -> None:
    there, back = 4 * random(7, 9, 2) - 2, 4 * random(6, 8, 2, seed=1) - 2
    found = consistency(there, back)
    for row, column in itertools.product(range(7), range(9)):
        x, y = column + 0.5 + float(there[row, column, 0]), row + 0.5 + float(there[row, column, 1])
        wanted = 0.0
        if 0 < x < 8 and 0 < y < 6:
            wanted = math.exp(-0.5 * float((-plain_bilinear(back, x, y) - there[row, column]).abs().sum()))
        assert float(found[row, column]) == pytest.approx(wanted, abs=1e-5)


def test_sampling_is_bilinear() -> None:
    values, at = random(5, 6, 3), 8 * random(20, 2, seed=1) - 1
    wanted = torch.stack([plain_bilinear(values, *p) for p in at.tolist()])
    torch.testing.assert_close(sampled(values, at), wanted, atol=1e-5, rtol=0)


def test_erosion_takes_the_least_of_a_window() -> None:
    weight = random(9, 8)
    found = eroded(weight, 5)
    for row, column in itertools.product(range(9), range(8)):
        window = weight[max(0, row - 2) : row + 3, max(0, column - 2) : column + 3]
        assert float(found[row, column]) == float(window.min())


def plain_sharpened(disparity: np.ndarray) -> np.ndarray:
    """Five passes over windows, pixel by pixel."""
    rows, columns = disparity.shape
    for window in (7, 7, 5, 5, 5):
        depth, half, out = 1 / disparity, window // 2, disparity.copy()
        edge = np.zeros(disparity.shape, bool)
        for r, c in np.ndindex(rows, columns):
            for dr, dc in ((0, 1), (1, 0), (0, -1), (-1, 0)):
                if 0 <= r + dr < rows and 0 <= c + dc < columns:
                    edge[r, c] |= abs(depth[r, c] - depth[r + dr, c + dc]) > 0.1
        for r, c in np.ndindex(rows, columns):
            around = np.s_[max(0, r - half) : r + half + 1, max(0, c - half) : c + half + 1]
            if edge[around].any() and not edge[around].all():
                out[r, c] = np.median(disparity[around][~edge[around]])
        disparity = out
    return disparity


def test_sharpening_takes_medians_beside_edges() -> None:
    x = torch.linspace(-1, 1, 24)
    slope = 0.25 + 0.9 / (1 + torch.exp(-4 * (x[None] + 0.3 * x[:18, None]))) + 0.02 * random(18, 24)
    found = sharpened(slope)
    torch.testing.assert_close(found.double().numpy(), plain_sharpened(slope.double().numpy()), atol=1e-5, rtol=0)
    # The slope between the two surfaces has become a step.
    assert float(found.diff(dim=1).abs().amax(1).median()) > 2 * float(slope.diff(dim=1).abs().amax(1).median())


def plain_ward(values: np.ndarray, clusters: int) -> list[float]:
    """Least values of Ward's clusters: those two are joined whose union adds least to the squared deviations."""
    parts = [[v] for v in values]

    def spread(part: list[float]) -> float:
        return float(((np.array(part) - np.mean(part)) ** 2).sum())

    while len(parts) > clusters:
        pairs = itertools.combinations(range(len(parts)), 2)
        i, j = min(pairs, key=lambda p: spread(parts[p[0]] + parts[p[1]]) - spread(parts[p[0]]) - spread(parts[p[1]]))
        parts[i] += parts.pop(j)
    return sorted(min(part) for part in parts)


def test_layers_begin_at_the_least_of_wards_clusters() -> None:
    disparity = (random(50, 60) * 0.1 + (torch.arange(60) // 20) * 0.3 + 0.2).float()
    found = layer_thresholds(disparity, 5)
    samples = disparity[5::10, 5::10].flatten()
    low, high = float(disparity.min()), float(disparity.max())
    least = plain_ward(((samples - low) / (high - low)).double().numpy(), 5)
    torch.testing.assert_close(found.double(), low + (high - low) * torch.tensor(least[1:]).double(), atol=1e-6, rtol=0)


def test_layers_are_half_open() -> None:
    index = layer_index(torch.tensor([[0.0, 0.2, 0.21, 0.5, 0.7]]), torch.tensor([0.2, 0.5, 0.6, 0.6]))
    assert index.tolist() == [[0, 0, 1, 1, 4]]


@pytest.mark.parametrize("within", [0.0, 0.35, 1.0])
def test_variation_within_layers_is_that_of_channels(within: float) -> None:
    depth, layer = 5 * random(8, 9), (3 * random(8, 9, seed=1)).long()
    disparity = 1 / (1 + depth)
    channels = torch.stack([disparity * (layer == k) for k in range(5)])

    def variation(values: Tensor) -> float:
        return float(values.diff(dim=-1).abs().mean() + values.diff(dim=-2).abs().mean())

    wanted = (1 - within) * variation(disparity) + within * variation(channels)
    assert float(disparity_variation(depth, layer, 5, within)) == pytest.approx(wanted, rel=1e-5)


def test_coarse_pictures_weigh_half_as_much_as_the_next_finer() -> None:
    image, target = random(16, 24, 3), random(16, 24, 3, seed=1)
    wanted, a, b = 0.0, image, target
    for weight in (1 / 4, 1 / 8, 1 / 16):
        a, b = (t.reshape(t.shape[0] // 2, 2, t.shape[1] // 2, 2, 3).mean((1, 3)) for t in (a, b))
        wanted += weight * float((a - b).abs().mean())
    assert float(coarse_l1(image, target, 4)) == pytest.approx(wanted, rel=1e-5)
    torch.testing.assert_close(pooled(image, 4), image.reshape(4, 4, 6, 4, 3).mean((1, 3)))
    torch.testing.assert_close(pooled(image[..., 0], 4), image[..., 0].reshape(4, 4, 6, 4).mean((1, 3)))


@pytest.mark.parametrize("size", [(37, 50), (64, 9), (480, 270), (2, 2), (3, 1)])
def test_a_decoder_grows_by_the_binary_digits_of_its_size(size: tuple[int, int]) -> None:
    decoder = CoherentDecoder(2, *size, channels=5, capacity=1)
    digits = [f"{n:b}" for n in size]
    longest = max(map(len, digits))
    expected = [tuple(int(d.zfill(longest)[:k], 2) or 1 for d in digits) for k in range(2, longest + 1)]
    assert decoder.sizes == expected
    widths = [layer.out_channels for layer in decoder.steps]
    assert widths == [16, 16, 16, 8, 8, 8, 4, 4, 4][: len(widths)]
    assert [layer.kernel_size[0] for layer in decoder.steps] == [1, *[3] * (len(widths) - 1)]
    out = decoder()
    assert out.shape == (2, 5, *size)
    assert float(out.detach().abs().max()) < (0.05 if min(size) > 3 else 0.5)  # vanishing with the layers


def test_rates_are_those_of_pytorchs_triangles() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    plain = torch.optim.SGD([parameter], lr=1.0)
    schedule = torch.optim.lr_scheduler.CyclicLR(
        plain, base_lr=1e-6, max_lr=1e-4, step_size_up=10, mode="triangular2", cycle_momentum=False
    )
    ours, later = _cyclic(1e-6, 1e-4, 10, 0), _cyclic(1e-6, 1e-4, 10, 17)
    for step in range(60):
        assert ours(step) == pytest.approx(plain.param_groups[0]["lr"], rel=1e-6)
        if step >= 17:
            assert later(step - 17) == pytest.approx(ours(step))
        plain.step()
        schedule.step()


def test_the_distance_of_matches_is_the_papers_mean() -> None:
    here, there, flow = random(5, 6, 3), random(4, 7, 3, seed=1), 3 * random(5, 6, 2, seed=2) - 1
    mask = random(5, 6, seed=3) > 0.4
    landing = torch.stack(torch.meshgrid(torch.arange(6) + 0.5, torch.arange(5) + 0.5, indexing="xy"), -1) + flow
    match = Match(0, 1, mask.flatten().nonzero()[:, 0], landing[mask])
    wanted = sum(
        float((plain_bilinear(there, *landing[r, c].tolist()) - here[r, c]).abs().sum())
        for r, c in itertools.product(range(5), range(6))
        if mask[r, c]
    ) / (5 * 6 * 3)
    assert float(match.distance(here, there)) == pytest.approx(wanted, rel=1e-4)


def test_the_line_of_inverse_depth_ignores_outliers() -> None:
    disparity = random(20, 20)
    inverse = 0.4 * disparity + 0.1
    wrong = random(400, seed=1) < 0.2
    measured = torch.where(wrong, 3.0, inverse.flatten())
    pixel = torch.arange(400)
    (depth,) = inverse_aligned([disparity], [MeasuredDepth(pixel, 1 / measured, torch.full((400,), 0.2))])
    torch.testing.assert_close(1 / depth, inverse, atol=2e-3, rtol=0)
