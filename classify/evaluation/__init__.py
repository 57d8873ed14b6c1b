"""How good predictions and labels are: macro-F1 with intervals, paired differences, doubtful labels.

true and predicted class indices, probabilities, people -> scores, intervals, suspects. Open `metrics.py` first.
"""
