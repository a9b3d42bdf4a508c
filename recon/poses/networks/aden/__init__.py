"""ADen: many poses proposed for each photograph, and one chosen (Tang et al., ECCV 2024, arXiv 2408.09042)."""

from .aden_estimator import AdenEstimator as AdenEstimator
from .config import AdenConfig as AdenConfig
from .model import Aden as Aden
