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
from support.small_methods import METHODS, SETTINGS, inputs_for
from support.small_methods import with_the_toy as with_the_toy


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


def trainer_on_gpu(name: str, **asked: Any) -> Trainer:
    inputs, chosen = inputs_for(name), method(name)
    inputs = replace(inputs, dataset=inputs.dataset.to("cuda"))
    settings = {"steps": 12, "checkpoint_every_s": 0.0} | SETTINGS.get(name, {}) | asked
    config = chosen.configure(inputs, {k: v for k, v in settings.items() if hasattr(chosen.config, k)})
    return Trainer(chosen.initialise(inputs, config), inputs.dataset, config)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_trains_on_a_gpu_from_its_first_step_to_its_last(name: str) -> None:
    with pretend_gpu():
        trainer = trainer_on_gpu(name)
        assert trainer.device.type == "cuda"
        while trainer.step < trainer.steps:
            trainer.advance()
        splat = trainer.model.result()
        assert splat.at(0.5 if method(name).uses_time else None).means.is_cuda


# Without the rounds in which Gaussians come and go: these wait for their number, every hundred steps.
STEADY: dict[str, Any] = {"steps": 60, "densification": "none", "neighbours_every": 100, "adaptive": "off"}
FIRST = {"sc_gs": 40}  # where the last stage is under way; elsewhere the third, as constants may be copied once


@pytest.mark.parametrize("name", ["3dgs", "instantsplat", "sc_gs"])
def test_a_training_step_waits_for_nothing(name: str) -> None:
    with pretend_gpu() as gpu:
        trainer = trainer_on_gpu(name, **STEADY)
        first = FIRST.get(name, 2)
        while trainer.step <= first:
            trainer.advance()
        with gpu.waits() as waits:
            while trainer.step % 10:  # the loss is read at every tenth
                trainer.advance()
        assert waits.count == 0, f"\n{waits}"
        with gpu.waits() as waits:
            trainer.advance()
        assert waits.count == 1, f"\n{waits}"
