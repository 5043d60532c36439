"""Distributions that are learned by counting: everything is a table of relative frequencies.

    π̂_k = n_k / n        of n samples, n_k had the value k: the maximum-likelihood categorical

Read `frequencies` (the rule, its smoothing, drawing from a table), `histogram` (one table for all
variables together: 2^m − 1 numbers for m bits, the curse of dimensionality), `markov` (the chain
rule, each variable seeing a few before it), `homogeneous_chain` (one table for all of them),
`naive_bayes` and its kinds, `categorical_`, `gaussian_` and `kernel_naive_bayes` (each variable on
its own, given a class), and `logistic_regression`, the twin that learns p(y|x) and no p(x).
"""

from reference.counting.published import PUBLISHED
from reference.table import (
    Demo,
    Model,
    dim,
    dim_and_box,
    dim_and_classes,
    dim_classes_and_examples,
    dim_classes_and_levels,
)

__all__ = ["PUBLISHED", "ROWS"]

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
        "homogeneous-chain", "reference.counting.homogeneous_chain:HomogeneousChain",
        "autoregressive", ("H2",), "binary",
        title="Markov chain, one table", year=1906, parents=("histogram",),
        tiny={"dim": 6},
        arguments=dim,
        demos=(),
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
        "categorical-naive-bayes",
        "reference.counting.categorical_naive_bayes:CategoricalNaiveBayes",
        "class-conditional", ("H3", "H4"), "integer",
        title="Categorical naive Bayes", year=1961, parents=("naive-bayes",),
        tiny={"dim": 4, "classes": 3, "levels": 4},
        arguments=dim_classes_and_levels,
        demos=(),
    ),
    Model(
        "gaussian-naive-bayes", "reference.counting.gaussian_naive_bayes:GaussianNaiveBayes",
        "class-conditional", ("H3", "H4"), "continuous",
        title="Gaussian naive Bayes", year=1973, parents=("naive-bayes",),
        tiny={"dim": 2, "classes": 3},
        arguments=dim_and_classes,
        demos=(Demo("eight-gaussians"),),
    ),
    Model(
        "shared-variance-naive-bayes",
        "reference.counting.gaussian_naive_bayes:SharedVarianceNaiveBayes",
        "class-conditional", ("H3", "H5"), "continuous",
        title="Gaussian naive Bayes, one variance", year=1973, parents=("gaussian-naive-bayes",),
        tiny={"dim": 2, "classes": 3},
        arguments=dim_and_classes,
        demos=(),
    ),
    Model(
        "kernel-naive-bayes", "reference.counting.kernel_naive_bayes:KernelNaiveBayes",
        "class-conditional", ("H3", "H4"), "continuous",
        title="Kernel naive Bayes", year=1995, parents=("gaussian-naive-bayes",),
        tiny={"dim": 2, "classes": 3, "examples": 300},
        arguments=dim_classes_and_examples,
        demos=(),
    ),
    Model(
        "logistic-regression", "reference.counting.logistic_regression:LogisticRegression",
        "discriminative", ("H5",), "continuous",
        title="Logistic regression", year=1958, parents=(),
        tiny={"dim": 2, "classes": 3},
        arguments=dim_and_classes,
        demos=(),
    ),
]  # fmt: skip
