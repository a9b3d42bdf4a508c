"""NaN, infinity and denormal numbers never crash or stall the kernels, and finite inputs have finite gradients."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent


@pytest.mark.parametrize("seed", [1, 2])
def test_hostile_numbers(seed: int) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "support.fuzz_splat", str(seed), "40"]
    # About 3 s of work; a loop over a box that NaN or infinity opens would take for ever.
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "40 rounds"
