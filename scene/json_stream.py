"""JSON files too large to hold: one row or one member at a time, in memory that does not grow with the file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from .errors import BadInputError
from .files import strict_decoder

CHUNK_CHARACTERS = 2**20
MAX_VALUE_CHARACTERS = 2**26  # of one row or member; the largest real ones have a few hundred kilobytes
_SPACE = " \t\n\r"
_AFTER_VALUE = frozenset(f"{_SPACE},:]}}")


def stream_rows(path: Path) -> Iterator[Any]:
    """The values of a file that holds one list, in order. Raises BadInputError that names file and row."""
    with _opened(path) as file:
        reader = _Reader(path, file)
        reader.expect("[", "should hold a list")
        for index in reader.items("]"):
            reader.place = f"row {index}"
            yield reader.value()
        reader.expect_end()


def stream_members(path: Path, key: str) -> Iterator[tuple[str, Any]]:
    """Name and value of each member of the object under `key` of the file's object; other keys are read over.

    Raises BadInputError that names file and member, also when there is no such key or a member comes twice.
    """
    with _opened(path) as file:
        reader = _Reader(path, file)
        reader.expect("{", "should hold an object")
        found = False
        for outer in reader.names():
            if outer != key:
                reader.value()
                continue
            found = True
            reader.expect("{", "should be an object")
            for name in reader.names():
                yield name, reader.value()
        reader.expect_end()
        if not found:
            raise BadInputError(f"{path} has no key '{key}'; an object with it is expected.")


def _opened(path: Path) -> TextIO:
    try:
        return path.open(encoding="utf-8-sig")
    except OSError as error:
        raise BadInputError(f"{path} could not be read: {error.strerror or error}.") from error


class _Reader:
    """The text of a file behind a cursor. What is before the cursor has been forgotten."""

    def __init__(self, path: Path, file: TextIO) -> None:
        self.path, self.place = path, "the file"
        self._file = file
        self._text, self._at, self._ended = "", 0, False
        self._decoder = strict_decoder()

    def value(self) -> Any:
        """The whole value at the cursor."""
        while True:
            self._peek()
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if self._more():
                    continue
                raise self.wrong(f"is not JSON ({error.msg})") from error
            except (ValueError, RecursionError) as error:
                raise self.wrong(f"cannot be used: {error}") from error
            # A number at the end of what was read so far may go on in what comes next: 1, 1. and 1.5 are all values.
            if self._text[end : end + 1] in _AFTER_VALUE or not self._more():
                self._at = end
                return value

    def items(self, closing: str) -> Iterator[int]:
        """0, 1, ... with the cursor at each item up to the closing bracket, which is passed, too."""
        index = 0
        while self._peek() != closing:
            if index:
                self.expect(",", "should be followed by a comma")
            yield index
            index += 1
        self._at += 1

    def names(self) -> Iterator[str]:
        """Member names of an object, with the cursor at each one's value."""
        seen: set[str] = set()
        for _ in self.items("}"):
            name = self.value() if self._peek() == '"' else None
            if not isinstance(name, str):
                raise self.wrong("is not JSON (a name in quotes is expected)")
            self.place = f"{name[:60]!r}"
            if name in seen:
                raise self.wrong("is given twice")
            seen.add(name)
            self.expect(":", "should be followed by a colon")
            yield name

    def expect(self, character: str, otherwise: str) -> None:
        if self._peek() != character:
            raise self.wrong(otherwise)
        self._at += 1

    def expect_end(self) -> None:
        if self._peek():
            raise self.wrong("is followed by something else")

    def wrong(self, what: str) -> BadInputError:
        return BadInputError(f"{self.path}: {self.place} {what}.")

    def _peek(self) -> str:
        """The next character that is not space; "" at the end of the file."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in _SPACE:
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def _more(self) -> bool:
        """Read on; False at the end of the file."""
        if self._ended:
            return False
        if len(self._text) - self._at > MAX_VALUE_CHARACTERS:
            raise self.wrong(f"has more than {MAX_VALUE_CHARACTERS} characters")
        try:
            # Twice as much as is held, so that a long value is not tried over and over.
            new = self._file.read(max(CHUNK_CHARACTERS, len(self._text) - self._at))
        except (OSError, UnicodeDecodeError) as error:
            raise self.wrong(f"could not be read further: {error}") from error
        self._ended = not new
        self._text, self._at = self._text[self._at :] + new, 0
        return not self._ended
