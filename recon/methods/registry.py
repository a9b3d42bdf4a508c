"""The registry of reconstruction methods: a row for each, imported when it is asked about."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any, NamedTuple, TypeVar

from ...scene.errors import BadInputError
from ..optimise.train_config import TrainConfig
from .method_contract import Inputs, Method
from .setting_text import UnknownSettingError, check_settings

Settings = TypeVar("Settings")

ROWS = {
    "3dgs": ".gaussian_splatting",
    "instantsplat": ".instantsplat",
    "coherentgs": ".coherentgs",
    "sc_gs": ".sc_gs",
    "deformable": ".deformable_gaussians",
    "rdg_gs": ".rdg_gs",
    "dreammesh4d": ".dreammesh4d",
}  # name to the module that holds its METHOD
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


class Choice(NamedTuple):
    """A method with its config for some inputs."""

    method: Method
    config: TrainConfig
    reason: str  # a sentence
    notes: tuple[str, ...] = ()  # sentences about what the method cannot do with these inputs


def choose(name: str, inputs: Inputs, asked: Callable[[Method], Mapping[str, Any]]) -> Choice:
    """The method of a name, or for "auto" the one that suits the inputs best of those that accept what is asked.

    `asked` gives the settings that a method is asked for, by field. Raises BadInputError where they are not accepted.
    """
    if name != "auto":
        chosen = method(name)
        config = _configured(chosen, inputs, asked)
        return Choice(chosen, config, f"{name} was asked for.", _time_notes(inputs, chosen))
    return suitable(inputs, asked)[0][1]


def suitable(inputs: Inputs, asked: Callable[[Method], Mapping[str, Any]]) -> list[tuple[float, Choice]]:
    """All methods that accept what is asked, with how well they suit the inputs; the best first."""
    found = []
    for candidate, config in accepting(lambda candidate: _configured(candidate, inputs, asked)):
        score, because = candidate.suits(inputs)
        reason = f"{candidate.name} was chosen because {because}."
        found.append((score, Choice(candidate, config, reason, _time_notes(inputs, candidate))))
    return sorted(found, key=lambda row: -row[0])


def accepting(settings: Callable[[Method], Settings]) -> list[tuple[Method, Settings]]:
    """The methods for which `settings` does not raise BadInputError, with what it gives; raises it for none."""
    found = []
    refusals: list[BadInputError] = []
    for candidate in map(method, method_names()):
        try:
            found.append((candidate, settings(candidate)))
        except BadInputError as refusal:
            refusals.append(refusal)
    if not found:
        # A method that has the setting and refuses its value says more than one that has no such setting.
        told = next((r for r in refusals if not isinstance(r, UnknownSettingError)), refusals[0])
        raise BadInputError(f"No method accepts these settings: {told}")
    return found


def _time_notes(inputs: Inputs, chosen: Method) -> tuple[str, ...]:
    """A sentence where the photographs were taken at different times and the method takes the scene as still."""
    if not inputs.moves or chosen.uses_time:
        return ()
    following = [name for name in method_names() if method(name).uses_time]
    hint = f"methods that follow time: {', '.join(following)}." if following else "no method here follows time yet."
    return (
        f"The photographs were taken at different times, {inputs.capture.duration_s:.4g} from first to last (seconds "
        f"where the source says so), and {chosen.name} takes the scene as still: what moved is blurred or missing; "
        f"{hint}",
    )


def _configured(candidate: Method, inputs: Inputs, asked: Callable[[Method], Mapping[str, Any]]) -> TrainConfig:
    settings = asked(candidate)
    check_settings(candidate, settings)
    return candidate.configure(inputs, settings)
