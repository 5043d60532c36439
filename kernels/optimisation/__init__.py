"""The fast twins of optimisers' steps."""
