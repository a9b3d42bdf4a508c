"""RoBERTa's tokeniser: bytes of words, joined pair by pair in the order that was learnt."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

from ...scene.errors import BadInputError
from ...scene.files import read_json

MAX_MERGES_BYTES = 64 << 20
# Contractions, letters, digits, other characters, each with the blank before it; and white space. In GPT-2's pattern
# letters are \p{L} and digits \p{N}, for which [^\W\d_] and \d stand here.
_PARTS = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?[^\W\d_]+| ?\d+| ?(?:[^\s\w]|_)+|\s+(?!\S)|\s+")
_SPECIAL = ("<s>", "</s>", "<unk>", "<pad>")


class BytePairs:
    """Byte-level pair encoding, from `vocab.json` and `merges.txt` of RoBERTa.

    Source: R. Sennrich et al., "Neural Machine Translation of Rare Words with Subword Units", 2016, over bytes as in
    GPT-2, whose table of printable characters for bytes is used.
    """

    def __init__(self, folder: Path) -> None:
        table = read_json(folder / "vocab.json")
        if not isinstance(table, dict) or not all(type(row) is int for row in table.values()):
            raise BadInputError(f"{folder / 'vocab.json'} should number the pieces of a vocabulary.")
        absent = [word for word in _SPECIAL if word not in table]
        if absent:
            raise BadInputError(f"{folder / 'vocab.json'} has no {absent[0]}; the vocabulary of RoBERTa is expected.")
        self.rows: dict[str, int] = table
        self.first, self.last, self.unknown, self.pad = (table[word] for word in _SPECIAL)
        self.rank = {pair: i for i, pair in enumerate(_merges(folder / "merges.txt"))}
        self.characters = _characters_of_bytes()

    def __call__(self, text: str) -> list[int]:
        """Numbers of the pieces, <s> first and </s> last."""
        found = [self.first]
        for part in _PARTS.findall(text):
            word = "".join(self.characters[byte] for byte in part.encode("utf-8"))
            found += [self.rows.get(piece, self.unknown) for piece in self._joined(word)]
        return [*found, self.last]

    def _joined(self, word: str) -> list[str]:
        pieces = list(word)
        while len(pieces) > 1:
            best = min(itertools.pairwise(pieces), key=lambda pair: self.rank.get(pair, len(self.rank)))
            if best not in self.rank:
                break
            joined, i = [], 0
            while i < len(pieces):
                if tuple(pieces[i : i + 2]) == best:
                    joined.append(pieces[i] + pieces[i + 1])
                    i += 2
                else:
                    joined.append(pieces[i])
                    i += 1
            pieces = joined
        return pieces


def _characters_of_bytes() -> list[str]:
    """A printable character for each byte: itself where it is printable, and those from 256 on for the rest."""
    printable = {*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]


def _merges(path: Path) -> list[tuple[str, str]]:
    try:
        if path.stat().st_size > MAX_MERGES_BYTES:
            raise BadInputError(f"{path} has more than {MAX_MERGES_BYTES} bytes; a list of merges is smaller.")
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"The list of merges {path} could not be read: {error}.") from error
    pairs = []
    for i, line in enumerate(lines):
        if line.startswith("#version") or not line.strip():
            continue
        words = line.split(" ")
        if len(words) != 2:
            raise BadInputError(f"{path}, line {i + 1}: two pieces with a blank between are expected.")
        pairs.append((words[0], words[1]))
    return pairs
