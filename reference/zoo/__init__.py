"""The zoo: the command line, runs, the report."""
