"""Autoregressive models: the chain rule, with a network for each conditional.

    p(x) = Π_i p(x_i | x_<i),  so  log p(x) = Σ_i log p(x_i | x_<i)        exact, whatever the order

The probability of a sample takes one pass; drawing one takes as many steps as it has variables.
Read `fvsbn` (each conditional a logistic regression), `nade` (one hidden layer, shared), `made`
(any network, masked): one idea growing. What a conditional may be stands in `heads`: one of many
values (`markov_mlp`), or a real number (`rnade`). Of images: `pixelcnn` (kernels that see the
past), `gated_pixelcnn` (all of it), `image_gpt`. Then text, of any length: `language_model` (what
an end is), `rnn`, `gru`, `lstm` (all of the past in one state), `wavenet` (kernels whose reach
doubles), `transformer` (a look back at each token of it). MISSION rows A1 to A10.
"""

from reference.autoregressive.published import PUBLISHED
from reference.table import (
    ADAMW_32,
    Demo,
    Model,
    dim,
    dim_and_values,
    dim_and_vocabulary,
    shape_and_palette,
    shape_and_values,
)

SUMS = {"epochs": 4, "batch_size": 64, "lr": 3e-3, "optimiser": "adamw", "schedule": "cosine",
        "warmup": 50, "clip_norm": 10.0}  # fmt: skip

__all__ = ["PUBLISHED", "ROWS"]

ROWS = [
    Model(
        "fvsbn", "reference.autoregressive.fvsbn:FVSBN", "autoregressive", ("A1",), "binary",
        title="FVSBN", year=1996, parents=("markov-table",),
        tiny={"dim": 6},
        arguments=dim,
        demos=(Demo("digits", train={**ADAMW_32, "epochs": 40, "lr": 0.03, "weight_decay": 0.03,
                                     "ema_decay": 0.99}),),
    ),
    Model(
        "nade", "reference.autoregressive.nade:NADE", "autoregressive", ("A2",), "binary",
        title="NADE", year=2011, parents=("fvsbn",),
        tiny={"dim": 6, "hidden": 5},
        arguments=dim,
        demos=(Demo("digits", {"hidden": 100},
                    {**ADAMW_32, "epochs": 30, "lr": 0.05, "weight_decay": 0.05,
                     "ema_decay": 0.99}),),
    ),
    Model(
        "rnade", "reference.autoregressive.rnade:RNADE",
        "autoregressive", ("A2", "A8"), "continuous",
        title="RNADE", year=2013, parents=("nade",),
        tiny={"dim": 2, "hidden": 3, "components": 2},
        arguments=dim,
        demos=(Demo("eight-gaussians", {"hidden": 50, "components": 20},
                    {"epochs": 8, "batch_size": 200, "lr": 0.02, "schedule": "cosine",
                     "ema_decay": 0.99}),),
    ),
    Model(
        "made", "reference.autoregressive.made:MADE", "autoregressive", ("A3",), "binary",
        title="MADE", year=2015, parents=("nade",),
        tiny={"dim": 6, "hidden": [16]},
        arguments=dim,
        demos=(Demo("digits", {"hidden": [500], "masks": 16},
                    {**ADAMW_32, "epochs": 150, "lr": 0.01, "weight_decay": 0.03,
                     "ema_decay": 0.995}),),
    ),
    Model(
        "markov-mlp", "reference.autoregressive.markov_mlp:MarkovMLP",
        "autoregressive", ("A4", "A9"), "integer",
        title="Markov MLP", year=2003, parents=("markov-table",),
        tiny={"dim": 4, "levels": 3, "window": 2, "hidden": [5]},
        arguments=dim_and_values,
        demos=(Demo("digits", {"window": 10, "hidden": [128], "shared": False},
                    {**ADAMW_32, "epochs": 20, "lr": 0.01, "weight_decay": 0.03}),),
    ),
    Model(
        "pixelcnn", "reference.autoregressive.pixelcnn:PixelCNN",
        "autoregressive", ("A6",), "binary",
        title="PixelCNN", year=2016, parents=("made",),
        tiny={"shape": [1, 3, 2], "levels": 2, "features": 5, "layers": 2, "first": 3},
        arguments=shape_and_values,
        demos=(Demo("digits", {"features": 15, "layers": 3, "first": 5},
                    {**ADAMW_32, "epochs": 12, "lr": 0.01, "weight_decay": 0.03,
                     "ema_decay": 0.99}),),
        shape="image",
    ),
    Model(
        "gated-pixelcnn", "reference.autoregressive.gated_pixelcnn:GatedPixelCNN",
        "autoregressive", ("A6", "A8"), "integer",
        title="Gated PixelCNN", year=2016, parents=("pixelcnn",),
        tiny={"shape": [1, 2, 3], "levels": 3, "features": 4, "layers": 2, "first": 3},
        arguments=shape_and_values,
        demos=(Demo("digits", {"features": 24, "layers": 4, "first": 5},
                    {**ADAMW_32, "epochs": 20, "lr": 0.01, "weight_decay": 0.1,
                     "ema_decay": 0.99}, full=True),),
        shape="image",
    ),
    Model(
        "image-gpt", "reference.autoregressive.image_gpt:ImageGPT",
        "autoregressive", ("A7", "A9"), "integer",
        title="ImageGPT", year=2020, parents=("transformer", "pixelcnn"),
        tiny={"shape": [1, 2, 2], "levels": 3, "palette": [[0], [1], [2]], "layers": 2, "heads": 2,
              "width": 4},
        arguments=shape_and_palette,
        demos=(Demo("digits", {"layers": 3, "width": 48},
                    {**ADAMW_32, "epochs": 20, "lr": 0.003, "weight_decay": 0.1, "warmup": 100,
                     "ema_decay": 0.99}, full=True),),
        shape="image",
    ),
    Model(
        "wavenet", "reference.autoregressive.wavenet:WaveNet", "autoregressive", ("A6",), "text",
        title="WaveNet", year=2016, parents=("rnn",),
        tiny={"dim": 5, "levels": 3, "end": 0, "layers": 2, "width": 8},
        arguments=dim_and_vocabulary,
        demos=(Demo("sums", {"layers": 4, "width": 32}, {**SUMS, "epochs": 2, "lr": 1e-2}),),
    ),
    Model(
        "rnn", "reference.autoregressive.rnn:RNN", "autoregressive", ("A5",), "text",
        title="RNN", year=1990, parents=("homogeneous-chain",),
        tiny={"dim": 5, "levels": 3, "end": 0, "hidden": 4},
        arguments=dim_and_vocabulary,
        demos=(Demo("sums", {"hidden": 64}, SUMS),
               Demo("names", {"hidden": 128}, {**SUMS, "epochs": 10}, full=True)),
    ),
    Model(
        "lstm", "reference.autoregressive.lstm:LSTM", "autoregressive", ("A5",), "text",
        title="LSTM", year=1997, parents=("rnn",),
        tiny={"dim": 5, "levels": 3, "end": 0, "hidden": 3},
        arguments=dim_and_vocabulary,
        demos=(Demo("sums", {"hidden": 64}, SUMS),
               Demo("names", {"hidden": 128}, {**SUMS, "epochs": 10}, full=True)),
    ),
    Model(
        "gru", "reference.autoregressive.gru:GRU", "autoregressive", ("A5",), "text",
        title="GRU", year=2014, parents=("lstm",),
        tiny={"dim": 5, "levels": 3, "end": 0, "hidden": 3, "layers": 2},
        arguments=dim_and_vocabulary,
        demos=(Demo("sums", {"hidden": 64}, SUMS),
               Demo("names", {"hidden": 128}, {**SUMS, "epochs": 10}, full=True)),
    ),
    Model(
        "transformer", "reference.autoregressive.transformer:Transformer", "autoregressive",
        ("A7",), "text",
        title="Transformer", year=2017, parents=("lstm",),
        tiny={"dim": 5, "levels": 3, "end": 0, "layers": 2, "heads": 2, "width": 4},
        arguments=dim_and_vocabulary,
        demos=(Demo("sums", {"layers": 2, "width": 32}, {**SUMS, "lr": 6e-3}),
               Demo("names", {"width": 64}, {**SUMS, "epochs": 20, "lr": 2e-3}, full=True),
               Demo("shakespeare", {}, {**SUMS, "epochs": 2, "batch_size": 12, "lr": 1e-3,
                                        "clip_norm": 64.0}, full=True)),
    ),
]  # fmt: skip
