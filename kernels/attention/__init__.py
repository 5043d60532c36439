"""The fast twins of the attention operations."""
