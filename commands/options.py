"""Options that every subcommand understands, and their way from the command line into dataclasses."""

from __future__ import annotations

import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from ..scene.errors import BadInputError
from ..scene.path_kinds import require_file_or_folder

T = TypeVar("T")

_METAVARS: dict[Any, str] = {int: "N", float: "X", str: "WORD", Path: "PATH"}


@dataclass(frozen=True, kw_only=True)
class Common:
    """Options with the same meaning for every subcommand."""

    # Folder or file to write to.
    output: Annotated[Path | None, tyro.conf.arg(aliases=("-o",))] = None
    # Where to compute: auto takes a CUDA GPU when one can be used.
    device: Literal["auto", "cpu", "cuda"] = "auto"
    # Random seed: the same seed, device and threads give the same result.
    seed: int = 0
    # CPU threads; auto uses every core.
    threads: int | None = None
    # Say nothing but errors and the result.
    quiet: bool = False
    # Print the result as one JSON object on the last line of standard output.
    json: bool = False
    # Show the traceback of an error.
    debug: bool = False

    def __post_init__(self) -> None:
        if self.threads is not None and not 1 <= self.threads <= 256:
            raise BadInputError(f"--threads {self.threads} cannot be used: 1 to 256 are possible.")
        if not 0 <= self.seed < 2**63:
            raise BadInputError(f"--seed {self.seed} cannot be used: a number from 0 to 2^63 - 1 is expected.")
        for option in fields(self):
            value = getattr(self, option.name)
            for path in value if isinstance(value, tuple) else (value,):
                if isinstance(path, Path):
                    require_file_or_folder(path, "-o" if option.name == "output" else "")


def parse(options: type[T], args: Sequence[str], prog: str) -> T:
    """The dataclass `options` filled from command-line arguments; tyro exits with 2 when they do not fit."""
    with _registry():
        return tyro.cli(options, args=_joined_axes(args), prog=prog, config=(tyro.conf.FlagCreatePairsOff,))


def _joined_axes(args: Sequence[str]) -> list[str]:
    """`--up -y` as `--up=-y`: alone, `-y` would be taken for an option of its own."""
    joined: list[str] = []
    for word in args:
        if joined and joined[-1].startswith("--") and word in ("-x", "-y", "-z"):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def _registry() -> ConstructorRegistry:
    """Lets `int | None` and its kind be typed, and be shown in the help, as a plain value or `auto`."""
    registry = ConstructorRegistry()

    @registry.primitive_rule
    def value_or_auto(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
        if typing.get_origin(info.type) not in (typing.Union, types.UnionType):
            return None
        inner = [a for a in typing.get_args(info.type) if a is not type(None)]
        if len(inner) != 1 or inner[0] not in _METAVARS:
            return None
        kind = inner[0]
        return PrimitiveConstructorSpec(
            nargs=1,
            metavar=_METAVARS[kind],
            instance_from_str=lambda words: None if words == ["auto"] else kind(words[0]),
            is_instance=lambda value: value is None or isinstance(value, kind),
            str_from_instance=lambda value: ["auto" if value is None else str(value)],
        )

    return registry
