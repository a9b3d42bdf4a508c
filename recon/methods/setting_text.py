"""Settings of a method as text: `field=value` read by the type of the field, and the fields listed for people."""

from __future__ import annotations

import difflib
import inspect
import re
import types
import typing
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any, Literal

from ...scene.errors import BadInputError
from ..optimise.train_config import TrainConfig
from .method_contract import Method


class UnknownSettingError(BadInputError):
    """A setting that a method does not have."""


def check_settings(chosen: Method, asked: Iterable[str]) -> None:
    """Raises UnknownSettingError for a setting that the method does not have."""
    known = [f.name for f in fields(chosen.config)]
    for name in asked:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"`fewview methods {chosen.name}` lists them."
            raise UnknownSettingError(f"The method {chosen.name} has no setting {name!r}; {hint}")


def parse_settings(method: Method, texts: Sequence[str]) -> dict[str, Any]:
    """Values by field of the method's config from texts like `sh_degree=2`.

    Raises BadInputError for an unknown field, a value of another type, and a field that is given twice.
    """
    kinds = typing.get_type_hints(method.config)
    values: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not name:
            raise BadInputError(f"--set {text!r} cannot be used: FIELD=VALUE is expected, e.g. sh_degree=2.")
        check_settings(method, [name])
        if name in values:
            raise BadInputError(f"--set gives {name} twice; give it once.")
        try:
            values[name] = _value(kinds[name], value.strip())
        except ValueError as error:
            raise BadInputError(f"--set {text!r} cannot be used: {_in_words(kinds[name])} is expected.") from error
    return values


@dataclass(frozen=True)
class Setting:
    """One field of a method's config, for people."""

    name: str
    kind: str  # its type in words
    default: str
    text: str  # the comment beside it


def list_settings(config: type[TrainConfig]) -> list[Setting]:
    """All fields, those of the method itself first."""
    kinds, comments = typing.get_type_hints(config), _comments(config)
    listed = [
        Setting(f.name, _in_words(kinds[f.name]), "" if f.default is MISSING else str(f.default), comments[f.name])
        for f in fields(config)
    ]
    own = set(vars(config).get("__annotations__", {}))
    return sorted(listed, key=lambda setting: setting.name not in own)


def _value(kind: Any, text: str) -> Any:
    """The text as a value of a type. Raises ValueError where it is none."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if type(None) in inner and text.lower() == "none":
            return None
        for one in inner:
            if one is not type(None):
                try:
                    return _value(one, text)
                except ValueError:
                    continue
        raise ValueError(text)
    if origin is Literal:
        by_text = {str(choice): choice for choice in inner}
        if text not in by_text:
            raise ValueError(text)
        return by_text[text]
    if origin is tuple:
        parts = [part for part in re.split(r"[,\s]+", text.strip("()[] ")) if part]
        wanted = [inner[0]] * len(parts) if inner[-1] is Ellipsis else list(inner)
        if len(parts) != len(wanted):
            raise ValueError(text)
        return tuple(_value(one, part) for one, part in zip(wanted, parts, strict=True))
    if kind is bool:
        if text.lower() not in ("true", "false", "yes", "no", "on", "off", "1", "0"):
            raise ValueError(text)
        return text.lower() in ("true", "yes", "on", "1")
    if kind in (int, float, str):
        return kind(text)
    raise ValueError(text)


def _in_words(kind: Any) -> str:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return " or ".join("none" if one is type(None) else _in_words(one) for one in inner)
    if origin is Literal:
        return " or ".join(map(str, inner))
    if origin is tuple:
        return (
            f"{len(inner)} numbers with commas between" if inner[-1] is not Ellipsis else "values with commas between"
        )
    return {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}.get(kind, str(kind))


def _comments(config: type[TrainConfig]) -> dict[str, str]:
    """The comment behind each field in the sources of the config and its bases."""
    found = {f.name: "" for f in fields(config)}
    for cls in reversed(config.__mro__):
        if issubclass(cls, TrainConfig):
            found |= dict(re.findall(r"^    (\w+): [^#\n]*#\s*(.+)$", _source(cls), flags=re.MULTILINE))
    return found


def _source(cls: type) -> str:
    try:
        return inspect.getsource(cls)
    except (OSError, TypeError):  # typed into a console
        return ""
