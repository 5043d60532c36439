"""Measurements of what the tables list; `python -m bench` runs them all."""
