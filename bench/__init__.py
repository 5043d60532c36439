"""Measurements of what the tables list.

`python -m bench` runs them all, on a stated number of threads, and keeps what came of it.
`pytest bench --benchmark-only` runs them under pytest-benchmark, with its options to select
(`-k "histogram and numpy"`), save and compare: an entry for each operation, case and contestant, in
groups by operation and case, in seconds per call. On a machine with other work,
`--benchmark-timer=time.process_time` counts the processor's time only. `genzoo bench` times a
function of yours beside ours.
"""
