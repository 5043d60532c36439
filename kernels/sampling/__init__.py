"""The fast twins of the sampling operations."""
