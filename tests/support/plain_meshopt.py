"""An encoder of meshopt's attributes in plain Python, after the text of the extension, to test our decoder with."""

from __future__ import annotations

import itertools

GROUP = 16


def encode(elements: list[bytes]) -> bytes:
    """The stream of elements of equal length, each group in the fewest bits that hold it."""
    stride, out = len(elements[0]), bytearray([0xA0])
    block = min(8192 // stride & ~15, 256)
    last = elements[0]
    for start in range(0, len(elements), block):
        part = elements[start : start + block]
        for byte in range(stride):
            column = [last[byte], *(element[byte] for element in part)]
            deltas = [_zigzag((b - a) % 256) for a, b in itertools.pairwise(column)]
            deltas += [0] * (-len(deltas) % GROUP)
            out += _stream([deltas[i : i + GROUP] for i in range(0, len(deltas), GROUP)])
        last = part[-1]
    return bytes(out) + bytes(max(0, 32 - stride)) + elements[0]


def _zigzag(delta: int) -> int:
    return (255 - (delta << 1)) & 255 if delta & 128 else delta << 1


def _stream(groups: list[list[int]]) -> bytes:
    head, body = [0] * -(-len(groups) // 4), bytearray()
    for i, group in enumerate(groups):
        sizes = {0: 0 if not any(group) else 999, 1: _size(group, 2), 2: _size(group, 4), 3: GROUP}
        mode = min(sizes, key=lambda m: sizes[m])
        head[i // 4] |= mode << 2 * (i % 4)
        if mode == 3:
            body += bytes(group)
        elif mode:
            bits = 2 * mode
            escape = 2**bits - 1
            short = [min(value, escape) for value in group]
            for at in range(0, GROUP, 8 // bits):
                word = 0
                for value in short[at : at + 8 // bits]:
                    word = word << bits | value
                body.append(word)
            body += bytes(value for value in group if value >= escape)
    return bytes(head) + bytes(body)


def _size(group: list[int], bits: int) -> int:
    return 2 * bits + sum(value >= 2**bits - 1 for value in group)
