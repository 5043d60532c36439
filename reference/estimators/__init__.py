"""The classical models, and a flow, as scikit-learn estimators: adapters that pass its own checks.

They turn any labels into 0, 1, …, find sizes in the data, and otherwise call the model, which is at
`model_` after fit. Only this folder imports scikit-learn; import it where it's needed.
MISSION rows H1, H3, H4, H5, L1, N1.
"""

from reference.estimators.classifiers import (
    BernoulliNaiveBayesClassifier,
    CategoricalNaiveBayesClassifier,
    GaussianNaiveBayesClassifier,
    KernelNaiveBayesClassifier,
    LogisticRegressionClassifier,
)
from reference.estimators.densities import (
    BernoulliMixtureDensity,
    GaussianMixtureDensity,
    HistogramDensity,
    RealNVPDensity,
)

__all__ = [
    "BernoulliMixtureDensity",
    "BernoulliNaiveBayesClassifier",
    "CategoricalNaiveBayesClassifier",
    "GaussianMixtureDensity",
    "GaussianNaiveBayesClassifier",
    "HistogramDensity",
    "KernelNaiveBayesClassifier",
    "LogisticRegressionClassifier",
    "RealNVPDensity",
]
