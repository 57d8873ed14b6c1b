"""Masks drawn on maskless faces, so that a network sees more masks than were photographed.

In: an RGB face and five landmarks. Out: the same face in a mask. Open `synthesis.py` first.
"""
