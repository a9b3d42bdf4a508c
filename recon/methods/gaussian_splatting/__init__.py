"""3D Gaussian Splatting (Kerbl et al. 2023)."""

from ..method_contract import Inputs, Method, Suitability
from .config import GaussianSplattingConfig, configure
from .model import GaussianSplatting, initialise


def _suits(inputs: Inputs) -> Suitability:
    return Suitability(0.5, "it needs nothing but cameras")


def _initialise(inputs: Inputs, config: GaussianSplattingConfig) -> GaussianSplatting:
    return initialise(inputs.dataset, config, inputs.dataset.cameras.K.device)


METHOD = Method(
    name="3dgs",
    summary="Gaussians that grow from sparse points, where the image asks for more (Kerbl et al. 2023).",
    config=GaussianSplattingConfig,
    suits=_suits,
    configure=configure,
    initialise=_initialise,
)
