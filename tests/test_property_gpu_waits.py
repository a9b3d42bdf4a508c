"""Training steps on a GPU that is not there: every tensor is where it belongs, and nothing waits for the GPU."""

from __future__ import annotations

import importlib
from dataclasses import replace
from typing import Any

import pytest
import torch
from fewview.recon.methods.registry import method
from fewview.recon.optimise.trainer import Trainer
from support.pretend_gpu import OnGpu, native_gsplat, pretend_gpu
from support.small_methods import SETTINGS, inputs_for

# Without the rounds in which Gaussians come and go: these wait for their number, every hundred steps.
STEADY: dict[str, Any] = {"steps": 40, "checkpoint_every_s": 0.0, "densification": "none"}


@pytest.fixture(autouse=True)
def _gsplat(monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("fewview.render.rasterization")
    monkeypatch.setattr(module, "gsplat_rasterization", native_gsplat)


def test_the_gpu_that_is_not_there_refuses_and_counts() -> None:
    with pretend_gpu() as gpu:
        x = torch.arange(6.0, device="cuda").reshape(2, 3).requires_grad_()
        y = torch.ones(2, 3)
        assert x.is_cuda
        assert x.device.type == "cuda"
        with pytest.raises(RuntimeError, match="same device"):
            x + y
        with pytest.raises(TypeError, match="numpy"):
            x.detach().numpy()
        with gpu.waits() as waits:
            ((x * 2).sum() + (x @ torch.zeros(3, 3, device=x.device)).mean()).backward()
            x.detach().add_(1)
        assert waits.count == 0, waits
        assert isinstance(x.grad, OnGpu)
        for wait in (
            lambda: float(x.sum()),
            lambda: bool((x > 1).any()),
            lambda: x.detach().tolist(),
            lambda: x.detach().cpu(),
            lambda: y.to("cuda"),
            lambda: torch.tensor([1.0], device="cuda"),
            lambda: (x > 1).nonzero(),
            lambda: x[x > 1],
            lambda: torch.unique(x.detach()),
        ):
            with gpu.waits() as waits:
                wait()
            assert waits.count == 1, waits


WARM_UP = 2  # steps in which tables of constants may be copied once


@pytest.mark.parametrize("name", ["3dgs", "instantsplat", "sc_gs"])
def test_a_training_step_waits_for_nothing(name: str) -> None:
    inputs = inputs_for(name)
    with pretend_gpu() as gpu:
        inputs = replace(inputs, dataset=inputs.dataset.to("cuda"))
        chosen = method(name)
        asked = {k: v for k, v in (SETTINGS.get(name, {}) | STEADY).items() if hasattr(chosen.config, k)}
        config = chosen.configure(inputs, asked)
        trainer = Trainer(chosen.initialise(inputs, config), inputs.dataset, config)
        assert trainer.device.type == "cuda"
        for _ in range(WARM_UP):
            trainer.advance()
        with gpu.waits() as waits:
            while trainer.step < 10:  # the loss is read at every tenth
                trainer.advance()
        assert waits.count == 0, f"\n{waits}"
        with gpu.waits() as waits:
            trainer.advance()
        assert waits.count == 1, f"\n{waits}"
