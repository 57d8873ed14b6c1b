"""From folders and tables to photos with labels, and what is wrong with them.

a data folder, a table or a folder of photos -> Dataset of Photo rows. Open `load.py` first.
"""
