"""Pose errors of estimated cameras against true ones: the metrics of the few-view pose literature.

Poses are `cam_from_world` [N, 4, 4], OpenCV axes. Everything is computed in float64, because float32 alone is worth
0.03 degrees. The rotation and AUC definitions are those of the released VGGT evaluation (Wang et al., CVPR 2025):
pairs i < j, a baseline in the frame of camera i, blind to its sign; the trajectory errors follow Sturm et al.,
IROS 2012.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...scene.geometry import Similarity, align_similarity, se3_inverse

UNKNOWN_DEG = 1e6  # the error of a direction that does not exist: no threshold accepts it


@dataclass(frozen=True)
class PairErrors:
    """Errors of the M = N (N - 1) / 2 unordered pairs of views, degrees."""

    rotation_deg: Tensor  # [M] in [0, 180]
    translation_deg: Tensor  # [M] in [0, 90], direction only

    def rotation_accuracy(self, threshold_deg: float) -> float:
        """RRA: the share of pairs whose relative rotation is off by less than this."""
        return _share(self.rotation_deg < threshold_deg)

    def translation_accuracy(self, threshold_deg: float) -> float:
        """RTA: the share of pairs whose relative translation direction is off by less than this."""
        return _share(self.translation_deg < threshold_deg)

    def auc(self, threshold_deg: int = 30) -> float:
        """Area under the accuracy curve of the worse of both errors, by whole degrees: (1/T) sum_k P(error < k)."""
        worst = torch.maximum(self.rotation_deg, self.translation_deg)
        return sum(_share(worst < k) for k in range(1, threshold_deg)) / threshold_deg + (
            _share(worst <= threshold_deg) / threshold_deg
        )


@dataclass(frozen=True)
class PoseErrors:
    """Everything at once for one capture."""

    pairs: PairErrors
    ate: float  # root mean square of the centres' distances after alignment, in scene scales
    rpe_translation: float  # root mean square between consecutive views, in scene scales
    rpe_rotation_deg: float

    def summary(self) -> dict[str, float]:
        """Plain figures for reports."""
        pairs = self.pairs
        return {
            "rotation_mean_deg": float(pairs.rotation_deg.mean()),
            "rotation_max_deg": float(pairs.rotation_deg.max()),
            "translation_mean_deg": float(pairs.translation_deg.mean()),
            "rra_15": pairs.rotation_accuracy(15),
            "rta_15": pairs.translation_accuracy(15),
            "auc_5": pairs.auc(5),
            "auc_10": pairs.auc(10),
            "auc_30": pairs.auc(30),
            "ate": self.ate,
            "rpe_translation": self.rpe_translation,
            "rpe_rotation_deg": self.rpe_rotation_deg,
        }


def pair_errors(estimated: Tensor, true: Tensor) -> PairErrors:
    """Relative rotation and translation-direction errors over pairs i < j of cam_from_world [N, 4, 4].

    A pair whose true or estimated centres coincide gets the translation error 1e6, which counts as a miss.
    Raises ValueError unless both have the same N >= 2.
    """
    if estimated.shape != true.shape or estimated.shape[0] < 2 or estimated.shape[1:] != (4, 4):
        raise ValueError(f"expected two lists [N >= 2, 4, 4], found {tuple(estimated.shape)}, {tuple(true.shape)}")
    i, j = torch.triu_indices(len(true), len(true), offset=1)
    i_from_j = [p[i] @ se3_inverse(p)[j] for p in (estimated.double(), true.double())]
    difference = i_from_j[0][:, :3, :3] @ i_from_j[1][:, :3, :3].transpose(1, 2)
    rotation_deg = torch.rad2deg(_angle(difference))
    translation_deg = torch.rad2deg(_line_angle(i_from_j[0][:, :3, 3], i_from_j[1][:, :3, 3]))
    return PairErrors(rotation_deg, translation_deg)


def pose_errors(estimated: Tensor, true: Tensor) -> PoseErrors:
    """All errors of cam_from_world [N, 4, 4]; the world frames may differ by a similarity.

    A scene scale is the largest distance of a true centre from the mean true centre.
    """
    pairs = pair_errors(estimated, true)
    centers = [se3_inverse(p.double())[:, :3, 3] for p in (estimated, true)]
    scale = (centers[1] - centers[1].mean(0)).norm(dim=1).max().clamp_min(1e-12)
    aligned = align_cameras(estimated, true)
    ate = (aligned(centers[0]) - centers[1]).square().sum(1).mean().sqrt() / scale
    steps = [p.double()[1:] @ se3_inverse(p.double())[:-1] for p in (estimated, true)]
    moved = aligned.scale * steps[0][:, :3, 3] - steps[1][:, :3, 3]
    turned = _angle(steps[0][:, :3, :3] @ steps[1][:, :3, :3].transpose(1, 2))
    return PoseErrors(
        pairs,
        float(ate),
        float(moved.square().sum(1).mean().sqrt() / scale),
        float(torch.rad2deg(turned.square().mean().sqrt())),
    )


def align_cameras(estimated: Tensor, true: Tensor) -> Similarity:
    """The similarity true_from_estimated that brings estimated camera centres to the true ones (Umeyama).

    With two views, or with centres on one line, centres alone leave a turn open: there the rotation is the mean
    of the views' own rotations, and only scale and translation come from the centres.
    """
    a, b = (se3_inverse(p.double()) for p in (true, estimated))
    if len(a) >= 3 and _spread(a[:, :3, 3]) > 1e-3:
        return align_similarity(a[:, :3, 3], b[:, :3, 3])
    u, _, vt = torch.linalg.svd((a[:, :3, :3] @ b[:, :3, :3].transpose(1, 2)).sum(0))
    rotation = u @ torch.diag(torch.tensor([1.0, 1.0, float(torch.det(u @ vt))], dtype=u.dtype)) @ vt
    mean_a, mean_b = a[:, :3, 3].mean(0), b[:, :3, 3].mean(0)
    moved = (b[:, :3, 3] - mean_b) @ rotation.T
    scale = (moved * (a[:, :3, 3] - mean_a)).sum() / moved.square().sum().clamp_min(1e-20)
    scale = scale if scale > 0 else (a[:, :3, 3] - mean_a).norm() / moved.norm().clamp_min(1e-20)
    return Similarity(scale, rotation, mean_a - scale * rotation @ mean_b)


def center_errors(
    estimated: Tensor,  # [N, 4, 4] cam_from_world
    true: Tensor,  # [N, 4, 4]
    scene_scale: float | None = None,
) -> Tensor:
    """Distances [N] of camera centres after alignment, in scene scales; camera-centre accuracy is the share below 0.1.

    The alignment is a similarity of the centres alone (RelPose++ and RayDiffusion), so two views always fit. The scene
    scale is `true_scene_scale` of the whole sequence; of these N cameras unless given. Estimated centres that are all
    one place are infinitely wrong.
    """
    centers = [se3_inverse(p.double())[:, :3, 3] for p in (estimated, true)]
    scale = true_scene_scale(true) if scene_scale is None else scene_scale
    spread = (centers[0] - centers[0].mean(0)).norm(dim=1).max()
    if float(spread) < 1e-12:
        return torch.full((len(true),), torch.inf, dtype=torch.float64)
    if len(true) == 2:
        return torch.zeros(2, dtype=torch.float64)
    return (align_similarity(centers[1], centers[0])(centers[0]) - centers[1]).norm(dim=1) / max(scale, 1e-12)


def true_scene_scale(cam_from_world: Tensor) -> float:
    """Largest distance of a camera centre from the mean centre of all usable cameras [N, 4, 4] of a sequence."""
    centers = se3_inverse(cam_from_world.double())[:, :3, 3]
    return float((centers - centers.mean(0)).norm(dim=1).max())


def _spread(points: Tensor) -> float:
    """Second singular value over the first: 0 where all points lie on a line."""
    values = torch.linalg.svdvals(points - points.mean(0))
    return float(values[1] / values[0].clamp_min(1e-20))


def _angle(rotations: Tensor) -> Tensor:
    """Angle in radians [M] of rotations [M, 3, 3]; exact near 0 and pi, where arccos of the trace is not."""
    trace = rotations.diagonal(dim1=-2, dim2=-1).sum(-1)
    axis = torch.stack(
        [
            rotations[:, 2, 1] - rotations[:, 1, 2],
            rotations[:, 0, 2] - rotations[:, 2, 0],
            rotations[:, 1, 0] - rotations[:, 0, 1],
        ],
        dim=-1,
    )
    return torch.atan2(axis.norm(dim=-1), trace - 1)


def _line_angle(a: Tensor, b: Tensor) -> Tensor:
    """Angle in radians [M] in [0, pi/2] between the lines along a and b [M, 3]."""
    angle = torch.atan2(torch.linalg.cross(a, b).norm(dim=-1), (a * b).sum(-1).abs())
    exists = torch.minimum(a.norm(dim=-1), b.norm(dim=-1)) > 1e-12
    return torch.where(exists, angle, torch.full_like(angle, torch.pi / 180 * UNKNOWN_DEG))


def _share(mask: Tensor) -> float:
    return float(mask.double().mean())
