"""The fast twins of the activations."""
