import numpy as np

from pipeline.reports.contact_sheets import CELL_WIDTH, GAP, contact_sheet

PICTURE = np.zeros((160, 120, 3), np.uint8)


def test_a_sheet_is_no_wider_than_its_pictures():
    assert contact_sheet([PICTURE] * 3, [""] * 3, columns=8).shape[1] == 3 * (CELL_WIDTH + GAP) + GAP


def test_a_long_caption_stays_below_its_picture():
    sheet = contact_sheet([PICTURE] * 2, ["0" * 40, ""])
    left = sheet[170:, : GAP + CELL_WIDTH]
    right = sheet[170:, GAP + CELL_WIDTH + GAP :]
    assert (left < 250).any()
    assert (right == 250).all()
