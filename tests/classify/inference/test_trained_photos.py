import hashlib

from classify.inference.trained_photos import UNKNOWN, TrainedPhotos

SOURCES = [hashlib.sha256(bytes([number])).hexdigest() for number in range(50)]


def test_the_photos_of_a_run_have_their_fold_and_others_have_none():
    record = TrainedPhotos.of(SOURCES[:40], [number % 5 for number in range(40)])
    again = TrainedPhotos.from_bytes(record.to_bytes())
    expected = [number % 5 if number < 40 else UNKNOWN for number in range(50)]
    assert again.folds_of(SOURCES).tolist() == expected
    assert again.folds_of([SOURCES[3], "", SOURCES[45]]).tolist() == [3, UNKNOWN, UNKNOWN]
    assert len(record.to_bytes()) < 40 * 10 + 200


def test_nothing_is_known_of_no_photos():
    assert TrainedPhotos.of([], []).folds_of(SOURCES[:2]).tolist() == [UNKNOWN, UNKNOWN]
    assert TrainedPhotos.of(SOURCES[:2], [0, 1]).folds_of([]).tolist() == []


def test_a_file_that_is_there_twice_is_one_photo():
    assert len(TrainedPhotos.of([SOURCES[0], SOURCES[0]], [2, 2]).keys) == 1
