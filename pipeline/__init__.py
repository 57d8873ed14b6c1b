"""From a folder of photos to predictions, scores and reports, with the help of the other three packages.

In: photos, and labels where there are any. Out: crops in the cache, and a run folder. Open `chain.py` first: it has a
whole run, from photos to report, in one function.

The order of the packages inside is intake, detection, prediction, evaluation, training, reports, labels, then
`chain.py`, experiments, demo and commands. Each imports only those before it.
"""
