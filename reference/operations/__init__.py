"""The definitions of operations that have fast twins."""
