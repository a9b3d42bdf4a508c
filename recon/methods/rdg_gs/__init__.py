"""An RDG-GS-style method, after Zhan et al. 2025."""

from ...evidence.evidence_kinds import DEPTH, MONOCULAR_DEPTH, PATCH_FEATURES
from ..method_contract import Inputs, Method, Suitability
from .config import RdgGsConfig, configure
from .model import RdgGs, initialise

NEEDS = (DEPTH, MONOCULAR_DEPTH, PATCH_FEATURES)


def _suits(inputs: Inputs) -> Suitability:
    return Suitability(0.3, "it is made for few photographs with known cameras")


def _initialise(inputs: Inputs, config: RdgGsConfig) -> RdgGs:
    stereo, monocular, features = (inputs.evidence[kind] for kind in NEEDS)
    return initialise(inputs.dataset, stereo, monocular, features, config)


METHOD = Method(
    name="rdg_gs",
    summary="3DGS of few views guided by relative depth, in the style of RDG-GS (Zhan et al. 2025).",
    config=RdgGsConfig,
    suits=_suits,
    configure=configure,
    initialise=_initialise,
    needs=NEEDS,
)
