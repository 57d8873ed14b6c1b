"""From photos and bundles to predictions.

In: photos and an Ensemble. Out: the table of predictions.csv, a row per photo. Open `predict.py` first.
"""
