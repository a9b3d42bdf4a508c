"""The rules of the package's layout, read off its own source: imports, file names, docstrings, packages.

Imports inside functions and under `TYPE_CHECKING` count like all others: what needs them needs the other file.
"""

from __future__ import annotations

import ast
import functools
import graphlib
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BESIDE = {"tests", "scripts", "examples"}  # Python beside the package
NO_SOURCE = {"build", "dist", "docs"}
FLOORS = {
    "": 0,  # fewview itself, which knows its version
    "_native": 0,
    "lazy": 0,
    "scene": 1,
    "render": 2,
    "learn": 3,
    "recon": 4,
    "detect": 4,
    "viewer": 5,
    "gsplat": 5,
    "commands": 6,
    "cli": 7,  # finds the command
    "__main__": 8,
}
# A paper's own folder has its `config.py` and `model.py`, so that papers can be read side by side.
PAPERS = re.compile(
    r"recon/methods/\w+/|recon/poses/networks/\w+/|recon/nerfstudio_plugin/|detect/(?!sparse/|nuscenes/|common/|tasks/|metrics/)\w+/"
)
OF_A_PAPER = {"config.py", "model.py"}
QUESTION = re.compile(r"(What|Whether|How|Which|Where|Who|When)\b")


@functools.cache
def sources(*tops: str) -> dict[str, ast.Module]:
    """Every Python file below the folders, or of the package where none is given, by its path from the root."""
    folders = [ROOT / top for top in tops if (ROOT / top).is_dir()]
    if not tops:
        folders = [p for p in ROOT.iterdir() if p.is_dir() and p.name not in BESIDE | NO_SOURCE and p.name[0] != "."]
    files = [f for folder in folders for f in folder.rglob("*.py")]
    if not tops:
        files += [f for f in ROOT.glob("*.py") if f.name != "setup.py"]
    return {f.relative_to(ROOT).as_posix(): ast.parse(f.read_bytes()) for f in sorted(files)}


def module_of(path: str) -> str:
    """Dotted name within the package: `scene.boxes`, `scene` for its `__init__.py`, "" for the package itself."""
    return path.removesuffix(".py").removesuffix("__init__").strip("/").replace("/", ".")


@functools.cache
def imports() -> dict[str, set[str]]:
    """Modules of the package that each module imports, in any place and by any form with a literal name."""
    modules = {module_of(path) for path in sources()} | {"_native"}
    found: dict[str, set[str]] = {module: set() for module in modules}
    for path, tree in sources().items():
        module = module_of(path)
        package = module.split(".") if path.endswith("__init__.py") else module.split(".")[:-1]
        package = [part for part in package if part]
        for name in _imported(tree, package):
            # `from .a import b` names the module a.b where there is one, and else something in a.
            found[module].add(name if name in modules else name.rpartition(".")[0])
        assert found[module] <= modules, (path, found[module] - modules)
    return found


def _imported(tree: ast.Module, package: list[str]) -> Iterator[str]:
    def absolute(level: int, name: str) -> str:
        base = package[: len(package) - level + 1]
        return ".".join([*base, *filter(None, name.split("."))])

    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            within, own = node.module or "", node.level > 0
            if own:
                within = absolute(node.level, within)
            elif within.split(".")[0] == "fewview":
                within, own = within.removeprefix("fewview").strip("."), True
            if own:
                yield from (f"{within}.{alias.name}".strip(".") for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (a.name.removeprefix("fewview.") for a in node.names if a.name.startswith("fewview."))
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module") and node.args:
            name = node.args[0]
            if isinstance(name, ast.Constant) and name.value.startswith("."):
                rest = name.value.lstrip(".")
                yield absolute(len(name.value) - len(rest), rest)


def test_no_file_imports_itself_through_others() -> None:
    graph = {module: set(others) for module, others in imports().items()}
    circles = []
    while True:
        try:
            graphlib.TopologicalSorter(graph).prepare()
            break
        except graphlib.CycleError as error:
            circle = error.args[1]  # each is imported by the next
            circles.append(" -> ".join(reversed(circle)))
            graph[circle[1]].discard(circle[0])
    assert not circles, "\n".join(circles)


def test_imports_go_to_lower_floors() -> None:
    rooms = {module.split(".")[0] for module in imports()}
    assert rooms <= set(FLOORS), f"{rooms - set(FLOORS)} are on no floor"
    wrong = [
        f"{module} imports {other}"
        for module, others in sorted(imports().items())
        for other in sorted(others)
        if (room := module.split(".")[0]) != (below := other.split(".")[0]) and FLOORS[below] >= FLOORS[room]
    ]
    assert not wrong, "\n".join(wrong)


def test_no_file_name_occurs_twice() -> None:
    paths = defaultdict(list)
    for path in sources():
        name = Path(path).name
        if name != "__init__.py" and not (name in OF_A_PAPER and PAPERS.match(path)):
            paths[name].append(path)
    twice = [" and ".join(found) for found in paths.values() if len(found) > 1]
    assert not twice, "\n".join(twice)


@pytest.mark.parametrize(
    "tops", [(), *((top,) for top in sorted(BESIDE))], ids=lambda tops: tops[0] if tops else "fewview"
)
def test_docstrings_begin_with_a_noun_or_a_verb(tops: tuple[str, ...]) -> None:
    asking = [
        f"{path}:{getattr(node, 'lineno', 1)}: {text.splitlines()[0]}"
        for path, tree in sources(*tops).items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and (text := ast.get_docstring(node))
        and QUESTION.match(text)
    ]
    assert not asking, "\n".join(asking)


def test_every_folder_is_installed() -> None:
    folders = {str(Path(path).parent.as_posix()) for path in sources()} - {"."}
    bare = [folder for folder in sorted(folders) if f"{folder}/__init__.py" not in sources()]
    assert not bare, f"without __init__.py: {bare}"
    settings = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    table = settings[settings.index("[tool.setuptools]") :]  # Python 3.10 has no tomllib
    listed = set(re.findall(r'"fewview(?:\.([\w.]+))?"', table[table.index("packages = [") : table.index("]\n", 20)]))
    assert listed - {""} == {folder.replace("/", ".") for folder in folders}


def test_what_only_posix_has_is_imported_where_it_is_used() -> None:
    """Windows has no `resource`; a module that imports it at its top cannot be imported there."""
    everywhere = sources() | sources(*sorted(BESIDE))
    wrong = [path for path, tree in everywhere.items() if "resource" in _imported_at_the_top(tree)]
    assert not wrong, wrong


def _imported_at_the_top(node: ast.AST) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield child.module or ""
        elif not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from _imported_at_the_top(child)
