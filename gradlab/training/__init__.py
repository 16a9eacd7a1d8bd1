"""Training: a loop over the passes of :func:`gradlab.trace`, with optimisers, schedules, clipping and checkpoints."""

from gradlab.training.loading import load_training
from gradlab.training.optimisers import SGD, Adam, Momentum, Optimiser, RMSprop
from gradlab.training.schedule import Schedule, Until
from gradlab.training.training import Training

__all__ = ["SGD", "Adam", "Momentum", "Optimiser", "RMSprop", "Schedule", "Training", "Until", "load_training"]
