"""Pointmap networks: written as the released files are, read back, and asked for predictions."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch
from fewview.recon.poses.pointmaps.dust3r import Dust3r, sizes_of
from fewview.recon.poses.pointmaps.dust3r_network import Dust3rNetwork, NetworkSizes
from fewview.scene.errors import FewviewError
from support.pointmap_networks import DPT, LINEAR, MAST3R, random_network, random_photo, save_released


def equal(one, other) -> bool:
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in vars(one))


@pytest.mark.parametrize("sizes", [DPT, LINEAR, MAST3R], ids=["dpt", "linear", "mast3r"])
def test_a_released_file_gives_the_network_that_wrote_it(tmp_path: Path, sizes: NetworkSizes) -> None:
    network = random_network(sizes)
    photos = random_photo(64, 96, 1), random_photo(64, 96, 2)
    found = Dust3r.load(save_released(tmp_path / "weights.pth", network))
    assert equal(found.predict(*photos), Dust3r(network).predict(*photos))
    assert sizes_of(network.state_dict()) == sizes


@pytest.mark.parametrize("sizes", [DPT, MAST3R], ids=["dpt", "mast3r"])
def test_a_safetensors_file_with_shared_weights_written_once_is_read(tmp_path: Path, sizes: NetworkSizes) -> None:
    network = random_network(sizes)
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_model(network, str(path))
    assert len(safetensors.torch.load_file(path)) == len(network.state_dict()) - 8  # shared: four of each head's
    photos = random_photo(32, 48, 1), random_photo(32, 48, 2)
    assert equal(Dust3r.load(path).predict(*photos), Dust3r(network).predict(*photos))


def test_half_precision_weights_predict_in_single_precision(tmp_path: Path) -> None:
    network = random_network().half()
    path = tmp_path / "half.safetensors"
    safetensors.torch.save_model(network, str(path))
    prediction = Dust3r.load(path).predict(random_photo(32, 32), random_photo(32, 32, 1))
    assert prediction.points_i.dtype == torch.float32
    assert equal(prediction, Dust3r(network.float()).predict(random_photo(32, 32), random_photo(32, 32, 1)))


def test_predictions_have_the_photographs_sizes_and_confidences_above_one() -> None:
    # Landscape with portrait, and odd token counts, where the head's coarsest level has a row too many.
    stereo = Dust3r(random_network())
    prediction = stereo.predict(random_photo(48, 80), random_photo(112, 64))
    assert prediction.points_i.shape == (48, 80, 3)
    assert prediction.points_j.shape == (112, 64, 3)
    assert prediction.confidence_i.shape == (48, 80)
    assert prediction.confidence_j.shape == (112, 64)
    for confidence in (prediction.confidence_i, prediction.confidence_j):
        assert bool((confidence > 1).all())


def test_all_pairs_equal_single_pairs_and_encode_each_photograph_once(monkeypatch: pytest.MonkeyPatch) -> None:
    stereo = Dust3r(random_network())
    photos = [random_photo(32, 48, 0), random_photo(32, 48, 1), random_photo(48, 32, 2)]
    encoded, told = [], []
    encode = Dust3rNetwork.encode
    monkeypatch.setattr(Dust3rNetwork, "encode", lambda self, x: encoded.append(x.shape) or encode(self, x))
    pairs = stereo.predict_pairs(photos, lambda stage, done, total, figures={}: told.append((stage, done, total)))
    assert len(encoded) == 3
    assert told[0][1:] == (0, 3)
    assert told[-1][1:] == (6, 6)
    assert set(pairs) == {(i, j) for i in range(3) for j in range(3) if i != j}
    for (i, j), prediction in pairs.items():
        assert equal(prediction, stereo.predict(photos[i], photos[j]))
    # The two orders are different questions: each has its own frame.
    assert not torch.equal(pairs[0, 1].points_i, pairs[1, 0].points_j)


def test_predictions_can_enter_a_differentiable_loss() -> None:
    prediction = Dust3r(random_network()).predict(random_photo(32, 32), random_photo(32, 32, 1))
    scale = torch.ones((), requires_grad=True)
    (scale * prediction.points_i).square().mean().backward()
    assert scale.grad is not None
    assert float(scale.grad) > 0


def test_a_photograph_that_is_not_whole_patches_is_refused() -> None:
    stereo = Dust3r(random_network())
    with pytest.raises(ValueError, match=r"multiples of 16.*\(30, 32, 3\)"):
        stereo.predict(random_photo(30, 32), random_photo(32, 32))


def test_weights_that_overflow_are_told(tmp_path: Path) -> None:
    network = random_network()
    network.downstream_head2.dpt.head[4].bias.fill_(1e4)  # the exponential of it is infinite
    with pytest.raises(FewviewError, match="not finite numbers"):
        Dust3r(network).predict(random_photo(32, 32), random_photo(32, 32, 1))


@pytest.mark.parametrize(
    ("size", "side", "expected"),
    [
        ((1080, 1920), 512, (288, 512)),
        ((1920, 1080), 512, (512, 288)),
        ((3000, 4000), 512, (384, 512)),
        ((700, 700), 512, (384, 512)),  # squares become 4:3
        ((100, 171), 512, (288, 512)),  # enlarged; 299 rows cropped to whole patches
        ((4, 4000), 512, (16, 512)),  # never thinner than a patch
        ((480, 640), 224, (224, 224)),
    ],
)
def test_photographs_are_prepared_at_the_sizes_of_the_training(
    tmp_path: Path, size: tuple[int, int], side: int, expected: tuple[int, int]
) -> None:
    stereo = Dust3r.load(save_released(tmp_path / "weights.pth", random_network(LINEAR), side))
    prepared = stereo.prepare(random_photo(*size))
    assert tuple(prepared.pixels.shape) == (*expected, 3)
    centre = prepared.prepared_from_image @ torch.tensor([size[1] / 2, size[0] / 2, 1.0], dtype=torch.float64)
    # The middle stays the middle, up to half a pixel where an odd number of columns or rows is cropped.
    assert torch.allclose(centre[:2], torch.tensor([expected[1], expected[0]]).double() / 2, atol=0.51)


def test_preparing_moves_pixels_as_its_matrix_says() -> None:
    height, width = 600, 820
    photo = torch.zeros(height, width, 3, dtype=torch.uint8)
    photo[196:204, 596:604] = 255  # centred at (600, 200)
    prepared = Dust3r(random_network()).prepare(photo)
    weights = prepared.pixels[..., 0].double()
    rows, columns = torch.arange(weights.shape[0]) + 0.5, torch.arange(weights.shape[1]) + 0.5
    found = (weights.sum(0) @ columns.double()) / weights.sum(), (weights.sum(1) @ rows.double()) / weights.sum()
    expected = prepared.prepared_from_image @ torch.tensor([600.0, 200.0, 1.0], dtype=torch.float64)
    # Lanczos is symmetric; rounding its lobes to 8 bits moves the centroid by less than a tenth of a pixel.
    assert abs(float(found[0]) - float(expected[0])) < 0.1
    assert abs(float(found[1]) - float(expected[1])) < 0.1
