"""From a folder of photos to predictions, scores and reports: everything that needs the other three packages.

Rooms in the order of a photo's way: intake, detection, prediction, evaluation, training, reports, labels, then
`chain.py` (a whole run from photos to report), experiments, demo and commands. Each imports only those before it.
"""
