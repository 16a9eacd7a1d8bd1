"""The recurrences. A new one is one file beside these, and one line in :data:`CELLS`."""

from gradlab.cells.base import Cell
from gradlab.cells.gru import GRU
from gradlab.cells.lstm import LSTM
from gradlab.cells.rnn import RNN

CELLS: dict[str, type[RNN] | type[LSTM] | type[GRU]] = {"rnn": RNN, "lstm": LSTM, "gru": GRU}

__all__ = ["CELLS", "GRU", "LSTM", "RNN", "Cell"]
