"""Masks drawn on faces that wear none, so that a network sees more masks than were photographed.

RGB face + five landmarks -> the same face in a mask. Open `synthesis.py` first.
"""
