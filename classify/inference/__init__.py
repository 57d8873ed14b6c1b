"""From crops and a trained bundle to probabilities and answers.

images -> probabilities of each network -> mean of the ensemble -> calibration -> decision rule -> class. Open
`decision.py` to see how an answer is chosen from probabilities.
"""
