"""The command line: parse, call one function, print.

Open `app.py` first. Options that several commands share are in `options.py`.
"""
