"""`JsonField`: a value in a JSON file and where it stands, so that what does not fit can be named."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from .errors import BadInputError


@dataclass(frozen=True)
class JsonField:
    """A value in a file; its methods give it as the type that is expected, or raise BadInputError that names it."""

    value: Any
    source: str  # the file
    kind: str  # of file: "a camera path"
    name: str = ""  # of the field, empty for the whole content

    def has(self, key: str) -> bool:
        return isinstance(self.value, dict) and key in self.value

    def get(self, key: str, default: Any) -> JsonField:
        if self.has(key) or not isinstance(self.value, dict):
            return self[key]
        return replace(self, value=default, name=self._below(key))

    def __getitem__(self, key: str) -> JsonField:
        if not isinstance(self.value, dict):
            raise self.bad("an object")
        if key not in self.value:
            raise BadInputError(f"{self.source} has no {self._below(key)}; {self.kind} needs it.")
        return replace(self, value=self.value[key], name=self._below(key))

    def only(self, *keys: str) -> None:
        """Refuse an object with any other key: it would be ignored, and somebody meant something by it."""
        if not isinstance(self.value, dict):
            raise self.bad("an object")
        for key in self.value:
            if key not in keys:
                raise BadInputError(
                    f"{self.source} has the unknown key {self._below(str(key)[:40])!r}; {self.name or self.kind} can "
                    f"have {', '.join(keys)}."
                )

    def items(self, most: int) -> list[JsonField]:
        """The entries of a list of at most so many."""
        if not isinstance(self.value, list):
            raise self.bad("a list")
        if len(self.value) > most:
            raise BadInputError(
                f"{self.source} has {len(self.value):,} entries in {self.name}; at most {most:,} are possible."
            )
        return [replace(self, value=item, name=f"{self.name}[{i}]") for i, item in enumerate(self.value)]

    def number(self) -> float:
        if isinstance(self.value, bool) or not isinstance(self.value, (int, float)):
            raise self.bad("a number")
        try:
            number = float(self.value)
        except OverflowError:  # an integer of hundreds of digits
            number = math.inf
        if not math.isfinite(number):
            raise self.bad("a finite number")
        return number

    def number_or_none(self) -> float | None:
        return None if self.value is None else self.number()

    def whole(self) -> int:
        number = self.number()
        if number != int(number):
            raise self.bad("a whole number")
        return int(number)

    def flag(self) -> bool:
        if not isinstance(self.value, bool):
            raise self.bad("true or false")
        return self.value

    def text(self) -> str:
        if not isinstance(self.value, str):
            raise self.bad("a word")
        return self.value

    def numbers(self, count: int) -> Tensor:
        """[count] float64 of a list of so many numbers."""
        if isinstance(self.value, list) and len(self.value) != count:
            raise self.bad(f"a list of {count} numbers (it has {len(self.value)})")
        return torch.tensor([item.number() for item in self.items(count)], dtype=torch.float64)

    def bad(self, expected: str) -> BadInputError:
        """The error that says what stands here, and what was expected."""
        found = repr(self.value)[:40] if isinstance(self.value, (str, int, float)) else type(self.value).__name__
        return BadInputError(f"{self.source} has {found} as {self.name or 'its content'}; {expected} is expected.")

    def _below(self, key: str) -> str:
        return f"{self.name}.{key}" if self.name else key
