"""Deformable 3D Gaussians: a network that moves every Gaussian (Yang et al. 2024)."""

from ..method_contract import Inputs, Method, Suitability
from ..moving_capture import suits_what_moves
from .config import DeformableGaussiansConfig, configure
from .model import DeformableGaussians, initialise


def _suits(inputs: Inputs) -> Suitability:
    return suits_what_moves(inputs, 0.4, ", and it moves every Gaussian by itself")


def _initialise(inputs: Inputs, config: DeformableGaussiansConfig) -> DeformableGaussians:
    return initialise(inputs.dataset, config, inputs.dataset.cameras.K.device)


METHOD = Method(
    name="deformable",
    summary="A network that moves every Gaussian by itself, slow without a GPU (Yang et al. 2024).",
    config=DeformableGaussiansConfig,
    suits=_suits,
    configure=configure,
    initialise=_initialise,
    uses_time=True,
)
