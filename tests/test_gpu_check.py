"""`scripts/gpu_check.py` on the CPU, small: every system is asked, and a fault is told by the exit code."""

from __future__ import annotations

import sys

import gpu_check
import gpu_splatting_checks
import pytest
import torch
from gpu_check_row import Row


def check(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["gpu_check.py", *arguments])
    code = gpu_check.main()
    return code, capsys.readouterr().out


@pytest.mark.parametrize("system", ["splatting", "methods", "sparse", "detectors", "times"])
def test_the_cpu_agrees_with_itself(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], system: str
) -> None:
    code, out = check(monkeypatch, capsys, "--device", "cpu", "--small", "--only", system)
    assert code == 0, out
    assert out.strip().endswith("passed")
    assert "FAILED" not in out
    named = {"methods": ("instantsplat", "sc_gs"), "detectors": ("SparseFusion", "TSP3D", "ImGeoNet")}
    assert all(name in out for name in named.get(system, (system,)))


def test_a_fault_is_a_row_and_an_exit_code_and_stops_nobody(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(device: str, small: bool) -> object:
        yield Row("one", "1", "1", True)
        raise RuntimeError("no kernel image")

    monkeypatch.setitem(gpu_check.SYSTEMS, "splatting", broken)
    monkeypatch.setitem(gpu_check.SYSTEMS, "times", lambda device, small: iter([Row("two", "2", "3", False)]))
    code, out = check(monkeypatch, capsys, "--device", "cpu", "--only", "splatting", "times")
    assert code == 1
    assert "RuntimeError: no kernel image" in out
    assert "| times | two | 2 | 3 | FAILED |" in out


def test_a_wrong_gradient_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = gpu_splatting_checks._loss("cpu")
    wrong = right | {"gradient": right["gradient"] * 1.01}
    row = gpu_splatting_checks.compared("loss", wrong, right, 1e-4)
    assert not row.passed
    assert "gradient" in row.found


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_nothing_is_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(monkeypatch, capsys) == (0, "not run: PyTorch sees no GPU here\n")
