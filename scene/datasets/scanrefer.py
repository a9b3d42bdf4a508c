"""ScanRefer's sentences: a JSON list with a scene, an object and a description each."""

from __future__ import annotations

from pathlib import Path

from ..files import read_json
from ..json_field import JsonField
from .reference_sentences import Reference, checked_text
from .scannet_classes import plain_word

MAX_SENTENCES = 1_000_000


def read_scanrefer(path: Path) -> list[Reference]:
    """The sentences of ScanRefer_filtered_SPLIT.json, from their words in `token` as benchmarks take them.

    Raises BadInputError that names entry and field.
    """
    found = []
    for i, entry in enumerate(JsonField(read_json(path), str(path), "a list of sentences").items(MAX_SENTENCES)):
        where = f"{path}, entry {i}"
        words = [word.text() for word in entry["token"].items(10_000)] if entry.has("token") else []
        text = " ".join(words) or entry["description"].text()
        number = _number(entry["object_id"])
        token = f"{entry['scene_id'].text()}/{number}/{i}"
        name = plain_word(entry["object_name"].text()) if entry.has("object_name") else ""
        found.append(Reference(entry["scene_id"].text(), checked_text(text, where), number, token, name))
    return found


def _number(field: JsonField) -> int:
    """ScanRefer writes numbers of objects as text."""
    if isinstance(field.value, str) and field.value.isascii() and field.value.isdigit() and len(field.value) < 10:
        return int(field.value)
    return field.whole()
