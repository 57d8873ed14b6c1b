"""From folders and tables to labelled photos, and what is wrong with them.

In: a data folder, a table or a plain folder of photos. Out: a `Dataset` of `Photo` rows and `Defect` entries.
`load.py` reads it, `corrections.py` corrects its labels, `check.py` looks for defects in it. Open `load.py` first.
"""
