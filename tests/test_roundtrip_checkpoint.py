"""A run that stopped and went on equals one that never stopped, bit for bit."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from fewview.learn.checkpoint import Checkpoint, load_newest, save
from fewview.recon.methods.gaussian_splatting.config import GaussianSplattingConfig
from fewview.recon.methods.gaussian_splatting.model import initialise
from fewview.recon.optimise.trainer import fit
from fewview.scene.errors import BadInputError
from fewview.scene.run import Run
from support.training import same_bits, tiny_dataset

CONFIG = GaussianSplattingConfig(
    steps=36, sh_degree=2, densify_from=0.1, densify_until=0.8, densify_every=6, max_gaussians=60, grow_gradient=1e-5,
    opacity_resets=1, refine_poses=True, random_background=True, coarse_levels=1, checkpoint_every_s=0,
    gaussian_dropout=0.3,
)  # fmt: skip


def _interrupt_after(stop: int):
    def callback(step, model, figures):
        if step == stop:
            os.kill(os.getpid(), signal.SIGINT)

    return callback


@pytest.mark.parametrize("densification", ["default", "mcmc"])
@pytest.mark.parametrize("stops", [[1], [9], [10], [15], [16, 17], [29], [35], [4, 8, 22]], ids=str)
def test_interrupted_and_resumed_equals_uninterrupted(tmp_path, densification, stops):
    """Densification ends rounds at steps 9, 15, 21, 27; opacities drop at 15; the degree rises at 9 and 18."""
    config = replace(CONFIG, densification=densification)
    dataset = tiny_dataset()
    whole = fit(initialise(dataset, config), dataset, config)
    run = Run.create(tmp_path / "run", {})
    for i, stop in enumerate(stops):
        part = fit(
            initialise(dataset, config), dataset, config, run=run, resume=i > 0, callbacks=[_interrupt_after(stop)]
        )
        assert part.interrupted
        assert part.step == stop
    rest = fit(initialise(dataset, config), dataset, config, run=run, resume=True)
    assert not rest.interrupted
    assert len(rest.splat.gaussians) == len(whole.splat.gaussians) > 24
    assert same_bits(rest.splat.gaussians, whole.splat.gaussians)
    assert torch.equal(rest.cameras.cam_from_world, whole.cameras.cam_from_world)
    assert rest.loss == whole.loss


def test_the_interrupt_handler_is_put_back():
    before = signal.getsignal(signal.SIGINT)
    dataset = tiny_dataset()
    config = replace(CONFIG, steps=5)
    assert fit(initialise(dataset, config), dataset, config, callbacks=[_interrupt_after(2)]).step == 2
    assert signal.getsignal(signal.SIGINT) is before


def test_the_last_two_checkpoints_are_kept(tmp_path):
    run = Run.create(tmp_path / "run", {})
    dataset = tiny_dataset()
    config = replace(CONFIG, checkpoint_every_steps=10)
    fit(initialise(dataset, config), dataset, config, run=run)
    names = sorted(p.name for p in run.checkpoints_path.iterdir())
    assert names == ["step_00000030.safetensors", "step_00000036.safetensors"]


def test_a_finished_run_resumes_to_its_result(tmp_path):
    run = Run.create(tmp_path / "run", {})
    dataset = tiny_dataset()
    first = fit(initialise(dataset, CONFIG), dataset, CONFIG, run=run)
    again = fit(initialise(dataset, CONFIG), dataset, CONFIG, run=run, resume=True)
    assert again.step == CONFIG.steps
    assert same_bits(first.splat.gaussians, again.splat.gaussians)
    checkpoint, _ = load_newest(run.checkpoints_path)
    assert again.seconds >= checkpoint.seconds > 0


def test_resuming_before_any_checkpoint_begins(tmp_path):
    run = Run.create(tmp_path / "run", {})
    dataset = tiny_dataset()
    assert fit(initialise(dataset, CONFIG), dataset, CONFIG, run=run, resume=True).step == CONFIG.steps


def test_other_settings_or_data_are_refused(tmp_path):
    run = Run.create(tmp_path / "run", {})
    dataset = tiny_dataset()
    fit(initialise(dataset, CONFIG), dataset, CONFIG, run=run, callbacks=[_interrupt_after(3)])
    other = replace(CONFIG, scale_lr=0.5)
    with pytest.raises(BadInputError, match=r"other settings: scale_lr=0\.005 \(now 0\.5\)"):
        fit(initialise(dataset, other), dataset, other, run=run, resume=True)
    moved = tiny_dataset(seed=9)
    with pytest.raises(BadInputError, match="other photographs, cameras or points"):
        fit(initialise(moved, CONFIG), moved, CONFIG, run=run, resume=True)
    patient = replace(CONFIG, checkpoint_every_s=5.0)  # does not decide the result
    assert fit(initialise(dataset, patient), dataset, patient, run=run, resume=True).step == CONFIG.steps


_SAVER = """
import sys, pathlib, torch
from fewview.learn.checkpoint import Checkpoint, save
for step in range(1, 100000):
    tensors = {"a": torch.full((200_000,), float(step)), "b": torch.full((7,), step)}
    save(pathlib.Path(sys.argv[1]), Checkpoint(step, 0.0, {"steps": 3}, "data", tensors))
    print(step, flush=True)
"""


def test_a_kill_while_saving_leaves_the_old_one_or_the_new_one(tmp_path):
    seed = int(time.time())
    print(f"seed {seed}")
    delays = random.Random(seed)
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", _SAVER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(3):
            process.stdout.readline()
        time.sleep(delays.uniform(0, 0.03))  # anywhere within a few of the saves that follow
        process.send_signal(signal.SIGKILL)
        rest = process.communicate()[0].split("\n")[:-1]  # the last line may be half of one
        reported = int(rest[-1]) if rest else 3
        checkpoint, notes = load_newest(tmp_path)
        assert notes == []
        assert checkpoint.step >= reported
        assert (checkpoint.tensors["a"] == checkpoint.step).all()
        assert (checkpoint.tensors["b"] == checkpoint.step).all()
        for path in tmp_path.glob("step_*"):
            path.unlink()
    save(tmp_path, Checkpoint(1, 0.0, {}, "", {"a": torch.zeros(1)}))
    assert [p.name for p in tmp_path.iterdir()] == ["step_00000001.safetensors"]  # what the kills left is gone
