"""Split of a scene's 24 photographs in InstantSplat's published figures: trained on, and measured."""

from __future__ import annotations

from fewview.scene.errors import BadInputError

PHOTOGRAPHS, HELD_OUT = 24, 12


def instantsplat_split(n_views: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Indices (train, test) of the protocol of Fan et al. 2024 (arXiv 2403.20309) for 1 to 12 training views.

    Twelve of 24 evenly sampled photographs are held out, evenly spaced without the first and the last; the training
    views are evenly spaced among the others. Fractions are cut off, as in the released code.
    """
    pool_size = PHOTOGRAPHS - HELD_OUT
    if not 1 <= n_views <= pool_size:
        raise BadInputError(f"InstantSplat's protocol has no split of {n_views} views; 1 to {pool_size} are expected.")
    test = tuple(1 + i * (PHOTOGRAPHS - 3) // (HELD_OUT - 1) for i in range(HELD_OUT))
    pool = [i for i in range(PHOTOGRAPHS) if i not in test]
    train = tuple(pool[i * (pool_size - 1) // max(n_views - 1, 1)] for i in range(n_views))
    return train, test
