"""How good predictions and labels are: macro-F1 with intervals, paired differences, doubtful labels.

In: true and predicted class indices, probabilities, people. Out: scores with intervals, suspects, Tomek links. Open
`metrics.py` first.
"""
