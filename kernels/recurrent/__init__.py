"""The fast twins of recurrent steps."""
