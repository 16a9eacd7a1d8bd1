# The map of gradlab: one line per public name, by kind. lazy_loader reads it too, so a name is loaded when first used.
# Keep this file ASCII: lazy_loader opens it with the system's encoding.
# ruff: isort: skip_file

# recurrences
from .cells import (
    Cell as Cell,
    GRU as GRU,
    KeepGate as KeepGate,
    LSTM as LSTM,
    LeakyRNN as LeakyRNN,
    MinimalRNN as MinimalRNN,
    RNN as RNN,
)
from .cells.custom import custom_cell as custom_cell
from .weights.load import load_weights as load_weights
from .weights.weights import from_torch as from_torch, to_torch as to_torch

# networks of recurrences
from .models.network import Bidirectional as Bidirectional, Network as Network, Readout as Readout

# losses
from .models.losses import (
    cross_entropy as cross_entropy,
    mse as mse,
    nll as nll,
    projection as projection,
)

# tasks to learn, and theory that needs no network
from . import tasks as tasks, theory as theory

# one pass
from ._trace.trace import Trace as Trace, load_trace as load_trace, trace as trace
from ._trace.segmented import SegmentedTrace as SegmentedTrace
from .arrays.scaled import Scaled as Scaled
from ._selfcheck import selfcheck as selfcheck

# training
from .training import (
    Adam as Adam,
    Momentum as Momentum,
    RMSprop as RMSprop,
    SGD as SGD,
    Schedule as Schedule,
    Training as Training,
    Until as Until,
    load_training as load_training,
)

# many passes
from ._watch.watch import Watch as Watch, load_watch as load_watch, watch as watch

# instruments
from .hooks import Hook as Hook

# studies
from .study import Study as Study, load_results as load_results

# errors
from .errors import GradlabError as GradlabError, InputError as InputError, SpecError as SpecError

__version__: str
