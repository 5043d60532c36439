"""Autoregressive models: the chain rule, with a network for each conditional.

    p(x) = Π_i p(x_i | x_<i),  so  log p(x) = Σ_i log p(x_i | x_<i)        exact, whatever the order

The probability of a sample takes one pass; drawing one takes as many steps as it has variables.
Read `fvsbn` (each conditional a logistic regression), `nade` (one hidden layer, shared), `made`
(any network, masked): one idea growing. MISSION rows A1 to A10.
"""

from reference.table import ADAMW_32, Demo, Model, dim

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
        "made", "reference.autoregressive.made:MADE", "autoregressive", ("A3",), "binary",
        title="MADE", year=2015, parents=("nade",),
        tiny={"dim": 6, "hidden": [16]},
        arguments=dim,
        demos=(Demo("digits", {"hidden": [500], "masks": 16},
                    {**ADAMW_32, "epochs": 150, "lr": 0.01, "weight_decay": 0.03,
                     "ema_decay": 0.995}),),
    ),
]  # fmt: skip
