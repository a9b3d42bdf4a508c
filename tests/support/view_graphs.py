"""View graphs of which only the number of verified matches counts."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pycolmap
import torch
from fewview.recon.poses.features import Features
from fewview.recon.poses.verification import Pair, ViewGraph

WIDTH, HEIGHT = 320, 240


def graph_with(matches: Mapping[Pair, int], views: int) -> ViewGraph:
    """A graph of so many views with so many verified matches between pairs, and no keypoints."""
    geometries = {}
    for pair, count in matches.items():
        geometries[pair] = pycolmap.TwoViewGeometry()
        geometries[pair].inlier_matches = np.zeros((count, 2), np.uint32)
    features = [Features(torch.zeros(0, 2), torch.zeros(0, 0), WIDTH, HEIGHT)] * views
    return ViewGraph(features, dict(matches), geometries)
