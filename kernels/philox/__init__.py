"""The fast twins of the philox operations."""
