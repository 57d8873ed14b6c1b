"""From a run to pages and pictures.

RUN/ -> report.html, contact sheets, augmentation previews. Open `run_report.py` first.
"""
