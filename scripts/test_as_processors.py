"""Runs the test suite as other processors would, and prints one table; exits 1 where a row fails.

    python scripts/test_as_processors.py [--only ROW] [-- PYTEST ARGUMENTS]

Each row sets an environment and runs pytest: our kernels for an older instruction set, without products of bfloat16,
PyTorch with the libraries under it for an older instruction set, or another number of threads. What this processor
cannot be is skipped with a sentence. A row takes as long as `make test`; `-- -k word` or `-- tests/FILE` shortens it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

import torch
from fewview import _native

ROOT = Path(__file__).resolve().parent.parent


def threads(count: int) -> dict[str, str]:
    """PyTorch's and NumPy's threads, and those of our kernels."""
    return dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "FEWVIEW_THREADS"), str(count))


# ATen's own kernels, then oneDNN (convolutions), MKL (matrices in PyTorch) and OpenBLAS (those in NumPy and SciPy).
TORCH_WITHOUT_AVX2 = {
    "ATEN_CPU_CAPABILITY": "default",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "MKL_CBWR": "COMPATIBLE",
    "OPENBLAS_CORETYPE": "Prescott",
}
TORCH_WITHOUT_AVX512 = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_CBWR": "AVX2",
    "OPENBLAS_CORETYPE": "Haswell",
}
ROWS: dict[str, dict[str, str]] = {
    "as-it-is": {},
    "sse2": {"FEWVIEW_ISA": "sse2"},
    "avx2": {"FEWVIEW_ISA": "avx2"},
    "avx512": {"FEWVIEW_ISA": "avx512", "FEWVIEW_BF16": "0"},
    "avx512-bf16": {"FEWVIEW_ISA": "avx512"},
    "torch-without-avx2": TORCH_WITHOUT_AVX2,
    "torch-without-avx512": TORCH_WITHOUT_AVX512,
    "1-thread": threads(1),
    "2-threads": threads(2),
    "5-threads": threads(5),
}
VARIABLES = {name for row in ROWS.values() for name in row}


@dataclass(frozen=True)
class Result:
    """The figures of a row; `ok` is pytest's own verdict."""

    row: str
    ok: bool
    passed: int
    failed: int
    skipped: int
    seconds: float


def plain_environment() -> dict[str, str]:
    """The caller's, but for what rows set."""
    return {name: value for name, value in os.environ.items() if name not in VARIABLES}


def reason_to_skip(row: str) -> str | None:
    """One sentence where this processor cannot be what the row asks for, or is it by itself."""
    isas, isa = _native.isas(), ROWS[row].get("FEWVIEW_ISA")
    if isa is not None and isa not in isas:
        return f"this processor has no {isa} kernels to run; it has {', '.join(isas)}"
    if row == "avx512-bf16" and not has_bf16():
        return "this processor does not multiply bfloat16 (AVX512_BF16)"
    if row == chosen_by_itself():
        return "this is what our kernels take here by themselves: see as-it-is"
    if row.startswith("torch-") and torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"):
        return f"PyTorch takes {torch.backends.cpu.get_cpu_capability()} here by itself"
    if row == "torch-without-avx512" and torch.backends.cpu.get_cpu_capability() != "AVX512":
        return "PyTorch takes no AVX-512 here by itself: see as-it-is"
    return None


def has_bf16() -> bool:
    """Products of bfloat16 with the widest kernels, whatever the caller's environment denies."""
    return answer("_native.has_bf16()", FEWVIEW_ISA=_native.isas()[0]) == "True"


def chosen_by_itself() -> str | None:
    """The row that says which kernels are chosen here without being told; None where it is a mixture of rows."""
    rendering, convolution, bf16 = answer("_native.isa(), _native.convolution_isa(), _native.prefers_bf16()").split()
    if rendering != convolution:
        return None
    return "avx512-bf16" if bf16 == "True" else rendering


def answer(expression: str, **environment: str) -> str:
    """The printed value of an expression over `_native` in a process of its own."""
    code = f"from fewview import _native; print({expression})"
    environment = plain_environment() | environment
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, check=True, stdout=subprocess.PIPE, text=True
    ).stdout.strip()


def run(row: str, arguments: list[str]) -> Result:
    """One run of pytest, whose output is the caller's to read."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", *arguments]
        code = subprocess.run(command, cwd=ROOT, env=plain_environment() | ROWS[row], check=False).returncode
        suites = ElementTree.parse(report).getroot().findall("testsuite") if report.is_file() else []
    tests, failures, errors, skipped = (
        sum(int(suite.get(name, 0)) for suite in suites) for name in ("tests", "failures", "errors", "skipped")
    )
    failed = failures + errors
    return Result(row, code == 0, tests - failed - skipped, failed, skipped, time.perf_counter() - start)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=list(ROWS), metavar="ROW", help=f"one of {', '.join(ROWS)}")
    parser.add_argument("arguments", nargs="*", help="for pytest, after --")
    options = parser.parse_args()
    results, skipped = [], {}
    for row in options.only or ROWS:
        reason = reason_to_skip(row)
        if reason is None:
            print(f"\n== {row}: {' '.join(f'{k}={v}' for k, v in ROWS[row].items())}", flush=True)
            results.append(run(row, options.arguments))
        else:
            skipped[row] = reason
    print("\n| row | passed | failed | skipped | seconds |\n|---|---|---|---|---|")
    for r in results:
        print(f"| {r.row}{'' if r.ok else ' (failed)'} | {r.passed} | {r.failed} | {r.skipped} | {r.seconds:.0f} |")
    for row, reason in skipped.items():
        print(f"{row} was skipped: {reason}.")
    return 0 if all(r.ok for r in results) else 1


if __name__ == "__main__":
    raise SystemExit(main())
