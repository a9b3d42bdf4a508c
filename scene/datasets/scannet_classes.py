"""ScanNet's words for things, and the eighteen classes that benchmarks make of them."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from ..errors import BadInputError

# The seventeen classes that all benchmarks on ScanNet share, in their usual order, and their NYU40 numbers. Object
# detection has the garbage bin as the eighteenth; ScanRefer has "other" for all else.
CLASSES = (
    "cabinet", "bed", "chair", "sofa", "table", "door", "window", "bookshelf", "picture", "counter", "desk", "curtain",
    "refrigerator", "shower curtain", "toilet", "sink", "bathtub",
)  # fmt: skip
DETECTION_CLASSES = (*CLASSES, "garbage bin")
NYU40 = (3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16, 24, 28, 33, 34, 36)
LABELS_FILE = "scannetv2-labels.combined.tsv"
# ScanNet's own words that mean one of the classes, for scans that come without the table of labels.
_MEANING = {
    "kitchen cabinet": "cabinet", "kitchen cabinets": "cabinet", "file cabinet": "cabinet", "office chair": "chair",
    "armchair": "chair", "dining chair": "chair", "couch": "sofa", "coffee table": "table", "end table": "table",
    "dining table": "table", "shower curtain rod": "shower curtain", "shower_curtain": "shower curtain",
    "showercurtrain": "shower curtain", "bookshelves": "bookshelf", "bookcase": "bookshelf", "fridge": "refrigerator",
    "curtains": "curtain", "kitchen counter": "counter", "bathroom vanity": "cabinet", "trash can": "garbage bin",
    "trash bin": "garbage bin", "garbagebin": "garbage bin", "recycling bin": "garbage bin", "trashcan": "garbage bin",
}  # fmt: skip
_MAX_LABELS_BYTES = 16 << 20


def plain_word(name: str) -> str:
    """A class as a person would write it: lower case, blanks for underscores."""
    return " ".join(name.replace("_", " ").lower().split())


def class_of(name: str, nyu40: dict[str, int] | None = None) -> str | None:
    """The one of CLASSES or "garbage bin" that ScanNet's word `name` belongs to; None for all else.

    `nyu40` is the table of `read_label_table`; without it, the names themselves and a few usual words tell.
    """
    word = plain_word(name)
    if nyu40 is not None and word in nyu40:
        number = nyu40[word]
        return CLASSES[NYU40.index(number)] if number in NYU40 else _bin(word)
    meant = _MEANING.get(word, word)
    return meant if meant in DETECTION_CLASSES else None


def _bin(word: str) -> str | None:
    return "garbage bin" if _MEANING.get(word, word) == "garbage bin" else None


def read_label_table(path: Path) -> dict[str, int]:
    """ScanNet's words and their NYU40 numbers, from `scannetv2-labels.combined.tsv`. Raises BadInputError."""
    try:
        if path.stat().st_size > _MAX_LABELS_BYTES:
            raise BadInputError(
                f"{path} has more than {_MAX_LABELS_BYTES} bytes; ScanNet's table of labels is smaller."
            )
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path} could not be read as a table of labels: {error}.") from error
    table = csv.DictReader(io.StringIO(text), delimiter="\t")
    columns = {"raw_category", "nyu40id"}
    if not columns <= set(table.fieldnames or ()):
        raise BadInputError(f"{path} should have the columns raw_category and nyu40id, separated by tabs.")
    found = {}
    for row in table:
        number = row["nyu40id"]
        if row["raw_category"] and number and number.isascii() and number.isdigit():
            found[plain_word(row["raw_category"])] = int(number)
    return found
