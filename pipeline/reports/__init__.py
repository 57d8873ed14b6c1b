"""From a run to pages and pictures.

In: RUN/ and the crops in the cache. Out: report.html, contact sheets, previews of the augmentation.
Open `run_report.py` first.
"""
