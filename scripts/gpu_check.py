"""Every system on a GPU, held against the CPU: one table, and an exit code. 'not run' and 0 where there is no GPU.

    python scripts/gpu_check.py [--only splatting methods ...] [--small] [--device cpu]

splatting: pictures, gradients, loss and Adam of the device against the CPU's kernels and the reference implementation.
methods: InstantSplat, SC-GS and all others train, begin with the CPU's loss, and (on a GPU) wait for nothing in a step.
sparse: convolution of every kind and type against the CPU's kernels, with both gradients.
detectors: SparseFusion, TSP3D and ImGeoNet train on generated data and find on the device what they find on the CPU.
pipeline: the bundled photographs from files to a splat. times: of a training step on both.
`--device cpu` holds the CPU against itself: it shows that the check works, not that a GPU does.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import time
import traceback
from collections.abc import Callable, Iterator

import torch
from gpu_check_row import Row
from gpu_detection_checks import check_detectors, check_sparse
from gpu_splatting_checks import check_methods, check_pipeline, check_splatting, check_times

SYSTEMS: dict[str, Callable[[str, bool], Iterator[Row]]] = {
    "splatting": check_splatting,
    "methods": check_methods,
    "sparse": check_sparse,
    "detectors": check_detectors,
    "pipeline": check_pipeline,
    "times": check_times,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--only", nargs="+", choices=tuple(SYSTEMS), default=tuple(SYSTEMS))
    parser.add_argument("--small", action="store_true", help="the least that still says something")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("not run: PyTorch sees no GPU here")
        return 0
    name = torch.cuda.get_device_name() if options.device == "cuda" else "the CPU against itself"
    print(f"{name}, torch {torch.__version__}\n\n| system | check | found | expected | |\n|---|---|---|---|---|")
    passed = True
    for system in options.only:
        started, silenced = time.perf_counter(), io.StringIO()
        try:
            with contextlib.redirect_stderr(silenced):
                for row in SYSTEMS[system](options.device, options.small):
                    passed &= row.passed
                    print(row.line(system), flush=True)
        except Exception as error:  # the other systems are checked whatever happens to this one
            passed = False
            print(Row("runs", f"{type(error).__name__}: {error}".splitlines()[0], "no error", False).line(system))
            sys.stderr.write(silenced.getvalue())
            traceback.print_exc()
        print(Row("seconds", f"{time.perf_counter() - started:.1f}", "", True).line(system), flush=True)
    print("\npassed" if passed else "\nFAILED")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
