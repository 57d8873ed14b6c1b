"""The command line: each command parses its options, calls the rooms below, and prints what came out.

In: words typed after `faceline`. Out: tables, one JSON object with --json, and an exit code. Open `app.py` for the
list of commands; a command is in the module of its name. Options that several commands share are in `options.py`.
"""
