"""The fast twins of the diffusion operations."""
