"""A depth prior of our own: a photograph and what is known of its depth to depth everywhere, with its uncertainty."""

from .completion import CompletedDepth as CompletedDepth
from .completion import complete_depth as complete_depth
from .network import DepthPrior as DepthPrior
from .prior_weights import BUNDLED as BUNDLED
from .prior_weights import load_prior as load_prior
