"""A recurrent network with a memory beside its state (Hochreiter & Schmidhuber 1997).

    c_t = f_t ⊙ c_{t−1} + i_t ⊙ g_t,          h_t = o_t ⊙ tanh(c_t)

What is written to c stays there, and so does its gradient, until the gate f forgets it: the cell is
`reference.layers.lstm`, all else is as in `rnn`. Text drawn from such a network, a character at a
time: Graves 2013. MISSION row A5.
"""

from __future__ import annotations

from reference.autoregressive.rnn import RNN
from reference.layers import LSTMCell


class LSTM(RNN):
    """RNN with long short-term memory, over rows of tokens (B, T).

    >>> LSTM(8, 5, end=0, hidden=16)
    LSTM(dim=8, levels=5, end=0, hidden=16, layers=1), 2,293 parameters
    """

    cell = LSTMCell
