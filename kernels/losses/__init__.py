"""The fast twins of the losses."""
