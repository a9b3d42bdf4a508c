"""Features and matches that were kept go on where estimation was interrupted, and give the same."""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from fewview.recon.poses import PosesConfig
from fewview.recon.poses.correspondences import Correspondences
from fewview.recon.poses.features import Features, mutual_nearest
from fewview.recon.poses.grown_correspondences import grow_correspondences
from fewview.recon.poses.match_store import MatchStore
from fewview.scene import Capture, Frame
from support.threads import one_torch_thread as one_torch_thread

WIDTH, HEIGHT, VIEWS = 64, 48, 9


@dataclass
class Counted:
    """A matcher of bright pixels, told apart by their colours, that stops after so many matches."""

    stop_after: int = 10**9
    extracted: int = 0
    matched: list[tuple[int, int]] = field(default_factory=list)
    name: str = "counted"
    upright_only: bool = False
    max_keypoints: int = 100
    costly: bool = False

    def extract(self, image: np.ndarray) -> Features:
        self.extracted += 1
        rows, columns = np.nonzero(image.max(2) > 60)
        colors = torch.from_numpy(image[rows, columns].astype(np.float32)) - 128
        xy = torch.from_numpy(np.stack([columns, rows], 1).astype(np.float32) + 0.5)
        return Features(xy, torch.nn.functional.normalize(colors, dim=1), image.shape[1], image.shape[0])

    def match(self, a: Features, b: Features) -> np.ndarray:
        if len(self.matched) >= self.stop_after:
            raise KeyboardInterrupt
        self.matched.append((len(a), len(b)))
        return mutual_nearest(a.descriptors, b.descriptors, 0.999)


def capture() -> Capture:
    frames = []
    for view in range(VIEWS):
        rng = np.random.default_rng(0)  # the same dots, at other places
        image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        for _ in range(40):
            x, y, depth = rng.integers(4, 40), rng.integers(4, HEIGHT - 4), rng.uniform(0.5, 2)
            image[y, min(WIDTH - 1, int(x + view * depth))] = rng.integers(70, 255, 3)
        image[0, view] = 255 - view
        frames.append(Frame(f"{view}.png", WIDTH, HEIGHT, lambda image=image: image))
    return Capture(tuple(frames), "a test")


def grown(matcher: Counted, store: Path | None) -> Correspondences:
    return grow_correspondences(capture(), matcher, PosesConfig(store=store), (), {})


def assert_same(a: Correspondences, b: Correspondences) -> None:
    assert a.matches.keys() == b.matches.keys()
    assert all(np.array_equal(a.matches[pair], b.matches[pair]) for pair in a.matches)
    for one, other in zip(a.images, b.images, strict=True):
        assert torch.equal(one.features.xy_px, other.features.xy_px)
        assert torch.equal(one.features.descriptors, other.features.descriptors)


def test_what_was_interrupted_goes_on_and_gives_the_same(tmp_path: Path, one_torch_thread: None) -> None:
    whole = Counted()
    expected = grown(whole, None)
    store = tmp_path / "evidence" / "matches.sqlite"
    stopped = Counted(stop_after=10)
    with pytest.raises(KeyboardInterrupt):
        grown(stopped, store)
    resumed = Counted()
    assert_same(grown(resumed, store), expected)
    assert resumed.extracted == 0
    assert len(resumed.matched) == len(whole.matched) - 10
    assert len(whole.matched) > 15  # there was something left to do
    again = Counted()
    assert_same(grown(again, store), expected)
    assert not again.matched


def test_other_photographs_are_not_mixed_up(tmp_path: Path, one_torch_thread: None) -> None:
    store = tmp_path / "matches.sqlite"
    grown(Counted(), store)
    other = capture()
    frames = list(other.frames)
    changed = frames[4].load().copy()
    changed[30:33, 20:23] = 200
    frames[4] = Frame("4.png", WIDTH, HEIGHT, lambda: changed)
    altered = Capture(tuple(frames), "a test")
    matcher = Counted()
    kept = grow_correspondences(altered, matcher, PosesConfig(store=store), (), {})
    assert matcher.extracted == 1
    assert matcher.matched
    assert_same(kept, grow_correspondences(altered, Counted(), PosesConfig(), (), {}))


@pytest.mark.parametrize("rows", [0, 1, 7])
def test_arrays_come_back_as_they_were(tmp_path: Path, rows: int) -> None:
    pairs = np.arange(2 * rows, dtype=np.int64).reshape(-1, 2)
    with MatchStore.opened(tmp_path / "a.sqlite") as store:
        assert np.array_equal(store.matches(("x", 1), lambda: pairs), pairs)
    with MatchStore.opened(tmp_path / "a.sqlite") as store:
        kept = store.matches(("x", 1), lambda: pytest.fail("computed again"))
        assert np.array_equal(kept, pairs)
        assert kept.dtype == np.int64
        assert len(store.matches(("x", 2), lambda: pairs[:0])) == 0


def test_a_file_that_is_no_store_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    path.write_bytes(b"not a database at all, but long enough to be taken for one" * 40)
    with MatchStore.opened(path) as store:
        assert len(store.matches(("x",), lambda: np.zeros((3, 2), np.int64))) == 3


@pytest.mark.parametrize(
    "schema",
    [
        # A table of the right name that is a query without an end, as somebody else's run may have it.
        "CREATE VIEW arrays (name, data) AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) "
        "SELECT x, x FROM n",
        "CREATE TABLE arrays (name BLOB PRIMARY KEY, data BLOB NOT NULL); CREATE TRIGGER t BEFORE INSERT ON arrays "
        "BEGIN SELECT RAISE(ABORT, 'no'); END",
        "CREATE TABLE arrays (name, data, more)",
    ],
)
def test_a_database_with_another_schema_is_begun_anew(tmp_path: Path, schema: str) -> None:
    path = tmp_path / "a.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.executescript(schema)
    for _ in range(2):
        with MatchStore.opened(path) as store:
            assert len(store.matches(("x",), lambda: np.zeros((3, 2), np.int64))) == 3


@pytest.mark.parametrize("damage", ["'a text'", "substr(data, 1, 20)"])
def test_a_damaged_entry_is_computed_again(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a.sqlite"
    with MatchStore.opened(path) as store:
        store.matches(("x",), lambda: np.zeros((3, 2), np.int64))
        assert store._database is not None
        store._database.execute(f"UPDATE arrays SET data = {damage}")
    with MatchStore.opened(path) as store:
        assert len(store.matches(("x",), lambda: np.ones((4, 2), np.int64))) == 4
