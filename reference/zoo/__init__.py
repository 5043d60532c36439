"""The zoo: every model trained by one command, kept, sampled, scored, and shown on a page.

`cli` is what is typed; `commands`, `runs` and `session` what it does; `job` and `entry` train the
whole table; `report`, `tables`, `cards`, `figures` and `pictures` show it; `compare` sets two
results side by side. MISSION row Z.
"""
