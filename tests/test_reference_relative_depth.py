"""Correlations of patches and depth losses, against loops and SciPy that share no code with them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fewview.recon.evidence.affine_fit import fit_inverse_depth
from fewview.recon.evidence.patch_descriptors import patch_descriptors
from fewview.recon.methods.rdg_gs.adaptive_sampling import error_at
from fewview.recon.methods.rdg_gs.depth_losses import (
    correlation_loss,
    edge_loss,
    local_correlation_loss,
    picture_edges,
    released_correlation_loss,
)
from fewview.recon.methods.rdg_gs.detail_transfer import DetailTransfer
from fewview.recon.methods.rdg_gs.relative_depth import (
    cell_depth,
    depth_correlation,
    feature_correlation,
    order_loss,
    relative_loss,
    scale_of,
)
from fewview.recon.optimise.step import Render
from scipy.ndimage import convolve, uniform_filter
from scipy.optimize import least_squares
from scipy.stats import pearsonr

DOUBLE = 1e-9  # relative: sums of some hundred numbers in double precision, in another order


def maps(count: int = 1, height: int = 24, width: int = 40, seed: int = 0) -> list[torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    return [0.2 + torch.rand(height, width, generator=g, dtype=torch.float64) for _ in range(count)]


def plain_correlation(inverse: np.ndarray, a: int, b: int) -> float:
    """D of two cells by the formula, one pixel after the other."""
    columns = inverse.shape[1] // 8
    normal = (inverse - np.sort(inverse.ravel())[(inverse.size - 1) // 2]) / inverse.std()
    patches = []
    for cell in (a, b):
        row, column = divmod(cell, columns)
        patches.append([float(normal[8 * row + i, 8 * column + j]) for i in range(8) for j in range(8)])
    means = [sum(p) / 64 for p in patches]
    covariance = sum((x - means[0]) * (y - means[1]) for x, y in zip(*patches, strict=True)) / 64
    variances = [sum((x - m) ** 2 for x in p) / 64 for p, m in zip(patches, means, strict=True)]
    alike = (covariance + 0.02**2) / np.sqrt((variances[0] + 0.02**2) * (variances[1] + 0.02**2))
    return float(np.exp(-((means[0] - means[1]) ** 2) / (2 * 0.15**2)) * (1 + alike) / 2)


def test_depth_correlation_is_its_formula() -> None:
    (inverse,) = maps()
    inverse += torch.linspace(0, 0.3, 40, dtype=torch.float64)  # cells differ in their means, too
    cells = cell_depth(inverse, scale_of(inverse, torch.ones_like(inverse, dtype=torch.bool)))
    found = depth_correlation(cells, cells)
    assert found.shape == (15, 15)
    for a in range(15):
        for b in range(15):
            assert float(found[a, b]) == pytest.approx(plain_correlation(inverse.numpy(), a, b), rel=DOUBLE)


def test_relative_and_order_losses_are_their_formulas() -> None:
    g = torch.Generator().manual_seed(1)
    features = torch.nn.functional.normalize(torch.randn(7, 5, generator=g, dtype=torch.float64), dim=1)
    pairs = torch.rand(7, 7, generator=g) < 0.6
    pairs[3] = False  # an anchor without partners counts for nothing
    depth = torch.rand(7, 7, generator=g, dtype=torch.float64)
    rendered, prior = (torch.randn(7, generator=g, dtype=torch.float64) for _ in range(2))
    apart = torch.rand(7, 7, generator=g) < 0.5
    counted = [(i, j) for i in range(7) for j in range(7) if pairs[i, j]]
    cosine = {(i, j): float(features[i] @ features[j]) for i, j in counted}
    overall = sum(cosine.values()) / len(counted)
    total = 0.0
    for i, j in counted:
        row = [cosine[i, k] for k in range(7) if pairs[i, k]]
        over = max(0.0, cosine[i, j] - sum(row) / len(row) + overall) - 0.3
        total -= float(depth[i, j]) * (over if apart[i, j] else max(0.0, over))
    found = relative_loss(depth, feature_correlation(features, features, pairs), pairs, apart)
    assert float(found) == pytest.approx(total / len(counted), rel=DOUBLE)
    told = [(i, j) for i, j in counted if abs(float(prior[i] - prior[j])) > 0.05]
    hinges = [max(0.0, 1e-4 - np.sign(float(prior[i] - prior[j])) * float(rendered[i] - rendered[j])) for i, j in told]
    assert float(order_loss(rendered, rendered, prior, prior, pairs)) == pytest.approx(np.mean(hinges), rel=DOUBLE)


def test_correlation_losses_are_scipys() -> None:
    a, b = maps(2)
    assert float(correlation_loss(a.flatten(), b.flatten())) == pytest.approx(
        1 - pearsonr(a.flatten(), b.flatten()).statistic, rel=DOUBLE
    )
    far = 1 / (b + 0.1 * b.max())
    expected = min(1 - pearsonr(a.flatten(), v.flatten()).statistic for v in (-b, far))
    assert float(released_correlation_loss(a.flatten(), b.flatten())) == pytest.approx(expected, rel=DOUBLE)
    tiles = [
        1 - pearsonr(a[i : i + 7, j : j + 7].flatten(), b[i : i + 7, j : j + 7].flatten()).statistic
        for i in range(2, 17, 7)
        for j in range(3, 32, 7)
    ]
    everything = torch.ones_like(a, dtype=torch.bool)
    assert float(local_correlation_loss(a, b, everything, 7, (2, 3))) == pytest.approx(np.mean(tiles), rel=DOUBLE)
    most = everything.clone()
    most[:9] = False  # the first row of tiles is out, and not half of it is in
    assert float(local_correlation_loss(a, b, most, 7, (2, 3))) == pytest.approx(np.mean(tiles[5:]), rel=DOUBLE)


def test_edge_loss_is_its_formula() -> None:
    a, b = maps(2, 6, 9)
    edges = torch.rand(6, 9, generator=torch.Generator().manual_seed(2)) < 0.7
    off = (a / a[edges].std() - b / b[edges].std()).numpy()
    terms = []
    for i in range(5):
        for j in range(8):
            for k, m in ((i, j + 1), (i + 1, j)):
                if edges[i, j] and edges[k, m]:
                    terms.append(abs(off[k, m] - off[i, j]))
    assert float(edge_loss(a, b, edges)) == pytest.approx(np.mean(terms), rel=DOUBLE)


def test_edges_of_a_picture_are_where_it_changes() -> None:
    rgb = torch.zeros(20, 30, 3)
    rgb[:, 13:] = 0.6
    edges = picture_edges(rgb, share=1 / 30)
    assert bool(edges[:, 12].all())
    assert int(edges.sum()) == 20


def test_scale_and_offset_are_those_of_scipys_huber_fit() -> None:
    g = np.random.default_rng(0)
    x = g.uniform(0, 5, 200)
    y = 0.3 * x + 0.2 + 0.01 * g.standard_normal(200)
    y[:20] += 2.0  # outliers, all to one side
    s, t = fit_inverse_depth(*(torch.from_numpy(v) for v in (x, y, np.ones(200))))
    # Its scale of the residuals is the robust one that the fit ends with.
    sigma = 1.345 * 1.4826 * np.median(np.abs(s * x + t - y))
    found = least_squares(lambda p: p[0] * x + p[1] - y, (1.0, 0.0), loss="huber", f_scale=sigma, xtol=1e-14)
    assert (s, t) == pytest.approx(tuple(found.x), abs=1e-4)  # both stop at tolerances of their own
    assert (s, t) == pytest.approx((0.3, 0.2), abs=0.01)  # a fifth of the noise's bias by one-sided outliers


def test_relative_depth_that_says_nothing_becomes_the_median() -> None:
    x, y = torch.linspace(0, 1, 50), torch.linspace(1, 0.2, 50)
    assert fit_inverse_depth(x, y, torch.ones(50)) == (0.0, pytest.approx(float(y.median())))  # the wrong way round
    assert fit_inverse_depth(torch.ones(50), y, torch.ones(50))[0] == 0.0


def test_detail_transfer_solves_its_normal_equations() -> None:
    height, width = 7, 9
    g = torch.Generator().manual_seed(4)
    rgb = torch.rand(height, width, 3, generator=g, dtype=torch.float64)
    value, trust = torch.rand(2, height, width, generator=g, dtype=torch.float64)
    matrix, right = np.diag(trust.flatten().numpy().copy()), (trust * value).flatten().numpy()
    for step in (1, 4):
        for i in range(height):
            for j in range(width):
                for down, across in ((0, 1), (1, 0), (1, 1), (1, -1)):
                    k, m = i + step * down, j + step * across
                    if 0 <= k < height and 0 <= m < width:
                        tie = 0.5 * np.exp(-float((rgb[i, j] - rgb[k, m]).square().sum()) / (2 * 0.1**2))
                        p, q = i * width + j, k * width + m
                        matrix[[p, q], [p, q]] += tie
                        matrix[[p, q], [q, p]] -= tie
    transfer = DetailTransfer(rgb)
    found = transfer.solve(value, trust)
    exact = torch.from_numpy(np.linalg.solve(matrix, right)).reshape(height, width)
    torch.testing.assert_close(found, exact, atol=1e-3, rtol=0)  # conjugate gradients end at 1e-4 of the residual
    assert float(transfer.energy(exact, value, trust)) <= float(transfer.energy(found, value, trust)) + 1e-12


def test_errors_about_gaussians_are_means_of_squares() -> None:
    g = torch.Generator().manual_seed(7)
    error = torch.rand(20, 30, generator=g)
    middle = torch.rand(40, 2, generator=g) * torch.tensor([40.0, 30.0]) - 5  # some beyond the picture
    radii = torch.randint(0, 60, (40, 2), generator=g)
    info = {"means2d": middle[None], "radii": radii[None]}
    found = error_at(error, Render(None, None, None, error, error, None, None, info))
    for (x, y), (across, down), value in zip(middle.tolist(), radii.tolist(), found.tolist(), strict=True):
        across, down = min(across, 32), min(down, 32)
        rows = range(max(0, int(np.floor(y - down))), min(20, int(np.floor(y + down)) + 1))
        columns = range(max(0, int(np.floor(x - across))), min(30, int(np.floor(x + across)) + 1))
        inside = [float(error[i, j]) for i in rows for j in columns]
        seen = across > 0 and down > 0 and inside
        assert value == pytest.approx(np.mean(inside) if seen else 0.0, abs=1e-6)


def test_textures_are_scipys_filters() -> None:
    rgb = torch.rand(24, 32, 3, generator=torch.Generator().manual_seed(6))
    grey = rgb.double().mean(-1).numpy()
    level, edge = np.array([1.0, 4, 6, 4, 1]), np.array([-1.0, -2, 0, 2, 1])
    answers = []
    for mask in (np.outer(level, edge), np.outer(edge, level)):
        turned = mask[::-1, ::-1] / np.abs(mask).sum()  # SciPy convolves, the network's layers correlate
        answers.append(np.abs(convolve(grey, turned, mode="nearest")))
    cells = uniform_filter(np.mean(answers, 0), 8, origin=0)[4::8, 4::8]
    found = patch_descriptors(rgb)[..., 9 + 16].double().numpy()
    np.testing.assert_allclose(found, np.log(0.02 + cells), atol=1e-4)  # float32 against float64
