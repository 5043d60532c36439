"""The fast twins of convolutions."""
