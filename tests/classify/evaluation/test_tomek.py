import numpy as np
from imblearn.under_sampling import TomekLinks

from classify.evaluation.tomek import embedding_of, tomek_links


def clouds(rng, sizes, spread=1.0):
    """Points of several classes around neighbouring centres, each another person."""
    codes = np.repeat(np.arange(len(sizes)), sizes)
    points = rng.normal(0, spread, (len(codes), 5)) + codes[:, None]
    return points.astype(np.float32), codes, [str(row) for row in range(len(codes))]


def kept_rows(links, count, both):
    removed = {row for link in links for row in ((link.first, link.second) if both else (link.removed,))}
    return sorted(set(range(count)) - removed)


def test_links_are_those_of_imbalanced_learn():
    for seed in range(5):
        points, codes, people = clouds(np.random.default_rng(seed), (60, 40, 25))
        oracle = TomekLinks(sampling_strategy="all")
        oracle.fit_resample(points, codes)
        links = tomek_links(points, codes, people)
        assert links
        assert kept_rows(links, len(codes), both=True) == sorted(oracle.sample_indices_)


def test_the_larger_class_of_two_is_proposed_as_imbalanced_learn_does():
    for seed in range(5):
        points, codes, people = clouds(np.random.default_rng(seed), (30, 70))
        oracle = TomekLinks(sampling_strategy="auto")
        oracle.fit_resample(points, codes)
        links = tomek_links(points, codes, people)
        assert links
        assert kept_rows(links, len(codes), both=False) == sorted(oracle.sample_indices_)


def test_a_link_within_a_person_is_listed_without_a_proposal():
    points = np.array([[0.0], [0.1], [5.0], [5.1], [9.0]], dtype=np.float32)
    links = tomek_links(points, np.array([0, 1, 0, 1, 1]), ["a", "a", "b", "c", "d"])
    found = {(link.first, link.second): (link.same_person, link.removed) for link in links}
    assert found == {(0, 1): (True, None), (2, 3): (False, 3)}


def test_copies_of_one_photo_with_two_labels_are_a_link():
    points = np.array([[1.0, 1.0], [1.0, 1.0], [4.0, 4.0]], dtype=np.float32)
    [link] = tomek_links(points, np.array([0, 1, 1]), ["a", "b", "c"])
    assert (link.first, link.second, link.distance) == (0, 1, 0)


def test_unlabelled_and_single_photos_have_no_links():
    points = np.array([[0.0], [0.1], [0.2]], dtype=np.float32)
    assert tomek_links(points, np.array([0, -1, 0]), ["a", "b", "c"]) == []
    assert tomek_links(points[:1], np.array([0]), ["a"]) == []


def test_an_embedding_depends_on_the_directions_of_the_features_only():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(90, 100)).astype(np.float32)
    embedding, longer = embedding_of(features), embedding_of(features * rng.uniform(1, 9, (90, 1)).astype(np.float32))
    assert embedding.shape == (90, 64)
    np.testing.assert_allclose(embedding, longer, atol=1e-4)
    assert embedding_of(features[:3]).shape == (3, 3)
