"""From predictions and true labels to scores.

predictions.csv + a table of answers, or a run's held-out people -> scores with intervals, per task and joint. Open
`score_predictions.py` first.
"""
