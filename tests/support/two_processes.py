"""A training by two processes of gloo that start from different weights and see different samples."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import safetensors.torch
import torch
from fewview.detect.training import DetectorTraining
from fewview.learn import TrainRun, fit
from fewview.learn.processes import process_group
from torch import Tensor, nn

TESTS = Path(__file__).resolve().parents[1]
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def assert_two_processes_agree(folder: Path, training: Callable[[], DetectorTraining]) -> None:
    """Train in two processes, each of which calls `training`, a function of a test's module, after its own seed."""
    done = subprocess.run(
        [*TORCHRUN, __file__, str(folder), training.__module__.rpartition(".")[2], training.__name__],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    first, second = (safetensors.torch.load_file(folder / f"{rank}.safetensors") for rank in (0, 1))
    start: dict[str, Tensor] = safetensors.torch.load_file(folder / "start.safetensors")
    assert any(not torch.equal(tensor, start[name]) for name, tensor in first.items())
    for name, tensor in first.items():
        if "running" not in name:  # each process keeps statistics of its own samples until the next step begins
            assert torch.equal(tensor, second[name]), name


def _train(folder: Path, module: str, name: str) -> None:
    torch.set_num_threads(1)
    with process_group(torch.device("cpu")) as (rank, count):
        assert count == 2
        torch.manual_seed(rank)  # different starts: only the first one's may remain
        training = getattr(importlib.import_module(module), name)()
        network = training.detector.network
        if rank == 0:
            _save(network, folder / "start.safetensors")
        fit(network, training, TrainRun())
        _save(network, folder / f"{rank}.safetensors")


def _save(network: nn.Module, path: Path) -> None:
    """Tensors that share memory are written one by one."""
    safetensors.torch.save_file({name: tensor.clone() for name, tensor in network.state_dict().items()}, path)


if __name__ == "__main__":
    sys.path.insert(0, str(TESTS))
    _train(Path(sys.argv[1]), *sys.argv[2:])
