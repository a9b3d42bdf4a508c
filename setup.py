"""Builds `fewview._native`: every kernel once for each instruction set, chosen at run time.

No machine-specific flag is used beyond those, so that a wheel runs on any processor of its architecture.
"""

from __future__ import annotations

import platform
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nanobind
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

KERNELS = ["project", "spherical_harmonics", "rasterize", "image_loss", "adam", "alignment", "patch_match", "table"]
COMMON = ["parallel", "tiles", "bindings", "patch_match_bindings"]
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


class BuildNative(build_ext):
    """Compiles with flags of each source's own, two at a time, then links."""

    def build_extension(self, ext: Extension) -> None:
        nanobind_root = Path(nanobind.__file__).parent
        include = [nanobind_root / "include", nanobind_root / "ext" / "robin_map" / "include", *self.include_dirs]
        jobs = [(Path(nanobind_root / "src" / "nb_combined.cpp"), "nanobind", ["-fno-strict-aliasing"])]
        jobs += [(Path("cuda") / f"{name}.cpp", "common", []) for name in COMMON]
        for isa, flags in INSTRUCTION_SETS.items():
            jobs += [(Path("cuda") / f"{name}.cpp", isa, [f"-DFEWVIEW_ISA={isa}", *flags]) for name in KERNELS]

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
                    + [f"-I{folder}" for folder in include]
                    + ["-c", str(source), "-o", str(target)]
                )
            return str(target)

        with ThreadPoolExecutor(2) as pool:
            objects = list(pool.map(compile_one, jobs))
        target = self.get_ext_fullpath(ext.name)
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        self.compiler.link_shared_object(objects, target, target_lang="c++", extra_postargs=["-pthread"])


setup(
    ext_modules=[Extension("fewview._native", sources=[f"cuda/{name}.cpp" for name in [*COMMON, *KERNELS]])],
    cmdclass={"build_ext": BuildNative},
)
