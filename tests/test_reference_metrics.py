"""Image metrics against closed forms and an independent implementation."""

import math

import numpy as np
import pytest
import torch
from fewview.render import metrics
from fewview.render.metrics import lpips, lpips_missing, psnr, ssim
from scipy.ndimage import correlate


def noisy_pair(seed=3, height=37, width=50):
    rng = np.random.default_rng(seed)
    smooth = np.cumsum(np.cumsum(rng.normal(size=(height, width, 3)), 0), 1)
    target = (smooth - smooth.min()) / np.ptp(smooth)
    image = np.clip(target + rng.normal(scale=0.05, size=target.shape), 0, 1)
    return torch.from_numpy(image), torch.from_numpy(target)


def ssim_by_direct_sums(x, y):
    """Wang et al. 2004 with a full 2-D window and zeros outside, by scipy."""
    r = np.arange(11) - 5
    window = np.exp(-(r[:, None] ** 2 + r[None, :] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    maps = []
    for c in range(3):
        a, b = x[..., c], y[..., c]

        def blur(v):
            return correlate(v, window, mode="constant", cval=0.0)

        ma, mb = blur(a), blur(b)
        va, vb, cab = blur(a * a) - ma**2, blur(b * b) - mb**2, blur(a * b) - ma * mb
        c1, c2 = 0.0001, 0.0009
        maps.append((2 * ma * mb + c1) * (2 * cab + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2)))
    return float(np.mean(maps))


def test_psnr_closed_form():
    target = torch.full((8, 9, 3), 0.5)
    assert psnr(target + 0.1, target) == pytest.approx(20.0, abs=1e-5)  # float32 holds 0.6 to 6e-8
    assert psnr(target, target) == math.inf
    half = target.clone()
    half[:4] += 0.2  # half of the pixels off by 0.2: mean square 0.02
    assert psnr(half, target) == pytest.approx(-10 * math.log10(0.02), abs=1e-5)


def test_ssim_matches_direct_sums():
    image, target = noisy_pair()
    # Both in float64; separable and full windows differ by rounding only.
    assert ssim(image, target) == pytest.approx(ssim_by_direct_sums(image.numpy(), target.numpy()), abs=1e-10)


def test_ssim_of_equal_images_is_one_also_when_smaller_than_the_window():
    image = torch.rand(5, 4, 3, generator=torch.Generator().manual_seed(0))
    assert ssim(image, image) == pytest.approx(1.0, abs=1e-12)


def test_metrics_refuse_other_shapes():
    with pytest.raises(ValueError, match="one size"):
        psnr(torch.zeros(4, 4, 3), torch.zeros(4, 5, 3))


def test_lpips_is_none_and_says_why_without_weights(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.delenv(metrics.LPIPS_BACKBONE_VARIABLE, raising=False)
    image, target = noisy_pair()
    assert lpips(image, target) is None
    assert "not measured" in lpips_missing()


@pytest.fixture
def random_alexnet(monkeypatch, tmp_path):
    pytest.importorskip("lpips", reason="the lpips package (its linear heads) is not installed")
    from torchvision.models import alexnet

    torch.manual_seed(0)
    path = tmp_path / "alexnet.pth"
    torch.save(alexnet(weights=None).state_dict(), path)
    monkeypatch.setenv(metrics.LPIPS_BACKBONE_VARIABLE, str(path))
    return path


def test_lpips_uses_the_backbone_file(random_alexnet):
    image, target = (t[..., :3].repeat(2, 2, 1) for t in noisy_pair())
    assert lpips_missing() is None
    assert lpips(target, target) == pytest.approx(0.0, abs=1e-7)
    value = lpips(image, target)
    assert value is not None
    assert value > 0
    # The weights in the file are what is used: another file gives another value.
    weights = torch.load(random_alexnet, weights_only=True)
    torch.save({k: v * 1.5 for k, v in weights.items()}, random_alexnet)
    metrics._lpips_model.cache_clear()
    assert lpips(image, target) != pytest.approx(value, rel=1e-3)
