"""Sentences that single out one thing of a room: by its class, its looks, what it is near, and from where one looks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from room_layout import Room

NEARER_M, SIDE_M, LARGER = 0.35, 0.3, 1.3  # margins below which a sentence would be a matter of taste
START = ("the {}", "this is the {}", "find the {}", "it is the {}", "choose the {}")


@dataclass(frozen=True)
class Said:
    """A sentence about one thing."""

    target: int  # number of the thing in the room
    text: str
    kind: str  # class, looks, near, view


def sentences(room: Room, seen: np.ndarray, rng: Generator, most: int = 4) -> list[Said]:
    """Up to `most` sentences about each thing that the scan has `seen` (bool [M]), no two alike."""
    names, centers, sizes = room.names, room.boxes.mean(1), room.boxes[:, 1] - room.boxes[:, 0]
    count = Counter(names)
    colors = [thing.piece.color for thing in room.things]
    lone = [i for i, name in enumerate(names) if count[name] == 1 and seen[i]]  # they can be pointed at by name
    found = []
    for target in np.nonzero(seen)[0].tolist():
        name, color = names[target], colors[target]
        same = [i for i, other in enumerate(names) if other == name]
        anchors = [a for a in lone if a != target]
        options = list(_near(target, same, anchors, centers, names))
        options += _from_view(target, same, anchors, centers, names)
        if len(same) == 1:
            options += [("class", name), ("looks", f"{color} {name}"), ("class", f"{name} in the {room.kind}")]
        else:
            if [colors[i] for i in same].count(color) == 1:
                options += [("looks", f"{color} {name}"), ("looks", f"{name} that is {color}")]
            options += _largest(target, same, sizes, name)
        picked: set[str] = set()
        by_kind: dict[str, list[str]] = {}
        for kind, text in options:
            by_kind.setdefault(kind, []).append(text)
        kinds = list(by_kind)
        while kinds and len(picked) < most:  # turn about, so that no kind crowds out the others
            for kind in [kinds[i] for i in rng.permutation(len(kinds))]:
                text = by_kind[kind].pop(int(rng.integers(len(by_kind[kind]))))
                if not by_kind[kind]:
                    kinds.remove(kind)
                if text not in picked and len(picked) < most:
                    picked.add(text)
                    start = START[int(rng.integers(len(START)))]
                    text = text if text.startswith("from ") else start.format(text)
                    found.append(Said(target, text + " .", kind))
    return found


def _near(
    target: int, same: list[int], anchors: list[int], centers: np.ndarray, names: list[str]
) -> Iterator[tuple[str, str]]:
    for anchor in anchors:
        away = np.linalg.norm(centers[same, :2] - centers[anchor, :2], axis=1)
        own, others = float(away[same.index(target)]), np.delete(away, same.index(target))
        name, by = names[target], names[anchor]
        if len(same) == 1:
            if own < 1.6:
                yield "near", f"{name} next to the {by}"
            continue
        if own < others.min() - NEARER_M:
            yield "near", f"{name} closest to the {by}"
            yield "near", f"{name} near the {by}"
        if own > others.max() + NEARER_M:
            yield "near", f"{name} farthest from the {by}"


def _from_view(
    target: int, same: list[int], anchors: list[int], centers: np.ndarray, names: list[str]
) -> Iterator[tuple[str, str]]:
    """From the middle of the room, turned to a thing: left and right are decided by where one stands."""
    for anchor in anchors:
        ahead = centers[anchor, :2]
        if np.linalg.norm(ahead) < 0.8:
            continue
        ahead = ahead / np.linalg.norm(ahead)
        to_left = np.array([-ahead[1], ahead[0]])
        side = (centers[same, :2] - centers[anchor, :2]) @ to_left
        own, others = float(side[same.index(target)]), np.delete(side, same.index(target))
        if len(others) == 0:
            if abs(own) > SIDE_M:
                yield "view", _facing(names[anchor], names[target], "left" if own > 0 else "right")
        elif own > others.max() + SIDE_M and own > SIDE_M:
            yield "view", _facing(names[anchor], names[target], "left" if others.max() < -SIDE_M else "leftmost")
        elif own < others.min() - SIDE_M and own < -SIDE_M:
            yield "view", _facing(names[anchor], names[target], "right" if others.min() > SIDE_M else "rightmost")


def _facing(anchor: str, name: str, side: str) -> str:
    if side in ("left", "right"):
        return f"from the middle of the room , facing the {anchor} , the {name} on the {side} of it"
    return f"from the middle of the room , looking at the {anchor} , the {side} {name}"


def _largest(target: int, same: list[int], sizes: np.ndarray, name: str) -> Iterator[tuple[str, str]]:
    measures: dict[str, tuple[Callable[[np.ndarray], np.ndarray], str]] = {
        "larg": (lambda s: s.prod(1), "small"),
        "tall": (lambda s: s[:, 2], "short"),
    }
    for most, (measure, least) in measures.items():
        values = measure(sizes[same])
        own, others = values[same.index(target)], np.delete(values, same.index(target))
        if own > LARGER * others.max():
            yield "looks", f"{most}est {name}"
        if own * LARGER < others.min():
            yield "looks", f"{least}est {name}"
