"""Compare the files of a wheel with the checkout: every file of the package, and nothing beside it.

python .ci/check_wheel.py WHEEL
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BESIDE_THE_PACKAGE = {"tests", "scripts", "examples", "docs", "build", "dist"}
DATA = ("py.typed", "_native.pyi", "viewer/share_start.js", "scene/sample/photo_01.jpg", "scene/sample/photo_12.jpg")


def modules() -> set[str]:
    """Paths of the package's Python files in the checkout."""
    files = {path.relative_to(ROOT) for path in ROOT.rglob("*.py")}
    files = {f for f in files if f.parts[0] not in BESIDE_THE_PACKAGE and not f.parts[0].startswith(".")}
    return {f.as_posix() for f in files - {Path("setup.py")}}


def main(wheel: str) -> str | None:
    """Return what is wrong with the wheel, or None."""
    names = zipfile.ZipFile(wheel).namelist()
    inside = {name.removeprefix("fewview/") for name in names if name.startswith("fewview/")}
    expected = modules()
    strange = {name for name in inside if name.endswith(".py")} - expected
    strange |= {name for name in names if not name.startswith(("fewview/", "fewview-"))}
    wrong = [f"{name} is missing" for name in sorted({*expected, *DATA} - inside)]
    wrong += [f"{name} does not belong there" for name in sorted(strange)]
    if not any(name.startswith("_native.") and name.endswith((".so", ".pyd")) for name in inside):
        wrong.append("the native kernels are missing")
    print(f"{Path(wheel).name}: {len(inside)} files")
    return "\n".join(wrong) or None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
