"""LSTM, GRU and their cells: drop-in replacements for torch.nn's."""

from .cells import GRUCell, LSTMCell
from .layers import GRU, LSTM

__all__ = ["GRU", "LSTM", "GRUCell", "LSTMCell"]
