"""Settings compared with each other on the same folds of the same people.

DATA + settings files -> a run each -> macro-F1 side by side with paired differences. Open `compare.py` first.
"""
