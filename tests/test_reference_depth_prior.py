"""The depth prior: its fills against plain reasons, what holds of its network, its training and its files."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from fewview.learn import TrainRun, fit
from fewview.recon.evidence.depth_prior import complete_depth, load_prior
from fewview.recon.evidence.depth_prior.completion import reduced, small_input
from fewview.recon.evidence.depth_prior.depth_training import (
    DepthSamples,
    DepthSchedule,
    DepthTraining,
    depth_losses,
    recolored,
)
from fewview.recon.evidence.depth_prior.fills import NAMES, cleaned, fills, nearest, planes
from fewview.recon.evidence.depth_prior.network import FILLS, POWER, TOLD, DepthPrior, Prediction
from fewview.recon.evidence.depth_prior.prior_weights import save_prior
from fewview.recon.evidence.depth_prior.trial import errors_of_fills
from fewview.scene.errors import BadInputError

ROW = -4  # channel of what the network is told


def scene(unit: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A picture, inverse depth of a slanted plane, and 44 known pixels."""
    rng = np.random.default_rng(4)
    image = rng.integers(0, 255, (60, 90, 3), dtype=np.uint8)
    y, x = np.mgrid[:60, :90].astype(np.float32)
    inverse = (0.2 + 0.004 * x + 0.002 * y) / unit
    weight = np.zeros_like(inverse)
    weight[rng.integers(0, 60, 40), rng.integers(0, 90, 40)] = 5
    weight[[0, 0, 59, 59], [0, 89, 0, 89]] = 5
    return image, inverse.astype(np.float32), weight


def shaken_prior() -> DepthPrior:
    """A network with weights that do something everywhere."""
    torch.manual_seed(2)
    network = DepthPrior()
    torch.nn.init.normal_(network.decoder.head.weight, std=0.3)
    return network.eval()


def test_reference_nearest_is_the_nearest() -> None:
    _, inverse, weight = scene()
    places = np.argwhere(weight > 0)
    grid = np.stack(np.mgrid[:60, :90], -1).reshape(-1, 2)
    squared = ((grid[:, None] - places[None]) ** 2).sum(-1)
    found = nearest(inverse, weight > 0).ravel()
    # The transform's distances are off by up to 2 %, so that of two about as near ones it may take the other.
    values = inverse[tuple(places.T)]
    ties = np.where(squared <= 1.05 * squared.min(1, keepdims=True), np.abs(values[None] - found[:, None]), np.inf)
    assert ties.min(1).max() == 0


def test_all_planes_are_a_plane_where_only_one_is_seen() -> None:
    image, inverse, weight = scene()
    weight[:, 45:] = 0  # it goes on to the right
    found = planes(inverse, np.argwhere(weight > 0))
    assert np.abs(found / inverse - 1).max() < 1e-4
    as_fills = fills(image, inverse, weight)
    largest = as_fills[NAMES.index("largest plane")]
    inside = inverse < 3 * inverse[weight > 0].max()
    assert np.abs(largest + np.log(inverse))[inside].max() < 1e-3


def test_the_nearer_plane_is_first_and_the_larger_last() -> None:
    y, x = np.mgrid[:60, :90].astype(np.float32)
    left, right = 0.2 + 0.002 * y, 0.9 - 0.003 * x
    inverse = np.where(x < 30, left, right).astype(np.float32)
    rng = np.random.default_rng(0)
    known = (rng.random((60, 90)) < 0.06) & ((x < 20) | (x > 40))
    found = planes(inverse, np.argwhere(known))
    assert np.allclose(found[0][:, :20], left[:, :20], rtol=1e-3)
    assert np.allclose(found[0][:, 45:], right[:, 45:], rtol=1e-3)
    assert np.allclose(found[-1], right, rtol=1e-3)


def test_what_neighbours_contradict_is_left_out() -> None:
    _, inverse, weight = scene()
    rng = np.random.default_rng(1)
    known = (rng.random(inverse.shape) < 0.2) | (weight > 0)
    wrong = known & (rng.random(inverse.shape) < 0.05)
    inverse = np.where(wrong, 2 * inverse, inverse)
    kept = cleaned(inverse, known)
    assert not (kept & wrong).any()
    assert (kept & known).sum() > 0.95 * (known & ~wrong).sum()


def test_fills_agree_on_a_plane_among_its_known_pixels() -> None:
    image, inverse, _ = scene()
    weight = np.where(np.random.default_rng(2).random(inverse.shape) < 0.3, 5, 0).astype(np.float32)
    found = fills(image, inverse, weight)[:, 15:45, 20:70]
    exact = [NAMES.index(name) for name in ("linear", "nearest plane", "second plane", "third plane", "largest plane")]
    assert np.abs(found[exact] + np.log(inverse)[15:45, 20:70]).max() < 0.01
    assert np.abs(np.median(found, 0) + np.log(inverse)[15:45, 20:70]).mean() < 0.02


def test_trial_finds_the_fill_that_fits_the_scene() -> None:
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:80, :80].astype(np.float32)
    sloping, steps = 0.1 + 0.01 * y + 0.004 * x, np.where(x < 37, 0.3, 0.9).astype(np.float32)
    weight = np.where(rng.random(sloping.shape) < 0.08, 5, 0).astype(np.float32)
    image = rng.integers(0, 255, (80, 80, 3), dtype=np.uint8)
    on_plane, on_steps = (dict(zip(NAMES, errors_of_fills(image, v, weight), strict=True)) for v in (sloping, steps))
    assert on_plane["largest plane"] < 0.1 * on_plane["nearest"]
    assert on_steps["nearest"] < 0.5 * on_steps["largest plane"]
    few = np.zeros_like(weight)
    few[5::30, 5::30] = 5
    assert len(set(errors_of_fills(image, sloping, few).tolist())) == 1  # nothing could be hidden


def test_before_training_fills_count_by_their_trial() -> None:
    image, inverse, weight = scene()
    small = small_input(image, inverse, weight)
    found = DepthPrior().eval()(torch.from_numpy(small.image)[None], small.told(), *small.weighed())
    expected = torch.from_numpy(small.errors) ** -POWER
    assert torch.allclose(found.shares[0].mean((1, 2)), expected / expected.sum(), rtol=1e-3)


@pytest.mark.parametrize("unit", [1e-3, 7.3, 1e4])
def test_depth_scales_with_what_is_known(unit: float) -> None:
    network = shaken_prior()
    one, other = complete_depth(network, *scene()), complete_depth(network, *scene(unit))
    # Conjugate gradients hold to the first guess by a weight that has no unit, and stop at rounding.
    assert torch.allclose(other.depth / unit, one.depth, rtol=5e-3)
    assert torch.allclose(other.log_scale, one.log_scale, atol=2e-2)
    assert one.depth.shape == (60, 90)
    assert bool((one.depth > 0).all())


def test_known_pixels_are_kept() -> None:
    image, inverse, weight = scene()
    inverse[:, 40:] *= 1.5
    found = complete_depth(shaken_prior(), image, inverse, weight).depth.numpy()
    known = weight > 0
    assert np.allclose(found[known], 1 / inverse[known], rtol=1e-4)
    assert np.abs(found * inverse - 1).max() > 0.02  # it does do something between them


def test_large_photographs_keep_their_few_known_pixels() -> None:
    y, x = np.mgrid[:360, :1040].astype(np.float32)
    inverse, weight = 0.2 + 2e-4 * x + 1e-4 * y, np.zeros((360, 1040), np.float32)
    corners = [0, 0, 359, 359, 180], [0, 1039, 0, 1039, 519]
    weight[corners] = 5
    assert int((reduced(inverse, weight, 36, 104)[1] > 0).sum()) == 5
    found = complete_depth(shaken_prior(), np.zeros((360, 1040, 3), np.uint8), inverse, weight)
    assert found.depth.shape == (360, 1040)
    assert np.abs(found.depth.numpy()[corners] * inverse[corners] - 1).max() < 0.01


def test_the_result_lies_among_the_fills() -> None:
    image, inverse, weight = scene()
    small = small_input(image, inverse, weight)
    found = shaken_prior()(torch.from_numpy(small.image)[None], small.told(), *small.weighed())
    assert found.shares.shape[1] == FILLS == len(NAMES)
    assert torch.allclose(found.shares.sum(1), torch.ones(()), atol=1e-5)
    spread = torch.from_numpy(np.ptp(small.fills, axis=0))
    middle = (found.shares * torch.from_numpy(small.fills)).sum(1)
    assert bool(((found.log_depth - middle).abs() <= spread + 1e-5).all())


def test_too_few_known_pixels_are_refused() -> None:
    inverse, weight = np.ones((32, 32), np.float32), np.zeros((32, 32), np.float32)
    weight[4, 4] = weight[20, 9] = 1
    with pytest.raises(ValueError, match="3 or more pixels"):
        complete_depth(shaken_prior(), np.zeros((32, 32, 3), np.uint8), inverse, weight)


def test_losses_are_least_at_the_truth() -> None:
    truth = torch.rand(1, 16, 16, generator=torch.Generator().manual_seed(5))
    truth[:, :3] = torch.nan
    zero, schedule = torch.zeros(1, 16, 16), DepthSchedule()
    shares, ways = torch.full((1, FILLS, 16, 16), 1 / FILLS), truth.nan_to_num()[:, None].expand(-1, FILLS, -1, -1)
    moved = truth.nan_to_num(9.0) + 0.1 * (truth > 0.5)
    right, wrong = (
        depth_losses(Prediction(depth, zero, shares), ways, truth, zero, schedule)
        for depth in (truth.nan_to_num(9.0), moved)
    )
    assert float(right["depth"]) == pytest.approx(0, abs=1e-7)
    assert float(right["slope"]) == pytest.approx(0, abs=1e-7)
    assert all(float(wrong[name]) > float(right[name]) + 1e-3 for name in ("depth", "likelihood", "slope"))
    off = depth_losses(Prediction(truth.nan_to_num(), zero, shares), ways + 0.2, truth, zero, schedule)
    assert float(off["choice"]) > float(right["choice"]) + 1e-3


def samples() -> DepthSamples:
    """Two pictures whose truth is the nearest known pixel's on the dark right, the linear fill's on the left."""
    generator = torch.Generator().manual_seed(6)
    images = torch.randint(256, (2, 64, 64, 3), generator=generator).to(torch.uint8)
    images[:, :, 32:] //= 4
    ways = 0.3 * torch.randn(2, FILLS, 1, 1, generator=generator).expand(2, FILLS, 32, 32)
    truth = torch.where(torch.arange(32) < 16, ways[:, 0], ways[:, 1])
    weight = torch.zeros(2, 32, 32)
    weight[:, ::5, ::6] = 5
    return DepthSamples(images, truth, ways.half(), weight.half(), torch.full((2, FILLS), 0.1))


def test_parts_of_samples_are_parts_and_the_same_for_every_beginning() -> None:
    task = DepthTraining(samples(), DepthSchedule(steps=3, batch=4, crop_px=32), DepthPrior().features)
    for batch in task.batches(0):
        assert batch.images.shape == (4, 32, 32, 3)
        assert batch.told.shape == (4, TOLD, 16, 16)
        assert batch.fills.shape[2:] == batch.log_depth.shape[1:] == batch.distance.shape[1:] == (16, 16)
        # The rows are those of the whole picture, of which this is a half.
        assert float(batch.told[:, ROW].amax() - batch.told[:, ROW].amin()) <= 2
        assert torch.allclose(batch.told[:, ROW, -1] - batch.told[:, ROW, 0], torch.tensor(2 * 15 / 31), atol=1e-5)
    one, other = (list(task.batches(first))[-1] for first in (0, 2))
    assert torch.equal(one.images, other.images)  # a step is the same wherever the training begins
    assert torch.equal(one.told, other.told)


def test_other_colours_are_another_photograph_of_the_same() -> None:
    image = scene()[0]
    found = recolored(image, np.random.default_rng(1))
    assert found.shape == image.shape
    assert found.dtype == np.uint8
    assert not np.array_equal(found, image)
    assert np.corrcoef(found.mean(2).ravel(), image.mean(2).ravel())[0, 1] > 0.7


def test_training_learns_which_fill_is_right() -> None:
    torch.manual_seed(7)
    network = DepthPrior()
    task = DepthTraining(samples(), DepthSchedule(steps=60, batch=2, rate=2e-3, crop_px=64), network.features)
    losses: list[float] = []
    fit(network.decoder, task, TrainRun(after_step=lambda step, found: losses.append(found["depth"])))
    assert sum(losses[-5:]) / 5 < 0.6 * losses[0]


def test_roundtrip_of_the_weights(tmp_path: Path) -> None:
    network = shaken_prior()
    save_prior(tmp_path / "w.safetensors", network)
    assert (tmp_path / "w.safetensors").stat().st_size < 12e6
    assert sum(p.numel() for p in network.parameters()) < 5e6
    again = complete_depth(load_prior(tmp_path / "w.safetensors"), *scene())
    assert torch.allclose(again.depth, complete_depth(network, *scene()).depth, rtol=2e-2)  # matrices in float16


def test_malformed_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(pickle.dumps({"decoder": [1]}))
    with pytest.raises(BadInputError, match="pickle"):
        load_prior(path)
    save_prior(path, shaken_prior())
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(BadInputError, match="damaged"):
        load_prior(path)
    torch.save({"model": {"conv.weight": torch.ones(2, 2)}}, tmp_path / "other.pth")
    with pytest.raises(BadInputError, match="is not a depth prior of this version"):
        load_prior(tmp_path / "other.pth")
