"""How good is a model: judges that ask it on data nobody trained on.

    nats   −mean log p(x)          an explicit model's likelihood, or a bound on it
    MMD²   ‖mean φ(x) − mean φ(y)‖²      and a classifier's accuracy: can samples be told from data?
    d²     Fréchet's, and what neighbours and classes say: what is wrong with samples of digits?

Read `likelihood` (with the baselines any figure needs beside it), then `two_sample`, which needs
only samples, and so judges every model. `fidelity` looks at samples of digits in the features of a
classifier (`digit_classifier`, kept by `trained`) with `frechet`, `neighbours` and `classes`.
`estimates` (means of samples and how far off they are: entropy, KL, importance sampling) and
`coding` (what a likelihood is worth in bits) need a likelihood and no data set. MISSION rows F1,
F3, F5, F10, G2, G3.
"""
