"""What networks are built of, one kind a file.

A layer is an object that holds its parameters and is called with a batch. All are built and read
in one way:

    layer = Linear(784, 500, rng, gain=math.sqrt(2))     sizes, the source of the first weights, how
    y = layer(x)                                         arrays or Tensors, the dtype of the layer

What is learned is a Tensor, what is kept beside it a public array (`BatchNorm.mean`), what begins
with an underscore is derived. Nothing is switched between training and evaluation: noise is drawn
from the `rng` of the call, and without one there is none; batch norm is told which moments to use;
and what advances a state (`follow`, a Cache) is a step that stands in the caller's own lines.

Read `linear` and `mlp` first; `conv`, `norm` and `adain` make images, `embedding`, `positions`,
`recurrent`, `gru`, `lstm`, `attention` and `rotary` sequences; `time_embedding`, `dropout` and
`spectral` stand alone. `core.state.describe` lists what a layer holds.
"""

from reference.layers.attention import Attention
from reference.layers.cache import Cache
from reference.layers.embedding import Embedding
from reference.layers.gru import GRUCell
from reference.layers.linear import Linear
from reference.layers.lstm import LSTMCell
from reference.layers.mlp import MLP
from reference.layers.positions import LearnedPositions, SinusoidalPositions, sinusoidal
from reference.layers.recurrent import RNNCell, unroll
from reference.layers.rotary import Rotary
from reference.layers.spectral import SpectralNorm
from reference.layers.time_embedding import TimeEmbedding

__all__ = [
    "MLP",
    "Attention",
    "Cache",
    "Embedding",
    "GRUCell",
    "LSTMCell",
    "LearnedPositions",
    "Linear",
    "RNNCell",
    "Rotary",
    "SinusoidalPositions",
    "SpectralNorm",
    "TimeEmbedding",
    "sinusoidal",
    "unroll",
]
