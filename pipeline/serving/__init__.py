"""Photos over HTTP -> predictions, with a page to drop photos on. Open `server.py` first.

It needs the extra `serve`; nothing here is imported by other packages than the command line.
"""
