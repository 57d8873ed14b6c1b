"""Doubtful labels: suspects by held-out probabilities, Tomek links, and tables of corrections.

RUN/validation.csv + DATA -> suspects.csv, a page to look at, and corrections to apply. Open `suspects.py` first.
"""
