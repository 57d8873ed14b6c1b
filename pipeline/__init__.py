"""The way in: command line, settings, data intake, the chain, records and reports.

Open `chain.py` to see a whole run from photos to report, and `cli.py` for the commands. This room knows the other
three; none of them knows it.
"""
