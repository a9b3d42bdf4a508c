"""DreamMesh4D: a mesh with Gaussians on its faces, moved by a deformation graph (Li et al. 2024)."""

from ...evidence.evidence_kinds import STATIC_MESH
from ..method_contract import Inputs, Method, Suitability
from ..moving_capture import suits_what_moves
from .config import DreamMesh4dConfig, configure
from .model import DreamMesh4d
from .starting_model import initialise


def _suits(inputs: Inputs) -> Suitability:
    if inputs.mesh_is_given:
        return suits_what_moves(inputs, 1.0, ", and a mesh of the object is given")
    return suits_what_moves(inputs, 0.1, "")


def _initialise(inputs: Inputs, config: DreamMesh4dConfig) -> DreamMesh4d:
    device = inputs.dataset.cameras.K.device
    return initialise(inputs.dataset, inputs.evidence[STATIC_MESH], config, device, inputs.view_prior)


METHOD = Method(
    name="dreammesh4d",
    summary="A mesh of one object with Gaussians on its faces, moved by a deformation graph (Li et al. 2024).",
    config=DreamMesh4dConfig,
    suits=_suits,
    configure=configure,
    initialise=_initialise,
    needs=(STATIC_MESH,),
    uses_time=True,
    needs_mattes=True,
    asks_view_prior=True,
)
