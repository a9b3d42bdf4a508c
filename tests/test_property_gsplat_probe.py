"""A GPU is only taken where gsplat draws on it, and what it lacks is said; packages and devices are made up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from fewview.commands import device, doctor
from fewview.commands.options import Common
from fewview.detect.sparse import gpu
from fewview.render import gsplat_probe
from fewview.scene.errors import BadInputError

DRAWS = "from fewview.render.reference_rasterization import rasterization"
# As gsplat 1.5.3 fails where it found no compiler when it was imported.
CANNOT = "def rasterization(**arguments):\n    return None.fully_fused_projection"
DRAWS_NOTHING = "def rasterization(means, **arguments):\n    return means.sum() * 0 + 0, None, None"


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    gsplat_probe.gsplat_failure.cache_clear()
    yield
    gsplat_probe.gsplat_failure.cache_clear()


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, source: str, compiled: bool = True) -> None:
    """Put a package named gsplat before all others."""
    package = folder / "gsplat"
    package.mkdir()
    (package / "__init__.py").write_text(source)
    if compiled:
        (package / "csrc.so").touch()
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(__import__("sys").modules, "gsplat", raising=False)


@pytest.fixture
def with_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "what_pytorch_lacks", lambda: "")
    monkeypatch.setattr(doctor, "what_pytorch_lacks", lambda: "")
    monkeypatch.setattr(device, "gsplat_failure", lambda: gsplat_probe.gsplat_failure("cpu"))


def without_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(gsplat_probe.shutil, "which", lambda name: None)
    monkeypatch.setattr("torch.utils.cpp_extension.CUDA_HOME", None)
    monkeypatch.setattr("torch.utils.cpp_extension.get_default_build_root", lambda: str(tmp_path / "extensions"))


def test_one_that_draws_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_gpu: None, capsys: pytest.CaptureFixture[str]
) -> None:
    install(tmp_path, monkeypatch, DRAWS)
    assert gsplat_probe.gsplat_failure("cpu") == ""
    assert device.prepare(Common()) == torch.device("cuda")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("source", "said"), [(CANNOT, "NoneType"), (DRAWS_NOTHING, "no picture"), ("1 / 0", "Zero")])
def test_one_that_cannot_draw_is_left_alone_and_said(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    with_gpu: None,
    capsys: pytest.CaptureFixture[str],
    source: str,
    said: str,
) -> None:
    install(tmp_path, monkeypatch, source)
    assert device.prepare(Common()) == torch.device("cpu")
    told = capsys.readouterr().err
    assert said in told
    assert "Computing on the CPU" in told
    assert device.prepare(Common(quiet=True)) == torch.device("cpu")
    assert capsys.readouterr().err == ""
    with pytest.raises(BadInputError, match="--device cuda cannot be used: gsplat cannot draw here"):
        device.prepare(Common(device="cuda"))


def test_no_compiler_and_nothing_compiled_is_found_without_trying(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_gpu: None
) -> None:
    install(tmp_path, monkeypatch, "raise SystemExit('imported')", compiled=False)
    without_compiler(monkeypatch, tmp_path)
    assert not gsplat_probe.compiles_at_first_use()
    assert "nvcc" in gsplat_probe.gsplat_failure("cpu")
    assert device.prepare(Common(quiet=True)) == torch.device("cpu")
    finding = doctor._cuda()
    assert not finding.ok
    assert "nvcc" in finding.found


def test_minutes_of_compiling_are_said_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_gpu: None, capsys: pytest.CaptureFixture[str]
) -> None:
    install(tmp_path, monkeypatch, DRAWS, compiled=False)
    without_compiler(monkeypatch, tmp_path)
    monkeypatch.setattr(gsplat_probe.shutil, "which", lambda name: "/usr/local/cuda/bin/nvcc")
    assert gsplat_probe.compiles_at_first_use()
    finding = doctor._cuda()  # which must not compile
    assert finding.ok
    assert "at first use" in finding.found
    assert device.prepare(Common()) == torch.device("cuda")
    assert "compiles its CUDA kernels now" in capsys.readouterr().err
    built = tmp_path / "extensions" / "py311_cu130" / "gsplat_cuda" / "gsplat_cuda.so"
    built.parent.mkdir(parents=True)
    built.touch()
    assert not gsplat_probe.compiles_at_first_use()


def test_the_doctor_says_which_sparse_products_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    real = doctor.importlib.util.find_spec
    packages: set[str] = set()
    monkeypatch.setattr(
        doctor.importlib.util,
        "find_spec",
        lambda name: (name in packages or None) if name in (*gpu.PACKAGES, "triton") else real(name),
    )
    monkeypatch.setattr(doctor.importlib.metadata, "version", lambda name: "1.0.0")
    assert "spconv-triton" in doctor._sparse_kernels().advice
    packages.add("spconv_triton")
    assert "without Triton" in doctor._sparse_kernels().found
    packages.add("triton")
    assert doctor._sparse_kernels().ok
    assert "at first use" in doctor._sparse_kernels().found
    packages.add("spconv")
    assert doctor._sparse_kernels().found == "spconv"
