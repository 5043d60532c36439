"""The fast twins of decoding: a token from its logits, and whole texts from models of them."""
