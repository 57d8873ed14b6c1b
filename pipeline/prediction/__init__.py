"""From photos and a bundle to one row per photo.

photos + Ensemble -> the table of predictions.csv. Open `predict.py` first.
"""
