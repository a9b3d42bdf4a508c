"""Builds `fewview._native`, every kernel once for each instruction set, and brings the viewer of `fewview share`.

No machine-specific flag is used beyond those, so that a wheel runs on any processor of its architecture. The viewer is
an npm package that is pinned by version and hash. Without npm or a network the build goes on without it; nothing else
needs it, and nothing is fetched after the build.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import platform
import shutil
import subprocess
import tarfile
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nanobind
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

KERNELS = ["project", "spherical_harmonics", "rasterize", "image_loss", "adam", "alignment", "patch_match"]
KERNELS += ["sparse_conv", "control_points", "skinning", "table"]
COMMON = ["parallel", "tiles", "sparse_map", "kernel_timing", "kernel_choice", "bindings"]
COMMON += ["patch_match_bindings", "sparse_conv_bindings", "control_point_bindings"]
FLAGS = [
    "-std=c++17", "-O3", "-g0", "-fvisibility=hidden", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast",
    "-Wall", "-Wno-uninitialized", "-Wno-maybe-uninitialized", "-Wno-psabi", "-Wno-ignored-attributes",
    "-Wno-unknown-pragmas",
]  # fmt: skip
IS_X86 = platform.machine().lower() in {"x86_64", "amd64"}
# The plainest first: where an inline function is compiled several times, the linker keeps the first.
INSTRUCTION_SETS: dict[str, list[str]] = (
    {"sse2": [], "avx2": ["-march=x86-64-v3"], "avx512": ["-march=x86-64-v4", "-mprefer-vector-width=512"]}
    if IS_X86
    else {"plain": []}
)
# Kernels for one instruction set with one more feature, which is asked for before they are called.
WITH_FEATURE: dict[str, dict[str, list[str]]] = {"avx512": {"sparse_conv_bf16": ["-mavx512bf16"]}}


class BuildNative(build_ext):
    """Compiles with flags of each source's own, two at a time, then links."""

    def build_extension(self, ext: Extension) -> None:
        nanobind_root = Path(nanobind.__file__).parent
        include = [nanobind_root / "include", nanobind_root / "ext" / "robin_map" / "include", *self.include_dirs]
        jobs = [(Path(nanobind_root / "src" / "nb_combined.cpp"), "nanobind", ["-fno-strict-aliasing"])]
        jobs += [(Path("cuda") / f"{name}.cpp", "common", []) for name in COMMON]
        for isa, flags in INSTRUCTION_SETS.items():
            special = WITH_FEATURE.get(isa, {})
            for name in [*KERNELS, *special]:
                options = [f"-DFEWVIEW_ISA={isa}", *flags, *special.get(name, [])]
                jobs.append((Path("cuda") / f"{name}.cpp", isa, options))

        def compile_one(job: tuple[Path, str, list[str]]) -> str:
            source, group, flags = job
            target = Path(self.build_temp) / group / f"{source.stem}.o"
            headers = Path("cuda").glob("*.h")
            newest = max(
                source.stat().st_mtime, Path("setup.py").stat().st_mtime, *(h.stat().st_mtime for h in headers)
            )
            if not target.exists() or target.stat().st_mtime < newest:
                target.parent.mkdir(parents=True, exist_ok=True)
                self.spawn(
                    [*self.compiler.compiler_so_cxx, *FLAGS, *(["-DFEWVIEW_X86"] if IS_X86 else []), *flags]
                    + [f'-DFEWVIEW_VERSION="{self.distribution.get_version()}"']
                    + [f"-I{folder}" for folder in include]
                    + ["-c", str(source), "-o", str(target)]
                )
            return str(target)

        with ThreadPoolExecutor(2) as pool:
            objects = list(pool.map(compile_one, jobs))
        target = self.get_ext_fullpath(ext.name)
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        self.compiler.link_shared_object(objects, target, target_lang="c++", extra_postargs=["-pthread"])


VIEWER, VIEWER_VERSION = "@playcanvas/supersplat-viewer", "1.36.2"
VIEWER_SHA512 = "L7w0BlagAonRHQg5qhaDyBB8zrRtiU9QgglNU3kUgsqHpokCAtuf9j4P0kxsUaQn61FZ1qJGkRKsOCbrLCDR0w=="
VIEWER_FOLDER = Path("viewer/supersplat")
VIEWER_FILES = ("LICENSE", "package.json", "public/index.css", "public/index.js")  # the whole program, wholly bundled
FETCH_SECONDS = 90


class BuildPython(build_py):
    """Fetches the viewer of `fewview share`, then gathers the package's files without this one."""

    def run(self) -> None:
        try:
            fetch_viewer()
        except (OSError, subprocess.SubprocessError, KeyError, ValueError, tarfile.TarError) as error:
            self.warn(f"`fewview share` will not work, as its viewer could not be fetched: {error}")
        self.__dict__.pop("data_files", None)  # a list that may have been made before the files were there
        super().run()

    def find_package_modules(self, package: str, package_dir: str) -> list[tuple[str, str, str]]:
        """The package's root is the repository's, whose `setup.py` is no module of the package."""
        modules: list[tuple[str, str, str]] = super().find_package_modules(package, package_dir)
        return [found for found in modules if found[:2] != ("fewview", "setup")]


def fetch_viewer() -> None:
    """Put the pinned viewer into VIEWER_FOLDER, unless it is there. Nothing is unpacked unless the hash is right."""
    stamp = VIEWER_FOLDER / "package.json"
    if stamp.is_file() and json.loads(stamp.read_text(encoding="utf-8"))["version"] == VIEWER_VERSION:
        return
    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError("npm is not installed")
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, "pack", "--silent", "--pack-destination", folder, f"{VIEWER}@{VIEWER_VERSION}"]
        subprocess.run(command, check=True, timeout=FETCH_SECONDS, cwd=folder, stdout=subprocess.DEVNULL)
        archive = next(Path(folder).glob("*.tgz")).read_bytes()
    found = base64.b64encode(hashlib.sha512(archive).digest()).decode()
    if found != VIEWER_SHA512:
        raise ValueError(f"{VIEWER} {VIEWER_VERSION} has the SHA-512 {found}, but {VIEWER_SHA512} is expected")
    VIEWER_FOLDER.mkdir(exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        contents = {name: tar.extractfile(f"package/{name}") for name in VIEWER_FILES}
        for name, file in sorted(contents.items(), key=lambda item: item[0] == "package.json"):  # the stamp comes last
            assert file is not None, name
            (VIEWER_FOLDER / Path(name).name).write_bytes(file.read())


setup(
    ext_modules=[Extension("fewview._native", sources=[f"cuda/{name}.cpp" for name in [*COMMON, *KERNELS]])],
    cmdclass={"build_ext": BuildNative, "build_py": BuildPython},
)
