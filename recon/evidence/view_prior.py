"""View priors: what a picture from a new side should look like, as the gradient of a loss on that picture.

A reconstruction from few photographs says nothing of the sides that none of them shows; a prior that has seen many
objects does. Score distillation (Poole et al. 2023) turns a denoiser into such a gradient, and SparseAGS (Zhao and
Tulsiani 2024) averages it over all photographs, because none of their poses is to be relied on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from ...scene.cameras import Cameras

GUIDANCE = 5.0  # of the released code
FIRST_STEP, LAST_STEP = 980, 20  # of 1000 diffusion steps: from almost noise to almost picture

# (noisy latent [...], number of the diffusion step, condition or None for none) -> the noise in it [...]
Denoiser = Callable[[Tensor, int, object], Tensor]


class ViewPrior(Protocol):
    """A source of gradients for pictures that no photograph was taken of."""

    def gradient(
        self,
        image: Tensor,  # [H, W, 3] in [0, 1], rendered over white
        camera: Cameras,  # [] from which it was rendered
        photographs: Tensor,  # [N, H, W, 3] over white, of the size of `image`
        cameras: Cameras,  # [N] of the photographs, in the same world
        progress: float,  # share of the run that is done, in [0, 1]
        *,
        time_s: float | None = None,  # moment that picture and photographs show; None for what does not move
    ) -> Tensor:
        """Gradient [H, W, 3] of the prior's loss by the picture's colours."""
        ...


def diffusion_step(progress: float, steps: int = 1000) -> int:
    """Number of the diffusion step at a share of the run: from much noise to little, linearly, within [20, 980]."""
    return min(max(round((1 - progress) * steps), LAST_STEP), FIRST_STEP)


def multi_view_sds(
    latent: Tensor,  # [...] of the rendered picture
    conditions: Sequence[object],  # one for each photograph: its picture and relative pose, as the denoiser takes them
    denoiser: Denoiser,
    step: int,  # number of the diffusion step
    noise: Tensor,  # [...] one sample for all photographs
    alphas_cumprod: Tensor,  # [T] share of the signal that is left at each diffusion step
    guidance: float = GUIDANCE,
) -> Tensor:
    """Gradient [...] of multi-view score distillation by the latent, SparseAGS section 3.1.

    (1 - a_t) (mean_i [e_u + g (e_c(i) - e_u)] - e), with classifier-free guidance g. Raises ValueError without
    conditions.
    """
    if not conditions:
        raise ValueError("expected at least one photograph to condition on")
    signal = alphas_cumprod[step]
    with torch.no_grad():
        noisy = signal.sqrt() * latent + (1 - signal).sqrt() * noise
        free = denoiser(noisy, step, None)
        guided = [free + guidance * (denoiser(noisy, step, condition) - free) for condition in conditions]
        return (1 - signal) * (torch.stack(guided).mean(0) - noise)


def distillation_loss(latent: Tensor, gradient: Tensor) -> Tensor:
    """A scalar whose gradient by the latent [...] is the given one [...]: 0.5 |z - stopgrad(z - gradient)|^2."""
    goal = (latent - gradient).detach()
    return 0.5 * (latent - goal).square().sum()
