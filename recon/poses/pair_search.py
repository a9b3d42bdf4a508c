"""Choice of the pairs of photographs to match next, until the view graph is strong: everybody has enough verified
partners, and no single pair holds it together.

The most promising pairs come first, so that few photographs that overlap well, and many, are done long before all their
pairs are. Nothing depends on a number of photographs: their pairs are bounded by a number for each photograph.
"""

from __future__ import annotations

from collections.abc import Mapping

from .retrieval import Likeness
from .strongest_tree import strongest_tree
from .verification import Pair

FIRST = 3  # partners of each view before anything is known
STEP = 1  # more for each view that lacks partners, in every round
FAR = 3  # verified pairs between two views, beyond which a match between them would close a loop
LIKELY = 16  # votes from which two views may well show the same; fewer come of chance, too
ACROSS = 2  # pairs between parts of the graph that are tried for each part, in every round
STRONG = 0.5  # of a view's most matches with any, from which on a partner should be held to it by a third view
HOLDING = 0.25  # of the matches of two views, that a third one has with both where it holds them together
LONELY = 4  # verified partners of a view below which unlikely ones are tried, too, and all keypoints are matched
FIRM = 60  # verified matches of the strongest keypoints, below which a link that holds a part is matched in full
MAX_LOOPS = 3  # tries of each view to close a loop


class PairSearch:
    """Proposals of pairs in rounds, which `tell` what came of them.

    Each view is matched with the next, too, which is its neighbour in a walk or a film. No view is the cause of more
    than `partners` + MAX_LOOPS + 1 pairs.
    """

    def __init__(self, likeness: Likeness, partners: int, verified_partners: int) -> None:
        self._likeness = likeness
        self._views = sorted(likeness.ranked)
        self._candidates = {view: ranked[:partners] for view, ranked in likeness.ranked.items()}
        self._wanted = min(verified_partners, len(self._views) - 1)
        self._links: dict[int, dict[int, int]] = {view: {} for view in self._views}
        self._tried: set[Pair] = set()
        self._loops = dict.fromkeys(self._views, MAX_LOOPS)

    def proposals(self) -> list[Pair]:
        """The pairs (first < second) of the next round; none when the graph is strong or nothing is left to try."""
        chosen: set[Pair] = set()
        if not self._tried:
            chosen.update(zip(self._views[:-1], self._views[1:], strict=True))
            self._add(chosen, min(FIRST, self._wanted), FIRST)
        else:
            self._add(chosen, self._wanted, STEP)
            self._add_across(chosen)
            self._add_loops(chosen)
            if not chosen:
                self._add_triangles(chosen)
        self._tried |= chosen
        return sorted(chosen)

    def tell(self, verified: Mapping[Pair, int]) -> None:
        """Matches of the pairs of the last round that agree with one geometry; pairs without any may be left out."""
        for (a, b), inliers in verified.items():
            if inliers:
                self._links[a][b] = self._links[b][a] = inliers

    def unsettled(self, enough_inliers: int) -> set[int]:
        """Views with few verified partners or few verified matches in all, and those that few hold together.

        The latter are both ends of a weak link of the strongest tree: on it hangs a whole part of the photographs.
        """
        few = {v for v, links in self._links.items() if len(links) < LONELY or sum(links.values()) < enough_inliers}
        verified = {(a, b): count for a, links in self._links.items() for b, count in links.items() if a < b}
        weak = [edge for edge in strongest_tree(verified) if verified[edge] < FIRM]
        return few.union(*weak)

    @property
    def expected(self) -> int:
        """Number of pairs that a strong graph will have needed, roughly, for progress."""
        usual = len(self._views) * (self._wanted + 1) // 2
        return max(len(self._tried), min(usual, len(self._likeness.votes)))

    def _add(self, chosen: set[Pair], wanted: int, count: int) -> None:
        """The next `count` untried candidates at most of each view, until it may have the wanted number of partners."""
        partners = {view: len(links) for view, links in self._links.items()}
        for view in (view for pair in chosen for view in pair):
            partners[view] += 1
        for view in self._views:
            lonely = partners[view] < LONELY
            left = [
                pair
                for pair in self._pairs_of(view)
                if pair not in self._tried
                and pair not in chosen
                and (lonely or self._likeness.between(*pair) >= LIKELY)
            ]
            for pair in left[: max(0, min(count, wanted - partners[view]))]:
                chosen.add(pair)
                for end in pair:
                    partners[end] += 1

    def _pairs_of(self, view: int) -> list[Pair]:
        return [(min(view, other), max(view, other)) for other in self._candidates[view]]

    def _add_across(self, chosen: set[Pair]) -> None:
        """Candidates that would join parts of the graph that nothing joins, or one verified pair alone."""
        parts = two_edge_connected(self._links)
        best: dict[int, list[tuple[int, Pair]]] = {}
        for view in self._views:
            for a, b in self._pairs_of(view):
                if parts[a] != parts[b] and (a, b) not in self._tried and (a, b) not in chosen:
                    for part in (parts[a], parts[b]):
                        best.setdefault(part, []).append((-self._likeness.between(a, b), (a, b)))
        for found in best.values():
            chosen.update(pair for _, pair in sorted(set(found))[:ACROSS])

    def _add_triangles(self, chosen: set[Pair]) -> None:
        """Of each view and a strong partner, where no third view holds them together: the partner's own strongest one.

        What only two photographs show does not carry a model on: at the corners of a walk, where neighbours have least
        in common, retrieval may rank look-alikes before the frame after next.
        """
        for view in self._views:
            for other in self._strongest(view):
                least = HOLDING * self._links[view][other]
                is_strong = self._links[view][other] >= STRONG * max(self._links[view].values())
                held = any(min(n, self._links[v].get(other, 0)) >= least for v, n in self._links[view].items())
                if is_strong and not held:
                    beyond = [v for v in self._strongest(other) if v != view][:1]
                    chosen.update(pair for v in beyond if (pair := (min(view, v), max(view, v))) not in self._tried)

    def _strongest(self, view: int) -> list[int]:
        """Partners of a view, those with most matches first."""
        links = self._links[view]
        return sorted(links, key=lambda other: (-links[other], other))

    def _add_loops(self, chosen: set[Pair]) -> None:
        """Of each view the most alike one that is far from it in the graph, where they are much alike."""
        for view in self._views:
            likely = [o for o in self._likeness.ranked[view] if self._likeness.between(view, o) >= LIKELY]
            if not self._loops[view] or not likely:
                continue
            near = self._within(view, FAR)
            for other in likely:
                pair = (min(view, other), max(view, other))
                if other not in near and pair not in self._tried and pair not in chosen:
                    self._loops[view] -= 1
                    chosen.add(pair)
                    break

    def _within(self, view: int, steps: int) -> set[int]:
        near, edge = {view}, [view]
        for _ in range(steps):
            edge = [other for v in edge for other in self._links[v] if other not in near]
            near.update(edge)
        return near


def two_edge_connected(links: Mapping[int, Mapping[int, int]]) -> dict[int, int]:
    """A number for each view: the same for views that stay joined whichever one pair is taken away.

    Bridges by depth-first search (Tarjan, 1974), without recursion.
    """
    order: dict[int, int] = {}
    low: dict[int, int] = {}
    part: dict[int, int] = {}
    waiting: list[int] = []
    for root in sorted(links):
        if root in order:
            continue
        order[root] = low[root] = len(order)
        waiting.append(root)
        stack = [(root, -1, iter(sorted(links[root])))]
        while stack:
            view, parent, others = stack[-1]
            other = next(others, None)
            if other is None:
                stack.pop()
                if parent >= 0:
                    low[parent] = min(low[parent], low[view])
                if low[view] == order[view]:  # what came after it hangs on one pair, or on none
                    while True:
                        member = waiting.pop()
                        part[member] = view
                        if member == view:
                            break
            elif other not in order:
                order[other] = low[other] = len(order)
                waiting.append(other)
                stack.append((other, view, iter(sorted(links[other]))))
            elif other != parent:
                low[view] = min(low[view], order[other])
    return part
