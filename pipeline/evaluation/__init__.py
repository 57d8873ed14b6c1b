"""From predictions and labels to scores.

In: predictions.csv and a table of labels, or the held-out people of runs. Out: scores with 95% intervals, per task and
for the joint class, and the weights of an ensemble. Open `score_predictions.py` first.
"""
