"""Distributions that are learned by counting: everything is a table of relative frequencies.

    π̂_k = n_k / n        of n samples, n_k had the value k: the maximum-likelihood categorical

Read `frequencies` (the rule, its smoothing, drawing from a table), `histogram` (one table for all
variables together: 2^m − 1 numbers for m bits, the curse of dimensionality), `markov` (the chain
rule, each variable seeing a few before it), `naive_bayes` and `gaussian_naive_bayes` (each variable
on its own, given a class), and `logistic_regression`, the twin that learns p(y|x) and no p(x).
"""

from reference.table import Demo, Model, dim, dim_and_box, dim_and_classes

ROWS = [
    Model(
        "histogram", "reference.counting.histogram:Histogram", "histogram", ("H1",), "continuous",
        title="Histogram", year=1895, parents=(),
        tiny={"dim": 2, "bins": 6, "low": -3.0, "high": 3.0},
        arguments=dim_and_box,
        demos=(Demo("eight-gaussians", {"bins": 60, "alpha": 0.05}),),
    ),
    Model(
        "markov-table", "reference.counting.markov:MarkovTable",
        "autoregressive", ("H2",), "binary",
        title="Markov chain by counting", year=1906, parents=("histogram",),
        tiny={"dim": 6, "order": 2},
        arguments=dim,
        demos=(Demo("digits", {"order": 9, "alpha": 0.2}),),
    ),
    Model(
        "naive-bayes", "reference.counting.naive_bayes:BernoulliNaiveBayes",
        "class-conditional", ("H3", "H4"), "binary",
        title="Naive Bayes", year=1961, parents=("histogram",),
        tiny={"dim": 6, "classes": 3},
        arguments=dim_and_classes,
        demos=(Demo("digits", {"alpha": 0.01}),),
    ),
    Model(
        "gaussian-naive-bayes", "reference.counting.gaussian_naive_bayes:GaussianNaiveBayes",
        "class-conditional", ("H3", "H4"), "continuous",
        title="Gaussian naive Bayes", year=1973, parents=("naive-bayes",),
        tiny={"dim": 2, "classes": 3},
        arguments=dim_and_classes,
        demos=(Demo("eight-gaussians"),),
    ),
]  # fmt: skip
