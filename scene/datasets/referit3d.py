"""ReferIt3D's tables nr3d.csv and sr3d.csv. Columns that hold lists are Python literals, parsed as such only."""

from __future__ import annotations

import ast
import csv
import io
from pathlib import Path

from ..errors import BadInputError
from .reference_sentences import Reference, checked_text

MAX_BYTES = 512 << 20
MAX_LITERAL = 4096  # characters of a list
_COLUMNS = ("scan_id", "target_id", "utterance", "instance_type")


def read_referit3d(path: Path) -> list[Reference]:
    """The sentences of a table. Nr3D tells by `correct_guess` which a listener solved, Sr3D lists anchors and
    distractors and tells by `mentions_target_class` which name the class; others are left out, as benchmarks do.

    Raises BadInputError that names row and column.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise BadInputError(f"{path} has more than {MAX_BYTES} bytes; a table of sentences is smaller.")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path} could not be read as a table: {error}.") from error
    table = csv.DictReader(io.StringIO(text, newline=""))
    absent = [name for name in _COLUMNS if name not in (table.fieldnames or ())]
    if absent:
        raise BadInputError(f"{path} has no column {absent[0]!r}; a table of ReferIt3D has {', '.join(_COLUMNS)}.")
    found = []
    try:
        for i, row in enumerate(table):
            where = f"{path}, row {i + 2}"
            if _is_false(row.get("mentions_target_class")) or _is_false(row.get("correct_guess")):
                continue
            target = _whole(row["target_id"], f"{where}, target_id")
            distractors = row.get("distractor_ids")
            found.append(
                Reference(
                    row["scan_id"] or "",
                    checked_text(row["utterance"] or "", where),
                    target,
                    f"{row['scan_id']}/{target}/{i}",
                    row["instance_type"] or "",
                    tuple(_numbers(row.get("anchor_ids") or "[]", f"{where}, anchor_ids")),
                    distractor_count=(
                        None if not distractors else len(_numbers(distractors, f"{where}, distractor_ids"))
                    ),
                    by_name=not distractors,
                )
            )
    except csv.Error as error:
        raise BadInputError(f"{path} is no table of comma-separated values: {error}.") from error
    return found


def _is_false(value: str | None) -> bool:
    return value is not None and value.strip().lower() == "false"


def _whole(value: str | None, where: str) -> int:
    if value is None or not value.isascii() or not value.strip().isdigit() or len(value) > 12:
        raise BadInputError(f"{where} has {value!r}; a whole number is expected.")
    return int(value)


def _numbers(value: str, where: str) -> list[int]:
    if len(value) > MAX_LITERAL:
        raise BadInputError(f"{where} has {len(value):,} characters; a list of at most {MAX_LITERAL:,} is expected.")
    try:
        parsed = ast.literal_eval(value.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError) as error:
        raise BadInputError(f"{where} has {value[:40]!r}; a list of whole numbers is expected.") from error
    if not isinstance(parsed, list | tuple) or not all(type(number) is int for number in parsed):
        raise BadInputError(f"{where} has {value[:40]!r}; a list of whole numbers is expected.")
    return list(parsed)
