"""CoherentGS (Paliwal et al. 2024)."""

from ...evidence.evidence_kinds import FLOW, MONOCULAR_DEPTH
from ..method_contract import Inputs, Method, Suitability
from .config import MOST_VIEWS, CoherentConfig, configure
from .model import Coherent
from .prepared_views import prepared_views


def _suits(inputs: Inputs) -> Suitability:
    if not 2 <= len(inputs.dataset.train) <= MOST_VIEWS:
        return Suitability(0.0, f"it is made for 2 to {MOST_VIEWS} photographs")
    return Suitability(0.3, "a Gaussian for each pixel needs exact cameras and few photographs")


def _initialise(inputs: Inputs, config: CoherentConfig) -> Coherent:
    prepared = prepared_views(inputs.dataset, inputs.evidence[MONOCULAR_DEPTH], inputs.evidence[FLOW], config)
    return Coherent(prepared, config, inputs.dataset.cameras.K.device)


METHOD = Method(
    name="coherentgs",
    summary="A Gaussian for each pixel that moves along its ray, its neighbours with it (Paliwal et al. 2024).",
    config=CoherentConfig,
    suits=_suits,
    configure=configure,
    initialise=_initialise,
    needs=(MONOCULAR_DEPTH, FLOW),
)
