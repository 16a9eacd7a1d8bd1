"""The recurrences. A new one is one file in this folder, and one line in :data:`CELLS`."""

from gradlab.cells.base import Cell
from gradlab.cells.gru import GRU
from gradlab.cells.keep_gate import KeepGate
from gradlab.cells.leaky import LeakyRNN
from gradlab.cells.lstm import LSTM
from gradlab.cells.minimal_rnn import MinimalRNN
from gradlab.cells.rnn import RNN

#: The cells that studies, files and the command line know by name.
CELLS: dict[str, type[Cell]] = {
    "rnn": RNN,
    "lstm": LSTM,
    "gru": GRU,
    "minimal_rnn": MinimalRNN,
    "leaky": LeakyRNN,
}

__all__ = ["CELLS", "GRU", "LSTM", "RNN", "Cell", "KeepGate", "LeakyRNN", "MinimalRNN"]
