"""InstantSplat (Fan et al. 2024)."""

from ...evidence.evidence_kinds import CONTINUED_DEPTH, DEPTH, MONOCULAR_DEPTH
from ..gaussian_splatting.model import GaussianSplatting
from ..method_contract import Inputs, Method, Suitability
from .config import FEW_VIEWS, InstantSplatConfig, configure
from .model import initialise
from .untrusted_depth import continued, with_network_guesses


def _suits(inputs: Inputs) -> Suitability:
    views = len(inputs.dataset.train)
    if inputs.depth_is_given:
        return Suitability(0.9, "the network that placed the photographs has given their depth")
    if 2 <= views <= FEW_VIEWS:
        return Suitability(0.8, f"{views} photographs are few, and dense stereo knows more of them than sparse points")
    return Suitability(0.2, "it is made for few photographs")


def _asks(config: InstantSplatConfig) -> tuple[str, ...]:
    return (CONTINUED_DEPTH,) if config.network_guesses else ()


def _initialise(inputs: Inputs, config: InstantSplatConfig) -> GaussianSplatting:
    stereo, notes = inputs.evidence[DEPTH], []
    if CONTINUED_DEPTH in inputs.evidence:
        found = with_network_guesses(inputs.dataset, stereo, inputs.evidence[CONTINUED_DEPTH])
        stereo, notes = found.stereo, [found.note]
    if MONOCULAR_DEPTH in inputs.evidence:
        found = continued(inputs.dataset, stereo, inputs.evidence[MONOCULAR_DEPTH], config.seed)
        stereo, notes = found.stereo, [*notes, found.note]
    model = initialise(inputs.dataset, stereo, config, inputs.dataset.cameras.K.device)
    model.notes = notes
    return model


METHOD = Method(
    name="instantsplat",
    summary="Gaussians behind every pixel of dense stereo, trained together with the cameras (Fan et al. 2024).",
    config=InstantSplatConfig,
    suits=_suits,
    configure=configure,
    initialise=_initialise,
    needs=(DEPTH,),
    takes=(MONOCULAR_DEPTH,),
    asks=_asks,
)
