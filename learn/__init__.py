"""Training of networks: the loop, the order of samples, schedules, checkpoints, weights of others."""

from .loop import Trained as Trained
from .loop import TrainRun as TrainRun
from .loop import fit as fit
from .training_task import TrainingTask as TrainingTask
