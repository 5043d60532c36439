"""The fast twins of the histogram operations."""
