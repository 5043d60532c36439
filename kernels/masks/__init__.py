"""The fast twins of the masks operations."""
