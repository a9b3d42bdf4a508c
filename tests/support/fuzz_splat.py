"""Renders hostile numbers for a number of rounds: `python -m support.fuzz_splat SEED ROUNDS`.

A process of its own, so that a crash or an endless loop is a failed test and not the end of all tests.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from fewview import _native
from fewview.render import rasterization
from torch import Tensor

FINITE = [0.0, -0.0, 1e-45, -1e-40, 1.2e-38, 1e-20, -1e-8, 1.0, -1.0, 1e4, -1e8, 1e20, -1e30, 3.4e38, -3.4e38]
ALL = [*FINITE, float("nan"), float("inf"), float("-inf")]


def hostile(rng: np.random.Generator, plain: Tensor, share: float, values: list[float]) -> Tensor:
    """`plain` with about `share` of its numbers replaced."""
    swap = torch.from_numpy(rng.random(plain.shape) < share)
    other = torch.from_numpy(rng.choice(np.array(values, dtype=np.float32), plain.shape))
    return torch.where(swap, other, plain)


def one_round(rng: np.random.Generator) -> None:
    n, cameras = int(rng.integers(0, 40)), int(rng.integers(1, 3))
    width, height = (int(rng.integers(1, 70)) for _ in range(2))
    degree = int(rng.integers(0, 5))
    finite = bool(rng.random() < 0.5)
    values = FINITE if finite else ALL
    share = float(rng.choice([0.02, 0.2, 1.0]))

    def normal(*shape: int) -> Tensor:
        return torch.from_numpy(rng.standard_normal(shape).astype(np.float32))

    viewmats = torch.eye(4).repeat(cameras, 1, 1)
    viewmats[:, 2, 3] = 3
    Ks = torch.tensor([[50.0, 0, width / 2], [0, 50.0, height / 2], [0, 0, 1]]).repeat(cameras, 1, 1)
    inputs = {
        "means": hostile(rng, normal(n, 3), share, values),
        "quats": hostile(rng, normal(n, 4), share, values),
        "scales": hostile(rng, normal(n, 3).exp() * 0.2, share, values),
        "opacities": hostile(rng, torch.from_numpy(rng.random(n, dtype=np.float32)), share, values),
        "colors": normal(n, (degree + 1) ** 2, 3),
        "viewmats": viewmats if finite else hostile(rng, viewmats, 0.02, values),
    }
    for tensor in inputs.values():
        tensor.requires_grad_()
    options = {
        "packed": bool(rng.random() < 0.5),
        "rasterize_mode": str(rng.choice(["classic", "antialiased"])),
        "render_mode": str(rng.choice(["RGB", "RGB+ED", "D"])),
    }
    try:
        image, alpha, _ = rasterization(**inputs, Ks=Ks, width=width, height=height, sh_degree=degree, **options)
    except (ValueError, RuntimeError) as refused:  # a camera that is no rigid motion may be refused with a sentence
        if finite:
            raise SystemExit(f"finite inputs were refused: {refused}") from refused
        return
    loss = image.sum() + alpha.sum()
    if loss.requires_grad:
        loss.backward()
    if finite:
        assert torch.isfinite(alpha).all(), "alpha of finite inputs"
        assert torch.isfinite(image).all(), "image of finite inputs"
        for name, tensor in inputs.items():
            assert tensor.grad is None or torch.isfinite(tensor.grad).all(), f"gradient of {name}, finite inputs"


def main(seed: int, rounds: int) -> None:
    torch.set_num_threads(1)
    for i in range(rounds):
        for name in _native.isas():
            _native.set_isa(name)
            try:
                one_round(np.random.default_rng((seed, i)))
            except AssertionError as fault:
                raise SystemExit(f"seed {seed}, round {i}, {name}: {fault}") from fault
    print(f"{rounds} rounds")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
