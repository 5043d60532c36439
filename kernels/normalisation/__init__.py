"""The fast twins of norms."""
