"""BERT and RoBERTa as an encoder of sentences, under the names of their released weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...learn.foreign_weights import check_weights, read_weights
from ...scene.errors import BadInputError
from ...scene.files import read_json
from ...scene.json_field import JsonField

_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_MAX_SIDE = 1_000_000  # of any tensor that a config asks for


@dataclass(frozen=True)
class BertConfig:
    """Sizes of an encoder; the defaults are those of RoBERTa-base."""

    vocabulary: int = 50265  # pieces
    channels: int = 768  # of a token
    layers: int = 12
    heads: int = 12  # of every attention
    hidden: int = 3072  # channels within the feed-forward parts
    positions: int = 514  # rows of the table of positions
    kinds: int = 1  # rows of the table of sentence kinds, of which the first is used
    epsilon: float = 1e-5  # of the layer norms
    first_position: int = 2  # of the first token: RoBERTa leaves two rows for padding, BERT none
    dropout: float = 0.1  # probability, where the encoder is in training mode


class BertEncoder(nn.Module):
    """Tokens to features [B, L, C], the last hidden state.

    Source: J. Devlin et al., "BERT", 2019; Y. Liu et al., "RoBERTa", 2019, which counts positions from 2.
    """

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.config = config
        c = config.channels
        self.embeddings = nn.ModuleDict(
            {
                "word_embeddings": nn.Embedding(config.vocabulary, c),
                "position_embeddings": nn.Embedding(config.positions, c),
                "token_type_embeddings": nn.Embedding(config.kinds, c),
                "LayerNorm": nn.LayerNorm(c, config.epsilon),
            }
        )
        layers = nn.ModuleList(_Layer(config) for _ in range(config.layers))
        self.encoder = nn.ModuleDict({"layer": layers})
        self._layers = tuple(layers)  # the same ones, as the type checker wants to see them

    def forward(self, tokens: Tensor, present: Tensor) -> Tensor:
        """tokens int64 [B, L], present bool [B, L] (False: padding, at the end) -> [B, L, C]."""
        e = self.embeddings
        position = torch.arange(tokens.shape[1], device=tokens.device) + self.config.first_position
        position = torch.where(present, position, 0)  # padding may lie beyond the table
        first_kind = torch.zeros_like(tokens)
        x = e["word_embeddings"](tokens) + e["position_embeddings"](position) + e["token_type_embeddings"](first_kind)
        x = F.dropout(e["LayerNorm"](x), self.config.dropout, self.training)
        for layer in self._layers:
            x = layer(x, present)
        return x


class _Layer(nn.Module):
    """Self-attention, then a feed-forward part, each with a residual and a norm after it."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        c, self.heads, self.dropout = config.channels, config.heads, config.dropout
        projections = {name: nn.Linear(c, c) for name in ("query", "key", "value")}
        after = {"dense": nn.Linear(c, c), "LayerNorm": nn.LayerNorm(c, config.epsilon)}
        self.attention = nn.ModuleDict({"self": nn.ModuleDict(projections), "output": nn.ModuleDict(after)})
        self._projections, self._after = tuple(projections.values()), tuple(after.values())  # the same ones
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(c, config.hidden)})
        self.output = nn.ModuleDict(
            {"dense": nn.Linear(config.hidden, c), "LayerNorm": nn.LayerNorm(c, config.epsilon)}
        )

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        query, key, value = (part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self._projections)
        drop = self.dropout if self.training else 0.0
        found = F.scaled_dot_product_attention(query, key, value, present[:, None, None], drop)
        dense, norm = self._after
        x = norm(x + F.dropout(dense(found.transpose(1, 2).flatten(2)), drop))
        found = F.dropout(self.output["dense"](F.gelu(self.intermediate["dense"](x))), drop)
        return self.output["LayerNorm"](x + found)  # type: ignore[no-any-return]


def load_bert(folder: Path) -> BertEncoder:
    """The encoder of a folder with config.json and model.safetensors (or pytorch_model.bin), without what is unused.

    Raises BadInputError for other models, sizes and files; nothing is unpickled beyond plain tensors.
    """
    config = read_bert_config(folder / "config.json")
    path = next((folder / name for name in _WEIGHTS if (folder / name).is_file()), None)
    if path is None:
        raise BadInputError(f"{folder} has no {' or '.join(_WEIGHTS)}; the folder of a BERT or RoBERTa is expected.")
    state, _ = read_weights(path)
    state = {name.removeprefix("roberta.").removeprefix("bert."): tensor for name, tensor in state.items()}
    used = {n: t for n, t in state.items() if n.startswith(("embeddings.", "encoder.")) and "position_ids" not in n}
    with torch.device("meta"):
        encoder = BertEncoder(config)
    checked = check_weights(used, encoder, path, "an encoder of the config beside it")
    encoder.load_state_dict({name: tensor.float() for name, tensor in checked.items()}, assign=True)
    return encoder.requires_grad_(False).eval()


def read_bert_config(path: Path) -> BertConfig:
    """The sizes in a config.json of BERT or RoBERTa. Raises BadInputError for other models."""
    table = JsonField(read_json(path), str(path), "the config of a text encoder")
    kind = table["model_type"].text()
    if kind not in ("bert", "roberta"):
        raise BadInputError(f"{path} is the config of a {kind!r}; a bert or a roberta is expected.")
    if table.get("hidden_act", "gelu").text() != "gelu":
        raise BadInputError(f"{path} has the activation {table['hidden_act'].text()!r}; gelu is expected.")

    def size(name: str) -> int:
        value = table[name].whole()
        if not 1 <= value <= _MAX_SIDE:
            raise BadInputError(f"{path} has {name} = {value}; 1 to {_MAX_SIDE:,} is possible.")
        return value

    config = BertConfig(
        size("vocab_size"),
        size("hidden_size"),
        size("num_hidden_layers"),
        size("num_attention_heads"),
        size("intermediate_size"),
        size("max_position_embeddings"),
        size("type_vocab_size"),
        table["layer_norm_eps"].number(),
        first_position=table.get("pad_token_id", 1).whole() + 1 if kind == "roberta" else 0,
    )
    if config.channels % config.heads:
        raise BadInputError(f"{path}: {config.channels} channels cannot be shared among {config.heads} heads.")
    return config
