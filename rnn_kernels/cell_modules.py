"""Where LSTMCell and GRUCell were in 0.1.0: pickles of that version name this module."""

from .modules.cells import GRUCell, LSTMCell

__all__ = ["GRUCell", "LSTMCell"]
