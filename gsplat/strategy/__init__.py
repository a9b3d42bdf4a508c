"""`gsplat.strategy`: the path by which trainers written for gsplat import these names."""

from ..gradient_strategy import DefaultStrategy as DefaultStrategy
from ..sampling_strategy import MCMCStrategy as MCMCStrategy
from ..strategy_contract import Strategy as Strategy
