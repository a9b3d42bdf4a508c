"""The registry of reconstruction methods: a row for each, imported when it is asked about."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from importlib.metadata import entry_points
from typing import Any

from ...scene.errors import BadInputError
from .method_contract import Inputs, Method

ROWS = {"3dgs": ".gaussian_splatting", "instantsplat": ".instantsplat"}  # name to the module that holds its METHOD
ENTRY_POINTS = "fewview.methods"  # other packages offer their methods as objects of this group

_registered: dict[str, Method] = {}


def register(method: Method) -> Method:
    """Add a method of one's own under its name; for this process."""
    _registered[method.name] = method
    return method


def method_names() -> tuple[str, ...]:
    """The names of all methods, those of other packages last."""
    return tuple(dict.fromkeys([*ROWS, *(point.name for point in entry_points(group=ENTRY_POINTS)), *_registered]))


def method(name: str) -> Method:
    """The method of a name. Raises BadInputError that lists the names where there is none."""
    if name in _registered:
        return _registered[name]
    if name in ROWS:
        found = importlib.import_module(ROWS[name], __package__).METHOD
        assert isinstance(found, Method)
        return found
    for point in entry_points(group=ENTRY_POINTS, name=name):
        found = point.load()
        if not isinstance(found, Method):
            raise BadInputError(f"The method {name!r} of the package {point.value!r} is no fewview Method.")
        return found
    near = difflib.get_close_matches(name, method_names(), n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(method_names())}."
    raise BadInputError(f"There is no method {name!r}; {hint}")


def choose(inputs: Inputs, asked: Callable[[Method], Mapping[str, Any]]) -> tuple[Method, str]:
    """The method that suits the inputs best, of those that accept what is asked of them; and why.

    `asked` gives the settings for a method, by field. Raises BadInputError where no method accepts them.
    """
    scored, refusals = [], []
    for name in method_names():
        candidate = method(name)
        try:
            settings = asked(candidate)
            check_settings(candidate, settings)
            candidate.configure(inputs, settings)
        except BadInputError as refusal:
            refusals.append(str(refusal))
            continue
        scored.append((candidate.suits(inputs), candidate))
    if not scored:
        raise BadInputError(f"No method accepts these settings: {refusals[0]}")
    suitability, best = max(scored, key=lambda row: row[0].score)
    return best, suitability.reason


def check_settings(chosen: Method, asked: Iterable[str]) -> None:
    """Raises BadInputError for a setting that the method does not have."""
    known = [f.name for f in fields(chosen.config)]
    for name in asked:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"`fewview methods {chosen.name}` lists them."
            raise BadInputError(f"The method {chosen.name} has no setting {name!r}; {hint}")
