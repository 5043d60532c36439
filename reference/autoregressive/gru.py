"""A recurrent network whose cells decide how much of their state to replace (Cho et al. 2014).

    h_t = (1 − z_t) ⊙ n_t + z_t ⊙ h_{t−1}

with an update gate z_t near 1 the state passes through unchanged, and so does the gradient: the
cell is `reference.layers.gru`, all else is as in `rnn`. MISSION row A5.
"""

from __future__ import annotations

from reference.autoregressive.rnn import RNN
from reference.layers import GRUCell


class GRU(RNN):
    """RNN with gated recurrent units, over rows of tokens (B, T).

    >>> GRU(8, 5, end=0, hidden=16)
    GRU(dim=8, levels=5, end=0, hidden=16, layers=1), 1,781 parameters
    """

    cell = GRUCell
