"""What networks are built of, one kind a file.

A layer is an object that holds its parameters and is called with a batch. All are built and read
in one way:

    layer = Linear(784, 500, rng, gain=math.sqrt(2))     sizes, the source of the first weights, how
    y = layer(x)                                         arrays or Tensors, the dtype of the layer

What is learned is a Tensor, what is kept beside it a public array (`BatchNorm.mean`), what begins
with an underscore is derived. Nothing is switched between training and evaluation: noise is drawn
from the `rng` of the call, and without one there is none; batch norm is told which moments to use;
and what advances a state (`follow`, a Cache) is a step that stands in the caller's own lines.

Read `linear` and `mlp` first. For images: `conv2d`, `kernel_mask`, `conv_transpose2d`, `norm`,
`batch_norm`, `adain`. For sequences: `embedding`, `recurrent`, `gru`, `lstm`, `conv1d`,
`causal_conv1d`, `positions`, `rotary`, `attention` and its `cache`, `transformer_block`,
`decoder_block`. For either: `dropout`, `spectral`, `time_embedding`. `core.state.describe` lists
what a layer holds.
"""

from reference.layers.adain import AdaIN
from reference.layers.attention import Attention
from reference.layers.batch_norm import BatchNorm, Moments
from reference.layers.cache import Cache
from reference.layers.causal_conv1d import CausalConv1d
from reference.layers.conv1d import Conv1d
from reference.layers.conv2d import Conv2d
from reference.layers.conv_transpose1d import ConvTranspose1d
from reference.layers.conv_transpose2d import ConvTranspose2d
from reference.layers.decoder_block import DecoderBlock
from reference.layers.dropout import Dropout
from reference.layers.embedding import Embedding
from reference.layers.gru import GRUCell
from reference.layers.kernel_mask import colour_mask, kernel_mask
from reference.layers.linear import Linear
from reference.layers.lstm import LSTMCell
from reference.layers.mlp import MLP
from reference.layers.norm import GroupNorm, LayerNorm, RMSNorm
from reference.layers.positions import LearnedPositions, SinusoidalPositions, sinusoidal
from reference.layers.recurrent import RNNCell, unroll
from reference.layers.rotary import Rotary
from reference.layers.spectral import SpectralNorm
from reference.layers.time_embedding import TimeEmbedding
from reference.layers.transformer_block import TransformerBlock

__all__ = [
    "MLP",
    "AdaIN",
    "Attention",
    "BatchNorm",
    "Cache",
    "CausalConv1d",
    "Conv1d",
    "Conv2d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "DecoderBlock",
    "Dropout",
    "Embedding",
    "GRUCell",
    "GroupNorm",
    "LSTMCell",
    "LayerNorm",
    "LearnedPositions",
    "Linear",
    "Moments",
    "RMSNorm",
    "RNNCell",
    "Rotary",
    "SinusoidalPositions",
    "SpectralNorm",
    "TimeEmbedding",
    "TransformerBlock",
    "colour_mask",
    "kernel_mask",
    "sinusoidal",
    "unroll",
]
