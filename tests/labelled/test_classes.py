"""What labels stand for: as they come, chosen, merged, renamed, and refused."""

import numpy as np
import pytest

from radio_ag.errors import CatalogueError, InputError
from radio_ag.labelled.classes import FANAROFF_RILEY, class_rule


def test_fri_and_frii_leave_the_others_out():
    rule = class_rule({"FRI", "FRII", "Bent", "hybrid"})
    assert rule is FANAROFF_RILEY
    assert rule.numbers(["FRII", " FRI", "Bent", "HYBRID"], "x").tolist() == [1, 0, -1, -1]
    with pytest.raises(CatalogueError, match=r"x is 'FR1' in row 1 .1 such rows.; accepted are FRI and FRII"):
        rule.numbers(["FRI", "FR1"], "x")


def test_labels_as_they_come():
    rule = class_rule({"triple", "single", "double", ""})
    assert rule.classes == ("double", "single", "triple")
    assert rule.numbers(["single", "", "triple"], "x").tolist() == [1, -1, 2]
    assert class_rule({"Bent", "FRII", "FRI"}, "all").classes == ("FRI", "FRII", "Bent")


def test_labels_chosen_merged_and_renamed():
    rule = class_rule({"FRI", "FRII", "WAT", "NAT", "point"}, "FRII,FRI,Bent=WAT+NAT")
    assert rule.classes == ("FRII", "FRI", "Bent")
    assert rule.numbers(np.array(["FRI", "NAT", "point", "WAT", "FRII"]), "x").tolist() == [1, 2, -1, 2, 0]


def test_classes_of_a_card_take_labels_of_any_letter_case():
    rule = class_rule({"fri", "FRII", "bent", "hybrid"}, ("FRI", "FRII", "Bent"))
    assert rule.numbers(["bent", "fri", "FRII", "hybrid"], "x").tolist() == [2, 0, 1, -1]
    with pytest.raises(CatalogueError, match="'ring'"):
        rule.numbers(["ring"], "x")


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ("FRI,FRI", "'FRI' stands there twice"),
        ("FRI,ring", "no source is labelled 'ring'; labels are FRI, FRII"),
        ("FRI", "1 .FRI., accepted are 2 to 20"),
        ("FRI,fri=FRII", "'FRI' is taken"),
        ("FRI,clean=FRII", "'clean' is taken"),
        ("FRI,%=FRII", "'%' is no name of a class"),
    ],
)
def test_classes_that_cannot_be(classes, message):
    with pytest.raises(InputError, match=message):
        class_rule({"FRI", "FRII"}, classes)


def test_more_classes_than_a_network_may_have():
    with pytest.raises(InputError, match=r"21 .*accepted are 2 to 20"):
        class_rule({f"kind {n}" for n in range(21)})
