"""Correspondences of photographs whose cameras are not known: pairs are matched until the view graph is strong."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from ...scene.capture import Capture
from ...scene.progress import Progress, silent
from .correspondences import (
    HOPELESS,
    Correspondences,
    Extracted,
    extract,
    match_pair,
    timed,
    turned_to_join,
)
from .degenerate_motion import find_duplicates
from .features import Matcher
from .focal_prior import group_lenses
from .match_store import MatchStore
from .pair_search import PairSearch
from .poses_config import PosesConfig
from .quarter_turns import LINKED
from .retrieval import likeness, most_alike
from .verification import Pair, Verified, verify
from .workers import each

# Verified matches of a photograph over all its pairs, to which more keypoints would add little.
ENOUGH_INLIERS = 200


def grow_correspondences(
    capture: Capture,
    matcher: Matcher,
    config: PosesConfig,
    held_out: Collection[int],
    seconds: dict[str, float],
    progress: Progress = silent,
    known: Verified | None = None,
) -> Correspondences:
    """Features of all photographs, and matches of as many pairs as a strong view graph needs; see `PairSearch`.

    The strongest keypoints are matched first; all of them where a photograph has too little to hold on to otherwise.
    Where the matcher wants upright photographs, those that a turn joins to the others are matched turned. Held-out
    photographs have no say in what is matched, and are matched with what looks most like them afterwards. What is
    verified on the way is added to `known`.
    """
    with timed("features", seconds), MatchStore.opened(config.store) as store:

        def extracted(index: int, turns: int = 0) -> Extracted:
            return extract(capture, index, matcher, config.image_side_px, turns, store)

        found = each("Finding features", extracted, range(len(capture)), progress)
    duplicates = find_duplicates(Correspondences([e.image for e in found], {}), set(held_out))
    left_out = set(duplicates) if len(duplicates) < len(capture) - 1 else set()
    views = [view for view in range(len(capture)) if view not in held_out and view not in left_out]
    others = [view for view in sorted(held_out) if view not in left_out]
    with timed("matching", seconds), MatchStore.opened(config.store) as store:
        growth = _Growth(capture, matcher, found, config, {} if known is None else known, store, progress)
        features = [e.as_matched for e in found]
        search = PairSearch(likeness(features, views, progress), config.partners, config.verified_partners)
        growth.follow(search)
        growth.turn(turned_to_join(matcher, growth.found, growth.matches, extracted))
        growth.tell(search, growth.matches)
        growth.follow(search)
        growth.match_in_full(search)
        if others:
            growth.match(_with_most_alike(growth, views, others, config.partners), thorough=True)
            linked = {p: m for p, m in growth.matches.items() if len(m) >= LINKED or p[0] in others or p[1] in others}
            turned = turned_to_join(matcher, growth.found, linked, extracted)
            growth.turn({view: turned[view] for view in others if view in turned})
    return Correspondences([e.image for e in growth.found], growth.matches)


class _Growth:
    """Matches so far, and what was verified of them."""

    def __init__(
        self,
        capture: Capture,
        matcher: Matcher,
        found: list[Extracted],
        config: PosesConfig,
        known: Verified,
        store: MatchStore,
        progress: Progress,
    ) -> None:
        self.found, self.matches = found, dict[Pair, np.ndarray]()
        self._matcher, self._seed, self._known, self._store, self._progress = (
            matcher, config.seed, known, store, progress,
        )  # fmt: skip
        lenses = group_lenses(list(capture.frames), [(e.image.features.width, e.image.features.height) for e in found])
        self._cameras = lenses.of_views(lenses.cameras("SIMPLE_PINHOLE", 1.0))

    def follow(self, search: PairSearch) -> None:
        """Match what a search proposes until it proposes nothing more."""
        while pairs := search.proposals():
            self.match(pairs, thorough=False, expected=search.expected)
            self.tell(search, pairs)

    def tell(self, search: PairSearch, pairs: Collection[Pair]) -> None:
        """Verify pairs and tell a search."""
        graph = verify(
            [e.image.features for e in self.found],
            {pair: self.matches[pair] for pair in pairs},
            self._cameras,
            self._seed,
            known=self._known,
        )
        search.tell({pair: len(geometry.inlier_matches) for pair, geometry in graph.geometries.items()})

    def match(self, pairs: Sequence[Pair], thorough: bool, expected: int = 0) -> None:
        """Match some pairs, as the photographs are turned now."""

        def matched(pair: Pair) -> np.ndarray:
            a, b = (self.found[view] for view in pair)
            return self._store.matches(
                (self._matcher.name, a.key, b.key, thorough),
                lambda: match_pair(self._matcher, a.as_matched, b.as_matched, thorough),
            )

        before = len(self.matches)
        results = each("Matching photographs", matched, pairs, self._progress, before, max(expected, before))
        self.matches |= zip(pairs, results, strict=True)

    def turn(self, turned: Mapping[int, Extracted]) -> None:
        """Take photographs as they are turned now, and match their pairs again."""
        if turned:
            self.found = [turned.get(view, own) for view, own in enumerate(self.found)]
            again = [pair for pair in sorted(self.matches) if turned.keys() & set(pair)]
            self.match(again, thorough=False)

    def match_in_full(self, search: PairSearch) -> None:
        """All keypoints of the pairs that the strongest left open, and of those that a photograph has too little of."""
        if not self._matcher.costly:
            return
        unsettled = search.unsettled(ENOUGH_INLIERS)
        open_pairs = [
            pair for pair, matches in sorted(self.matches.items()) if unsettled & set(pair) and len(matches) >= HOPELESS
        ]
        self.match(open_pairs, thorough=True)


def _with_most_alike(growth: _Growth, views: Sequence[int], others: Sequence[int], partners: int) -> list[Pair]:
    """Pairs of each of the `others` with those of the views that look most like it."""
    features = [e.as_matched for e in growth.found]
    return sorted(
        (min(view, other), max(view, other))
        for other in others
        for view in most_alike(features, other, views)[:partners]
    )
