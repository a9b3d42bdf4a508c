"""The public surface: the names that the packages export, compared with the list in `public_surface.txt`.

A difference is a change that users see. If it is meant, put the new list into the file and say so in CHANGELOG.md.
"""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

ROOMS = (
    "",
    "scene",
    "scene.datasets",
    "scene.edit",
    "scene.formats",
    "scene.mesh_formats",
    "scene.readers",
    "render",
    "learn",
    "recon",
    "recon.poses",
    "detect.sparse",
    "gsplat",
    "gsplat.compression",
    "gsplat.distributed",
    "gsplat.exporter",
    "gsplat.optimizers",
    "gsplat.relocation",
    "gsplat.rendering",
    "gsplat.strategy",
    "gsplat.utils",
    "viewer",
)
LISTED = Path(__file__).with_name("public_surface.txt")


def _exported() -> list[str]:
    """Every name that a package re-exports as `X as X`, or lists in `__all__`, in full."""
    names: list[str] = []
    for room in ROOMS:
        module = importlib.import_module(f"fewview.{room}" if room else "fewview")
        assert module.__file__ is not None
        tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
        aliases = [a for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for a in node.names]
        public = {a.name for a in aliases if a.asname == a.name} | set(getattr(module, "__all__", ()))
        names += [f"{module.__name__}.{name}" for name in sorted(public)]
    return names


def test_the_public_names_are_those_listed() -> None:
    assert _exported() == LISTED.read_text(encoding="utf-8").split()


def test_every_public_name_is_there() -> None:
    for full_name in _exported():
        room, _, name = full_name.rpartition(".")
        assert hasattr(importlib.import_module(room), name), full_name


def test_every_command_has_options_and_a_sentence() -> None:
    from fewview.cli import COMMANDS

    commands = dict(COMMANDS)
    for name in COMMANDS:
        within = getattr(importlib.import_module(f"fewview.commands.{name}"), "SUBCOMMANDS", None)
        if within is not None:
            assert within
            commands |= {f"{name}_{sub}": sentence for sub, sentence in within.items()}
            del commands[name]
    for name, sentence in commands.items():
        command = importlib.import_module(f"fewview.commands.{name}")
        assert callable(command.run)
        assert command.Options.__doc__.startswith(sentence.rstrip(".")), name
