"""Colours that differ from photograph to photograph: an affine transform of each, learned together with the scene.

Cameras choose exposure and white balance anew for each photograph, and phones their contrast. A scene that has to
explain that does it with view-dependent colours and floaters. Here the rendered picture of a training photograph goes
through a transform of its own, a 3 x 3 matrix and an offset, before it is compared; the scene itself stays without.

Affine, as the exposure of the released 3DGS code (Kerbl et al. 2024, Hierarchical 3D Gaussians), and not
a bilateral grid (Wang et al. 2024, Bilateral Guided Radiance Field Processing): gains, white balance and most of a
contrast curve are affine; twelve numbers cannot repaint a photograph, which thousands in a grid can where few others
show the same; and what is fitted on one half of a held-out photograph holds for the other.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .adam import Optimiser, update
from .dataset import Dataset
from .photograph_gains import PhotographGains
from .table import Table
from .train_config import TrainConfig

FINAL_RATE = 0.1  # of the learning rate at the end of the run, reached log-linearly
CLIPPED_LOW, CLIPPED_HIGH = 0.5 / 255, 254.5 / 255  # a photograph's values beyond are bounds of what was there


class Appearance:
    """An affine transform of sRGB colours for each training photograph; their mean is always the identity.

    What all transforms have in common belongs to the scene. So a table holds them up to a common term, and the
    mean is taken out where they are read: there is nothing that could drift, and no weight to choose.
    """

    def __init__(self, dataset: Dataset, config: TrainConfig, gains: PhotographGains | None = None) -> None:
        """Start from measured gains where there are some, else from the identity."""
        device = dataset.cameras.K.device
        start = torch.zeros(len(dataset), 3, 4)
        if gains is not None:
            start[list(dataset.train), :, :3] = torch.diag_embed(gains.log_gains.exp() - 1)
        self.table = Table({"affine": start.to(device)})  # rows of held-out views stay unused
        self._train = torch.tensor(dataset.train, device=device)
        self._identity = torch.eye(3, 4, device=device)
        self._config = config

    def transform(self, view: int) -> Tensor:
        """Matrix and offset [3, 4] of a training view; differentiable."""
        affine = self.table["affine"]
        return self._identity + affine[view] - affine[self._train].mean(0)

    def transforms(self) -> Tensor:
        """Matrices and offsets [len(dataset), 3, 4] as they are now, the identity for views that are held out."""
        affine = self.table["affine"].detach()
        found = self._identity.expand(len(affine), 3, 4).clone()
        found[self._train] += affine[self._train] - affine[self._train].mean(0)
        return found

    def shown(self, view: int, rgb: Tensor, alpha: Tensor, background: Tensor | None) -> Tensor:
        """The rendered picture [H, W, 3], with coverage [H, W], in the colours of a training photograph.

        The background [3] is no part of the photograph and keeps its colour.
        """
        return transformed(self.transform(view), rgb, alpha, background)

    def update(self, views: tuple[int, ...], step: int) -> None:
        """Apply the gradients of a step of the run that drew `views`; the other transforms stay."""
        drawn = torch.zeros(len(self.table["affine"]), dtype=torch.bool, device=self._identity.device)
        drawn[list(views)] = True
        update(self.table.columns["affine"], Optimiser(self._rate), step, drawn)

    def _rate(self, step: int) -> float:
        c = self._config
        return c.appearance_lr * FINAL_RATE ** (step / c.steps)


def transformed(
    affine: Tensor,  # [3, 4]
    rgb: Tensor,  # [H, W, 3]
    alpha: Tensor,  # [H, W]
    background: Tensor | None,  # [3]; None for black
) -> Tensor:
    """A rendered picture through a colour transform that leaves the background behind it alone."""
    coverage = alpha[..., None]
    if background is None:
        return rgb @ affine[:, :3].T + coverage * affine[:, 3]
    behind = (1 - coverage) * background
    return (rgb - behind) @ affine[:, :3].T + coverage * affine[:, 3] + behind


def within_range(picture: Tensor, target: Tensor) -> Tensor:
    """The picture [H, W, 3], but equal to the photograph where that is clipped and the picture beyond it.

    An overexposed window says that the scene is at least so bright, and no more.
    """
    beyond = ((target >= CLIPPED_HIGH) & (picture > target)) | ((target <= CLIPPED_LOW) & (picture < target))
    return torch.where(beyond, target, picture)
