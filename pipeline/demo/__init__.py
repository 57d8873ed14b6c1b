"""Drawn people, for the demo, the tests and the benchmarks.

In: a seed and a number of people. Out: a data set in the competition's layout. Open `dataset.py` first, `run_demo.py`
for the command.
"""
