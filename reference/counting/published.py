"""Figures of models that count, beside published ones (`genzoo reproduce`)."""

from reference.table import Published

PUBLISHED = [
    Published(
        "homogeneous-chain", "names", 2.454, "makemore: a bigram table of all names", 0.1,
        {"levels": 27, "alpha": 0.0}, {"epochs": 1},
        digits=3, characters=True, domain="text", whole=True,
    ),
    Published(
        "histogram", "binarized-mnist", None, "one table of all 65 536 states", 0.5,
        {"levels": 2, "low": None, "high": None}, {"epochs": 1},
        choose={"alpha": [0.003, 0.01, 0.03, 0.1, 0.3]},
        beats="independent Bernoulli", domain="binary", centre=4, variant="centre",
    ),
]  # fmt: skip
