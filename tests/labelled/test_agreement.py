"""Agreement of two people's labels: known values of kappa, what its interval covers, and the merge of both."""

import numpy as np
import pytest

from radio_ag.errors import InputError
from radio_ag.labelled.agreement import Agreement, compare_labels, merge_labels
from radio_ag.labelled.labels import Labels


def made(names, labels, confidence=None):
    columns = {"name": names, "label": labels}
    return Labels.of(columns | ({} if confidence is None else {"confidence": confidence}))


def agreement(table):
    table = np.asarray(table)
    return Agreement(tuple(map(str, range(len(table)))), table, 0, 0, ())


def test_kappa_of_a_published_table():
    """Fleiss, Levin & Paik 2003, Statistical Methods for Rates and Proportions, Table 18.1: kappa 0.68, error 0.087."""
    found = agreement([[75, 1, 4], [5, 4, 1], [0, 0, 10]])
    assert found.kappa == pytest.approx(0.68, abs=0.005)
    assert np.diff(found.kappa_interval)[0] / 2 / 1.96 == pytest.approx(0.087, abs=0.001)


def test_agreement_and_its_interval():
    found = agreement([[40, 10], [10, 40]])
    assert found.agreement == 0.8
    assert found.agreement_interval == pytest.approx((0.7112, 0.8666), abs=1e-4)  # Wilson 1927
    assert found.kappa == pytest.approx(0.6)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    truth = np.array([[0.35, 0.05, 0.02], [0.06, 0.25, 0.03], [0.02, 0.04, 0.18]])
    chance = truth.sum(axis=1) @ truth.sum(axis=0)
    kappa = (np.trace(truth) - chance) / (1 - chance)
    rng = np.random.default_rng(0)
    tables = rng.multinomial(150, truth.ravel(), size=2000).reshape(-1, 3, 3)
    covered = [low <= kappa <= high for low, high in (agreement(table).kappa_interval for table in tables)]
    assert 0.93 < np.mean(covered) < 0.965


def test_kappa_is_not_defined_where_there_is_one_class_or_no_source():
    for table in ([[5, 0], [0, 0]], [[0, 0], [0, 0]]):
        assert np.isnan(agreement(table).kappa)
        assert np.isnan(agreement(table).kappa_interval).all()


def test_sources_in_both_are_counted_by_their_labels():
    found = compare_labels(
        made(list("abcd"), ["FRI", "FRI", "FRII", "x"]), made(list("ecba"), ["x", "FRII", "bent", "FRI"])
    )
    assert found.classes == ("FRI", "FRII", "bent", "x")
    assert found.table.tolist() == [[1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert (found.sources, found.only_first, found.only_second) == (3, 1, 1)
    assert found.differing == ("b",)


def test_labels_are_merged_by_confidence_or_refused():
    first = made(list("abcd"), ["FRI", "FRI", "FRII", "x"], [1, 0.5, 0.5, 0.5])
    second = made(list("bacx"), ["FRII", "FRI", "x", "new"], [1, 0.5, 0.5, 1])
    merged, undecided = merge_labels(first, second, "confidence")
    assert merged.name.tolist() == ["a", "b", "d", "x"]
    assert merged.label.tolist() == ["FRI", "FRII", "x", "new"]
    assert merged.confidence.tolist() == [1, 1, 0.5, 1]
    assert undecided == ["c"]
    with pytest.raises(InputError, match="labels differ for 2 of 3 sources: b, c"):
        merge_labels(first, second)
    with pytest.raises(InputError, match="merged by confidence or refuse, not 'vote'"):
        merge_labels(first, second, "vote")
