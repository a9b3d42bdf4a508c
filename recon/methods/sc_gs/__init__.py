"""SC-GS: sparse control points that move Gaussians (Huang et al. 2024)."""

from ...evidence.evidence_kinds import FILM_FLOW
from ..method_contract import Inputs, Method, Suitability
from .config import ScGsConfig, configure
from .model import ScGs, initialise


def _suits(inputs: Inputs) -> Suitability:
    if not inputs.moves:
        return Suitability(0.0, "the scene does not move")
    return Suitability(0.9, "the photographs were taken at different times, and it follows what moves")


def _initialise(inputs: Inputs, config: ScGsConfig) -> ScGs:
    flow = inputs.evidence.get(FILM_FLOW)
    return initialise(inputs.dataset, config, inputs.dataset.cameras.K.device, flow)


def _asks(config: ScGsConfig) -> tuple[str, ...]:
    return (FILM_FLOW,) if config.flow_weight > 0 else ()


METHOD = Method(
    name="sc_gs",
    summary="Sparse control points that move Gaussians, for scenes that move and can be pulled at (Huang et al. 2024).",
    config=ScGsConfig,
    suits=_suits,
    configure=configure,
    initialise=_initialise,
    asks=_asks,
    uses_time=True,
)
