"""SC-GS: sparse control points that move Gaussians (Huang et al. 2024)."""

from ...evidence.evidence_kinds import FILM_FLOW
from ..method_contract import Inputs, Method, Suitability
from ..moving_capture import suits_what_moves
from .config import ScGsConfig, configure
from .model import ScGs, initialise


def _suits(inputs: Inputs) -> Suitability:
    return suits_what_moves(inputs, 0.9, ", and it follows what moves")


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
