"""Photographs to splats: the optimiser, evidence, camera poses, a folder for each method, and the pipeline."""

from typing import TYPE_CHECKING

from ..lazy import lazily

if TYPE_CHECKING:
    from .methods.method_contract import Inputs as Inputs
    from .methods.method_contract import Method as Method
    from .methods.method_contract import Suitability as Suitability
    from .methods.registry import register as register
    from .optimise.adam import Optimiser as Optimiser
    from .optimise.contract import Model as Model
    from .optimise.contract import Stage as Stage
    from .optimise.dataset import Dataset as Dataset
    from .optimise.step import Step as Step
    from .optimise.table import Table as Table
    from .optimise.train_config import TrainConfig as TrainConfig
    from .optimise.trainer import fit as fit
    from .pipeline.reconstruct_config import ReconstructConfig as ReconstructConfig
    from .pipeline.reconstruction import reconstruct as reconstruct

__getattr__ = lazily(
    __name__,
    {
        "Inputs": "methods.method_contract",
        "Method": "methods.method_contract",
        "Suitability": "methods.method_contract",
        "register": "methods.registry",
        "Optimiser": "optimise.adam",
        "Model": "optimise.contract",
        "Stage": "optimise.contract",
        "Dataset": "optimise.dataset",
        "Step": "optimise.step",
        "Table": "optimise.table",
        "TrainConfig": "optimise.train_config",
        "fit": "optimise.trainer",
        "ReconstructConfig": "pipeline.reconstruct_config",
        "reconstruct": "pipeline.reconstruction",
    },
)
