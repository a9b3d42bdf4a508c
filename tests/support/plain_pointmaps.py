"""The pointmap network once more, as plain float64 arithmetic on a table of weights: the oracle of its tests.

Nothing is shared with the modules: rotations are complex numbers, attention is a softmax of a matrix, enlarging is a
matrix on each side, and transposed convolutions and pixel shuffles are written as the index rules that define them.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

HEAD = 64  # channels


class Weights:
    """The entries under a prefix."""

    def __init__(self, table: dict[str, Tensor], prefix: str = "") -> None:
        self.table, self.prefix = table, prefix

    def __truediv__(self, name: str | int) -> Weights:
        return Weights(self.table, f"{self.prefix}{name}.")

    def linear(self, x: np.ndarray) -> np.ndarray:
        return x @ self.array("weight").T + self.array("bias")

    def norm(self, x: np.ndarray) -> np.ndarray:
        centred = x - x.mean(-1, keepdims=True)
        scale = np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6)
        return centred / scale * self.array("weight") + self.array("bias")

    def conv(self, x: np.ndarray, stride: int = 1) -> np.ndarray:
        kernel = self.table[self.prefix + "weight"].double()
        bias = self.table.get(self.prefix + "bias")
        padding = kernel.shape[-1] // 2 if kernel.shape[-1] == 3 else 0
        bias = None if bias is None else bias.double()
        return F.conv2d(torch.from_numpy(x), kernel, bias, stride, padding).numpy()

    def unpatch(self, x: np.ndarray) -> np.ndarray:
        """A transposed convolution whose stride is its kernel: every pixel becomes a tile."""
        kernel = self.array("weight")  # [in, out, k, k]
        tiles = np.einsum("bihw,ioyx->bohywx", x, kernel, optimize=True) + self.array("bias")[:, None, None, None, None]
        batch, out, height, k, width, _ = tiles.shape
        return tiles.reshape(batch, out, height * k, width * k)

    def patches(self, image: np.ndarray) -> np.ndarray:
        """Tokens [N, C] of an image [3, H, W], row by row."""
        height, width = image.shape[1] // 16, image.shape[2] // 16
        tiles = image.reshape(3, height, 16, width, 16).transpose(1, 3, 0, 2, 4).reshape(height * width, -1)
        kernel = self.array("weight")
        return tiles @ kernel.reshape(len(kernel), -1).T + self.array("bias")

    def array(self, name: str) -> np.ndarray:
        return self.table[self.prefix + name].double().numpy()


def turn(x: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Rotary embedding of [N, 64] tokens by complex numbers: 16 planes for the row, 16 for the column."""
    parts = []
    for half, position in ((x[:, :32], rows), (x[:, 32:], columns)):
        planes = half[:, :16] + 1j * half[:, 16:]
        planes = planes * np.exp(1j * position[:, None] / 100.0 ** (np.arange(16) / 16))
        parts += [planes.real, planes.imag]
    return np.concatenate(parts, axis=1)


def attention(q: np.ndarray, k: np.ndarray, v: np.ndarray, grid_q: tuple, grid_k: tuple) -> np.ndarray:
    joined = []
    for start in range(0, q.shape[1], HEAD):
        part = slice(start, start + HEAD)
        scores = turn(q[:, part], *places(grid_q)) @ turn(k[:, part], *places(grid_k)).T / np.sqrt(HEAD)
        scores = np.exp(scores - scores.max(1, keepdims=True))
        joined.append(scores / scores.sum(1, keepdims=True) @ v[:, part])
    return np.concatenate(joined, axis=1)


def places(grid: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    rows, columns = np.mgrid[: grid[0], : grid[1]]
    return rows.ravel(), columns.ravel()


def gelu(x: np.ndarray) -> np.ndarray:
    return x / 2 * (1 + torch.erf(torch.from_numpy(x) / 2**0.5).numpy())


def self_attention(w: Weights, x: np.ndarray, grid: tuple) -> np.ndarray:
    q, k, v = np.split((w / "qkv").linear(x), 3, axis=1)
    return (w / "proj").linear(attention(q, k, v, grid, grid))


def mlp(w: Weights, x: np.ndarray) -> np.ndarray:
    return (w / "fc2").linear(gelu((w / "fc1").linear(x)))


def encode(w: Weights, image: np.ndarray, depth: int) -> np.ndarray:
    """Tokens [N, C] of an image [3, H, W]."""
    patches = (w / "patch_embed" / "proj").patches(image)
    grid = (image.shape[1] // 16, image.shape[2] // 16)
    for block in range(depth):
        b = w / "enc_blocks" / block
        patches = patches + self_attention(b / "attn", (b / "norm1").norm(patches), grid)
        patches = patches + mlp(b / "mlp", (b / "norm2").norm(patches))
    return (w / "enc_norm").norm(patches)


def decode(w: Weights, tokens: list[np.ndarray], grids: list[tuple], depth: int) -> list[np.ndarray]:
    """Raw outputs [4, H, W] of both views."""
    layers = [[tokens[0]], [tokens[1]]]
    now = [(w / "decoder_embed").linear(t) for t in tokens]
    for block in range(depth):
        after = []
        for side, name in enumerate(("dec_blocks", "dec_blocks2")):
            b, x, other = w / name / block, now[side], now[1 - side]
            x = x + self_attention(b / "attn", (b / "norm1").norm(x), grids[side])
            seen, cross = (b / "norm_y").norm(other), b / "cross_attn"
            q = (cross / "projq").linear((b / "norm2").norm(x))
            k, v = (cross / "projk").linear(seen), (cross / "projv").linear(seen)
            x = x + (cross / "proj").linear(attention(q, k, v, grids[side], grids[1 - side]))
            after.append(x + mlp(b / "mlp", (b / "norm3").norm(x)))
        now = after
        for side in (0, 1):
            layers[side].append(now[side])
    outputs = []
    for side in (0, 1):
        layers[side][-1] = (w / "dec_norm").norm(layers[side][-1])
        head = w / f"downstream_head{side + 1}"
        linear = head.prefix + "proj.weight" in w.table
        outputs.append((linear_head if linear else dpt_head)(head, layers[side], grids[side]))
    return outputs


def linear_head(w: Weights, layers: list[np.ndarray], grid: tuple[int, int]) -> np.ndarray:
    values = (w / "proj").linear(layers[-1]).reshape(*grid, 4, 16, 16)  # of a token: channel, row, column
    return values.transpose(2, 0, 3, 1, 4).reshape(4, grid[0] * 16, grid[1] * 16)


def dpt_head(w: Weights, layers: list[np.ndarray], grid: tuple[int, int]) -> np.ndarray:
    d, last = w / "dpt", len(layers) - 1
    maps = [layers[i].T.reshape(1, -1, *grid) for i in (0, last // 2, last * 3 // 4, last)]
    post = d / "act_postprocess"
    maps = [(post / level / 0).conv(x) for level, x in enumerate(maps)]
    maps[0], maps[1] = (post / 0 / 1).unpatch(maps[0]), (post / 1 / 1).unpatch(maps[1])
    maps[3] = (post / 3 / 1).conv(maps[3], stride=2)
    s = d / "scratch"
    maps = [(s / f"layer{level + 1}_rn").conv(x) for level, x in enumerate(maps)]
    path = fuse(s / "refinenet4", maps[3], None)[:, :, : grid[0], : grid[1]]
    for level in (3, 2, 1):
        path = fuse(s / f"refinenet{level}", path, maps[level - 1])
    path = enlarge((d / "head" / 0).conv(path))
    return (d / "head" / 4).conv(np.maximum((d / "head" / 2).conv(path), 0))[0]


def fuse(w: Weights, coarse: np.ndarray, fine: np.ndarray | None) -> np.ndarray:
    x = coarse if fine is None else coarse + residual(w / "resConfUnit1", fine)
    return (w / "out_conv").conv(enlarge(residual(w / "resConfUnit2", x)))


def residual(w: Weights, x: np.ndarray) -> np.ndarray:
    return x + (w / "conv2").conv(np.maximum((w / "conv1").conv(np.maximum(x, 0)), 0))


def enlarge(x: np.ndarray) -> np.ndarray:
    """Linear along each side to twice as many samples, the first and last staying where they are."""
    return between(x.shape[2]) @ x @ between(x.shape[3]).T


def between(count: int) -> np.ndarray:
    at = np.linspace(0, count - 1, 2 * count)
    return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(count)))
