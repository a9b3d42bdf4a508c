"""The depth prior's integration against a dense solution, its gradients against differences, and what holds of it."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from fewview.learn import TrainRun, fit
from fewview.recon.evidence.depth_prior import complete_depth, load_prior
from fewview.recon.evidence.depth_prior.depth_training import (
    Crop,
    DepthSamples,
    DepthSchedule,
    DepthTraining,
    depth_losses,
    jumps,
    mirrored,
    recolored,
)
from fewview.recon.evidence.depth_prior.integration import HOLD, Differences, integrate
from fewview.recon.evidence.depth_prior.network import DepthPrior, Prediction
from fewview.recon.evidence.depth_prior.prior_weights import save_prior
from fewview.recon.evidence.depth_prior.sparse_input import sparse_input, told_channels
from fewview.scene.errors import BadInputError
from torch import Tensor

ROWS, COLUMNS = 8, 12


def some_levels(generator: torch.Generator) -> tuple[list[Differences], Tensor]:
    """Differences at two resolutions in float64, and the pull of a few pixels."""

    def draw(*shape: int) -> Tensor:
        return torch.rand(2, *shape, generator=generator, dtype=torch.float64)

    levels = []
    for h, w in ((ROWS, COLUMNS), (ROWS // 2, COLUMNS // 2)):
        steps = 2 * draw(h, w - 1) - 1, 2 * draw(h - 1, w) - 1
        levels.append(Differences(*steps, 0.1 + draw(h, w - 1), 0.1 + draw(h - 1, w)))
    return levels, 3 * (draw(ROWS, COLUMNS) > 0.8).double()


def dense_solution(levels: list[Differences], pull: Tensor, row: int) -> Tensor:
    """The same least squares, one equation after another, of one of the batch."""
    equations, values = [], []

    def blocks(k: int, y: int, x: int) -> Tensor:
        cell = torch.zeros(ROWS, COLUMNS, dtype=torch.float64)
        side = 2**k
        cell[y * side : (y + 1) * side, x * side : (x + 1) * side] = 1 / side**2
        return cell.flatten()

    for k, level in enumerate(levels):
        for steps, ties, dy, dx in (
            (level.right[row], level.right_tie[row], 0, 1),
            (level.down[row], level.down_tie[row], 1, 0),
        ):
            for y in range(steps.shape[0]):
                for x in range(steps.shape[1]):
                    weight = (4.0**k * ties[y, x]).sqrt()
                    equations.append(weight * (blocks(k, y + dy, x + dx) - blocks(k, y, x)))
                    values.append(weight * steps[y, x])
    for number, weight in enumerate((pull[row].flatten() + HOLD).sqrt()):
        one = torch.zeros(ROWS * COLUMNS, dtype=torch.float64)
        one[number] = weight
        equations.append(one)
        values.append(torch.zeros((), dtype=torch.float64))
    return torch.linalg.lstsq(torch.stack(equations), torch.stack(values)[:, None]).solution.reshape(ROWS, COLUMNS)


def test_reference_integration_equals_dense_least_squares() -> None:
    levels, pull = some_levels(torch.Generator().manual_seed(0))
    found = integrate(levels, pull, 200)
    for row in range(2):
        assert torch.allclose(found[row], dense_solution(levels, pull, row), atol=1e-8)


def test_gradient_of_integration_by_differences() -> None:
    generator = torch.Generator().manual_seed(1)
    levels, pull = some_levels(generator)
    inputs = [pull + 0.1, *(t for v in levels for t in (v.right, v.down, v.right_tie, v.down_tie))]
    toward = torch.randn(pull.shape, generator=generator, dtype=torch.float64)

    def energy(*values: Tensor) -> Tensor:
        pull, *flat = values
        return (toward * integrate([Differences(*flat[:4]), Differences(*flat[4:])], pull, 150)).sum()

    leaves = [t.clone().requires_grad_() for t in inputs]
    gradients = torch.autograd.grad(energy(*leaves), leaves)
    for number, gradient in enumerate(gradients):
        along = torch.randn(gradient.shape, generator=generator, dtype=torch.float64)
        ahead, behind = ([t + s * along if k == number else t for k, t in enumerate(inputs)] for s in (1e-6, -1e-6))
        numeric = float(energy(*ahead) - energy(*behind)) / 2e-6
        assert float((gradient * along).sum()) == pytest.approx(numeric, rel=1e-5, abs=1e-7)


def scene(unit: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A picture, inverse depth of a slanted plane, and 40 known pixels."""
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
    for head in (*network.decoder.heads, network.decoder.rest):
        torch.nn.init.normal_(head.weight, std=0.05)
    return network.eval()


def test_a_new_network_interpolates_as_planes_do() -> None:
    torch.manual_seed(0)
    image, inverse, weight = scene()
    found = complete_depth(DepthPrior().eval(), image, inverse, weight)
    # The ties of a new network take back a twentieth of the interpolation's slopes, and half pixels are rounded.
    assert np.abs(found.depth.numpy() * inverse - 1).max() < 0.1


def test_large_photographs_keep_their_few_known_pixels() -> None:
    torch.manual_seed(0)
    y, x = np.mgrid[:360, :1040].astype(np.float32)
    inverse, weight = 0.2 + 2e-4 * x + 1e-4 * y, np.zeros((360, 1040), np.float32)
    corners = [0, 0, 359, 359, 180], [0, 1039, 0, 1039, 519]
    weight[corners] = 5
    found = complete_depth(DepthPrior().eval(), np.zeros((360, 1040, 3), np.uint8), inverse, weight)
    assert found.depth.shape == (360, 1040)
    assert np.abs(found.depth.numpy()[corners] * inverse[corners] - 1).max() < 0.05


@pytest.mark.parametrize("unit", [1e-3, 7.3, 1e4])
def test_depth_scales_with_what_is_known(unit: float) -> None:
    network = shaken_prior()
    one, other = complete_depth(network, *scene()), complete_depth(network, *scene(unit))
    assert torch.allclose(other.depth / unit, one.depth, rtol=1e-3)  # float32 logarithms, through 200 iterations
    assert torch.allclose(other.log_scale, one.log_scale, atol=1e-3)
    assert one.depth.shape == (60, 90)
    assert bool((one.depth > 0).all())
    assert float((one.depth * torch.from_numpy(scene()[1]) - 1).abs().max()) > 1e-3  # it does do something


def test_too_few_known_pixels_are_refused() -> None:
    inverse, weight = np.ones((32, 32), np.float32), np.zeros((32, 32), np.float32)
    weight[4, 4] = weight[20, 9] = 1
    with pytest.raises(ValueError, match="3 or more pixels"):
        sparse_input(inverse, weight)


def test_what_is_told_has_no_unit() -> None:
    _, inverse, weight = scene()
    assert np.allclose(sparse_input(inverse, weight).told, sparse_input(8 * inverse, weight).told, atol=1e-4)


def test_jumps_are_at_steps_and_not_on_planes() -> None:
    _, inverse, _ = scene()
    log_depth = torch.from_numpy(-np.log(inverse))[None]
    assert not bool(jumps(log_depth)[0].any())
    log_depth[:, :, 40:] += 0.5
    found, said = jumps(log_depth)
    assert bool(found[:, :, 39:41].all())
    assert int(found.sum()) == 2 * 60
    log_depth[:, :10] = torch.nan  # the sky
    assert not bool(jumps(log_depth)[1][:, :10].any())
    assert bool(said.all())


def test_losses_are_least_at_the_truth() -> None:
    truth = torch.rand(1, 16, 16, generator=torch.Generator().manual_seed(5))
    truth[:, :3] = torch.nan
    zero, schedule = torch.zeros(1, 16, 16), DepthSchedule()
    right = depth_losses(Prediction(truth.nan_to_num(9.0), zero, zero), zero, truth, schedule)
    wrong = depth_losses(Prediction(truth.nan_to_num(9.0) + 0.1 * (truth > 0.5), zero, zero), zero, truth, schedule)
    assert float(right["depth"]) == pytest.approx(0, abs=1e-7)
    assert float(right["slope"]) == pytest.approx(0, abs=1e-7)
    assert all(float(wrong[name]) > float(right[name]) + 1e-3 for name in ("depth", "likelihood", "slope"))


def samples() -> DepthSamples:
    """Two pictures whose truth is half as deep on the right as the interpolation says."""
    generator = torch.Generator().manual_seed(6)
    images = torch.randint(256, (2, 64, 64, 3), generator=generator).to(torch.uint8)
    images[:, :, 32:] //= 4
    inverse = (0.2 + 0.004 * np.mgrid[:64, :64][1]).astype(np.float32)
    weight = np.zeros_like(inverse)
    weight[::5, 2:30:6] = 5
    told = sparse_input(inverse, weight)
    base = torch.from_numpy(told.base).repeat(2, 1, 1)
    truth = base.clone()
    truth[:, :, 16:] -= 0.7
    return DepthSamples(images, truth, base, torch.from_numpy(told.weight).half().repeat(2, 1, 1), torch.arange(2))


def test_mirrored_samples_tell_the_same() -> None:
    _, inverse, weight = (np.kron(x[:30, :45], np.ones((2, 2), np.float32)) if x.ndim == 2 else x for x in scene())
    weight[:2, -2:] = weight[-2:, :2] = weight[-2:, -2:] = 5
    one, other = sparse_input(inverse, weight), sparse_input(inverse[:, ::-1].copy(), weight[:, ::-1].copy())
    found = mirrored(Crop(np.zeros((60, 90, 3), np.uint8), one.base, one.weight, one.base))
    assert np.allclose(told_channels(found.base, found.weight), other.told, atol=0.05)
    assert np.allclose(found.base, other.base, atol=1e-3)


def test_parts_of_samples_are_told_what_they_alone_show() -> None:
    task = DepthTraining(samples(), DepthSchedule(steps=3, batch=4, crop_px=32), DepthPrior().features)
    for batch in task.batches(0):
        assert batch.images.shape == (4, 32, 32, 3)
        assert batch.told.shape[2:] == batch.log_depth.shape[1:] == (16, 16)
        assert int(batch.known.flatten(1).sum(1).min()) >= 3
        for row in range(4):
            again = told_channels(batch.base[row].numpy(), batch.told[row, 2].expm1().numpy())
            assert np.allclose(batch.told[row], again, atol=1e-2)  # weights went through a logarithm
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


def test_training_learns_what_interpolation_has_wrong() -> None:
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
