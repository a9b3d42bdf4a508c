"""`Reference`: a sentence of a data set about one object, and the difficulties that benchmarks sort sentences by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import BadInputError

# Words that make a sentence depend on where one stands: those of ReferIt3D, as BUTD-DETR, EDA and TSP3D use them.
VIEW_WORDS = frozenset(
    ("front", "behind", "back", "left", "right", "facing", "leftmost", "rightmost", "looking", "across")
)
MAX_CHARACTERS = 20_000  # of a sentence in a file; real ones have a few hundred
MOST_COUNTED = 32  # objects of a class beyond these are not looked at (ScanRefer's rule)


@dataclass(frozen=True)
class Reference:
    """A sentence before its scan is read; numbers of objects are the data set's own."""

    scene: str
    text: str
    target_id: int
    token: str
    name: str = ""
    anchor_ids: tuple[int, ...] = ()
    by_name: bool = False  # distractors have the target's own word instead of its class (Nr3D)
    distractor_count: int | None = None  # where the data set says so itself


def is_view_dependent(text: str) -> bool:
    """True where one of the ten words is in the sentence, as a whole word."""
    return not VIEW_WORDS.isdisjoint(text.lower().replace(",", " ").replace(".", " ").split())


def sentence_kinds(reference: Reference, target: int, classes: Sequence[str]) -> frozenset[str]:
    """unique or multiple, easy or hard, and view-dependent or view-independent.

    `classes` has the class of every object. "unique": no other object of the class; "hard": two or more others (the
    definition of ReferIt3D).
    """
    others = reference.distractor_count
    if others is None:
        others = sum(c == classes[target] for c in classes) - 1
        others = min(others, MOST_COUNTED - 1)
    return frozenset(
        (
            "multiple" if others else "unique",
            "hard" if others >= 2 else "easy",
            "view-dependent" if is_view_dependent(reference.text) else "view-independent",
        )
    )


def checked_text(text: str, where: str) -> str:
    """The sentence with commas apart and white space collapsed. Raises BadInputError where none is left."""
    if len(text) > MAX_CHARACTERS:
        raise BadInputError(f"{where} has a sentence of {len(text):,} characters; at most {MAX_CHARACTERS:,} are read.")
    tidy = " ".join(text.replace(",", " , ").split())
    if not tidy:
        raise BadInputError(f"{where} has an empty sentence.")
    return tidy
