"""Doubtful labels: suspects by held-out probabilities, Tomek links, and trial runs of corrections.

In: DATA and a run that held out or trained on it. Out: suspects.csv with a page, or tomek.csv with a table of
corrections to apply. Open `suspects.py` first.
"""
