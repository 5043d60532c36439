"""The fast twins of all conditionals of an autoregressive model at once, for training."""
