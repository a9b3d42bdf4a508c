"""spconv-triton's own kernels, run by Triton's interpreter, give what ours give."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "scripts" / "check_triton_products.py"


@pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("spconv_triton", "triton")),
    reason="spconv-triton or Triton is not installed (`pip install spconv-triton`; PyTorch for CUDA brings Triton)",
)
def test_forward_and_both_gradients_equal_ours_in_the_interpreter() -> None:
    # A process of its own: Triton asks for the interpreter when it is imported.
    done = subprocess.run(
        [sys.executable, str(SCRIPT)],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line for line in done.stdout.splitlines() if "float" in line]
    assert len(rows) == 12  # four convolutions, two widths in float32 and one in float16
    assert "equal within rounding" in done.stdout
