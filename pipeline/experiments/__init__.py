"""Settings compared with each other on the same folds of the same people.

In: DATA and settings files. Out: a run for each configuration, seed and fold, and macro-F1 side by side with paired
differences (compare.json, compare.md). `compare.py` trains the runs, `results.py` scores them. Open `compare.py` first.
"""
