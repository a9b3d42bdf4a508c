"""`carried_splat`: any moving splat as one that control points carry, for files and pages that hold no other motion."""

from __future__ import annotations

import numpy as np
import torch
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse import csr_array
from torch import Tensor

from .carry import carry
from .control_points import ControlPointMotion
from .errors import BadInputError
from .farthest_points import farthest_points
from .fitted_rotations import fitted_rotations
from .gaussians import Gaussians
from .geometry import quat_from_rotation
from .splat import MovingSplat

POINTS = 1000  # control points, of so many Gaussians or more
NEIGHBOURS = 4  # that carry a Gaussian
AROUND = 24  # Gaussians that a control point's turn is told from
MOMENTS = 240  # that are kept, at most
LOOKED_AT = 12  # moments in which ways are compared
CANDIDATES = 20_000  # Gaussians that may become control points
KEEPS_ITS_WAY = 1e-3  # weight of a control point's own way, where nothing that it carries says more
RESIZED = 0.02  # change of the logarithm of a size, on average, that is told


def carried_splat(splat: MovingSplat) -> tuple[MovingSplat, tuple[str, ...]]:
    """(the splat carried by control points, sentences on what that changes; itself and none where it is so already).

    Up to 1000 Gaussians whose ways differ most become control points. Each Gaussian is carried by the four whose ways
    are nearest to its own, with (1 - d / d_5)^2, d the root mean square distance over moments. Turns are fitted to the
    Gaussians around, then shifts of a moment to all Gaussians at once by least squares. Sizes, opacities and colours
    stay as at the first moment. Raises BadInputError where a Gaussian is at no finite place at some moment.
    """
    if isinstance(splat.motion, ControlPointMotion):
        return splat, ()
    times = splat.motion.times_s
    if len(times) > MOMENTS:
        times = times[torch.linspace(0, len(times) - 1, MOMENTS).round().long()]
    rest = splat.at(float(times[0])).detach().to("cpu")
    looked_at = torch.linspace(0, len(times) - 1, min(LOOKED_AT, len(times))).round().long()
    seen = [splat.at(t).detach().to("cpu") for t in times[looked_at].tolist()]
    ways = torch.stack([g.means for g in seen], dim=1).flatten(1) / len(seen) ** 0.5  # [N, 3 S]
    if not bool(ways.isfinite().all()):
        raise BadInputError("Some Gaussians are at no finite place at some moments; `fewview edit` can remove them.")
    candidates = torch.linspace(0, len(ways) - 1, min(CANDIDATES, len(ways))).round().long()
    nodes = candidates[farthest_points(ways[candidates], POINTS)].sort().values
    neighbours, weights = _weights(ways, ways[nodes])
    motion = _fitted(splat, times, rest, nodes, _around(ways[candidates], ways[nodes], candidates), neighbours, weights)
    carried = MovingSplat(rest, splat.antialiased, splat.up, splat.notes, splat.background, motion=motion)
    off = torch.stack(
        [(carried.at(t).means - g.means).norm(dim=-1) for t, g in zip(times[looked_at], seen, strict=True)]
    )
    low, high = (torch.from_numpy(np.quantile(ways[:, :3].numpy(), q, axis=0)) for q in (0.01, 0.99))
    size = float((high - low).norm()) * len(seen) ** 0.5 or 1.0
    half, most = (100 * float(q) / size for q in np.quantile(off.amax(0).numpy(), (0.5, 0.99)))
    notes: tuple[str, ...] = (
        f"Here {len(nodes):,} control points carry the Gaussians, half of which keep within {half:.2g} % of the "
        f"scene's size of their ways, and 99 % within {most:.2g} %.",
    )
    if max(float((g.log_scales - rest.log_scales).abs().mean()) for g in seen) > RESIZED:
        notes += ("Gaussians keep the size that they have at the first moment.",)
    return carried, notes


def _weights(ways: Tensor, nodes: Tensor) -> tuple[Tensor, Tensor]:
    """(control points [N, K] int32 with the ways [M, C] nearest to those of Gaussians [N, C], weights [N, K])."""
    count = min(NEIGHBOURS, len(nodes))
    near = min(count + 1, len(nodes))
    found = [torch.cdist(part, nodes).topk(near, largest=False) for part in ways.split(4096)]
    lengths, index = (torch.cat(parts) for parts in zip(*found, strict=True))
    beyond = lengths[:, -1:].clamp_min(1e-30) if near > count else 2 * lengths[:, -1:].clamp_min(1e-30)
    weights = (1 - lengths[:, :count] / beyond).clamp_min(1e-6).square()
    return index[:, :count].int(), weights / weights.sum(-1, keepdim=True)


def _around(ways: Tensor, nodes: Tensor, number: Tensor) -> Tensor:
    """Gaussians [M, A] with the nearest ways to those [M, C] of control points, of numbers [n] with ways [n, C]."""
    count = min(AROUND, len(ways))
    return number[torch.cat([torch.cdist(part, ways).topk(count, largest=False).indices for part in nodes.split(256)])]


def _fitted(
    splat: MovingSplat,
    times: Tensor,  # [T]
    rest: Gaussians,  # at the first of them
    nodes: Tensor,  # [M] Gaussians that are control points
    around: Tensor,  # [M, A] Gaussians
    neighbours: Tensor,  # [N, K]
    weights: Tensor,  # [N, K]
) -> ControlPointMotion:
    points, before = rest.means[nodes], (rest.means[around] - rest.means[nodes][:, None])
    even = torch.ones(around.shape)
    columns, rows = neighbours.long().flatten().numpy(), np.arange(len(rest)).repeat(neighbours.shape[1])
    blend = csr_array((weights.double().flatten().numpy(), (rows, columns)), shape=(len(rest), len(nodes)))
    normal = (blend.T @ blend).toarray()
    keeps = KEEPS_ITS_WAY * max(float(normal.diagonal().mean()), 1e-30)
    normal[np.diag_indices(len(nodes))] += keeps
    factor = cho_factor(normal, lower=True, overwrite_a=True, check_finite=False)
    turns: list[Tensor] = []
    shifts: list[Tensor] = []
    still = torch.zeros_like(points)
    for time_s in times.tolist():
        means = splat.at(time_s).means.detach().to("cpu")
        turn = quat_from_rotation(fitted_rotations(before, means[around] - means[nodes][:, None], even)).float()
        if turns:  # q and -q are one rotation, and only near ones can be blended
            turn = torch.where((turn * turns[-1]).sum(-1, keepdim=True) < 0, -turn, turn)
        turned = carry(rest.means, points, turn, still, still[:, :0], neighbours, weights)[0]
        own = (means[nodes] - points).double().numpy()
        sums = blend.T @ (means - turned).double().numpy() + keeps * own
        turns.append(turn)
        shifts.append(torch.from_numpy(cho_solve(factor, sums, check_finite=False)).float())
    return ControlPointMotion(times.double(), points, torch.stack(shifts), torch.stack(turns), neighbours, weights)
