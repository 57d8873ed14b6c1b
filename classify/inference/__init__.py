"""From crops and a trained bundle to probabilities and answers.

images -> probabilities of each network -> mean over networks -> calibration -> decision rule -> class. Open
`decision.py` first to see how probabilities become an answer.
"""
