"""BERT's tokeniser: words to the longest pieces of a vocabulary."""

from __future__ import annotations

import unicodedata
from pathlib import Path

from ...scene.errors import BadInputError

MAX_VOCABULARY_BYTES = 64 << 20
_LONGEST_WORD = 100  # characters; longer ones are unknown (the rule of the original)
_SPECIAL = ("[CLS]", "[SEP]", "[UNK]", "[PAD]")


class WordPieces:
    """Uncased WordPiece, from a `vocab.txt` with a piece in each line.

    Source: J. Devlin et al., "BERT", 2019, and the tokeniser released with it.
    """

    def __init__(self, vocabulary: Path) -> None:
        self.rows = {word: i for i, word in enumerate(_lines(vocabulary))}
        absent = [word for word in _SPECIAL if word not in self.rows]
        if absent:
            raise BadInputError(f"{vocabulary} has no {absent[0]}; the vocabulary of an uncased BERT is expected.")
        self.first, self.last, self.unknown, self.pad = (self.rows[word] for word in _SPECIAL)

    def __call__(self, text: str) -> list[int]:
        """Numbers of the pieces, [CLS] first and [SEP] last."""
        pieces = [piece for word in _words(text) for piece in self._pieces(word)]
        return [self.first, *pieces, self.last]

    def _pieces(self, word: str) -> list[int]:
        if len(word) > _LONGEST_WORD:
            return [self.unknown]
        found, start = [], 0
        while start < len(word):
            prefix = "##" if start else ""
            end = next((e for e in range(len(word), start, -1) if prefix + word[start:e] in self.rows), None)
            if end is None:
                return [self.unknown]
            found.append(self.rows[prefix + word[start:end]])
            start = end
        return found


def _words(text: str) -> list[str]:
    """Lower case without accents; punctuation and ideographs stand alone; control characters go."""
    spaced = []
    for character in unicodedata.normalize("NFD", text.lower()):
        category = unicodedata.category(character)
        if category == "Mn" or (category.startswith("C") and not character.isspace()):
            continue
        apart = category.startswith("P") or (
            character.isascii() and not character.isalnum() and not character.isspace()
        )
        spaced.append(f" {character} " if apart or _is_ideograph(character) else character)
    return "".join(spaced).split()


def _is_ideograph(character: str) -> bool:
    code = ord(character)
    return (
        0x4E00 <= code <= 0x9FFF or 0x3400 <= code <= 0x4DBF or 0x20000 <= code <= 0x2FA1F or 0xF900 <= code <= 0xFAFF
    )


def _lines(path: Path) -> list[str]:
    try:
        if path.stat().st_size > MAX_VOCABULARY_BYTES:
            raise BadInputError(f"{path} has more than {MAX_VOCABULARY_BYTES} bytes; a vocabulary is smaller.")
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"The vocabulary {path} could not be read: {error}.") from error
