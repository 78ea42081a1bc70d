"""Probabilities for another share of FRII."""

import numpy as np
import pytest
from run_examples import Doubles, classify, positions

from radio_ag import Result
from radio_ag.errors import InputError
from radio_ag.prior import with_prior


def test_by_hand():
    """Odds of 1:1 where a fifth was FRII become 4:1 where half are; the way back leads back."""
    np.testing.assert_allclose(with_prior([0.5, 0.2, np.nan], 0.2, 0.5), [0.8, 0.5, np.nan])
    np.testing.assert_allclose(with_prior(with_prior([0.1, 0.9], 0.6, 0.3), 0.3, 0.6), [0.1, 0.9])


def test_it_is_bayes_theorem():
    """Scores of two classes drawn 1:1, their true posterior, and the share that is right among those drawn 1:4."""
    rng = np.random.default_rng(0)
    label = rng.random(400_000) < 0.2
    score = rng.normal(np.where(label, 1, -1), 1.5)
    even = 1 / (1 + np.exp(-2 * score / 1.5**2))
    found = with_prior(even, 0.5, 0.2)
    for low in np.arange(0.0, 0.9, 0.1):
        rows = (found >= low) & (found < low + 0.1)
        assert label[rows].mean() == pytest.approx(found[rows].mean(), abs=0.01)


@pytest.mark.parametrize("share", [0, 1, -0.1, 2])
def test_bad_shares_are_named(share):
    with pytest.raises(InputError, match="prior must be between 0 and 1, not"):
        with_prior([0.5], 0.5, share)


def test_a_run_and_its_result_agree(tmp_path):
    """`--prior` gives what `Result.with_prior` makes of the plain run, classes and flags too; also out of a product."""
    options = {"images": Doubles(), "weights": "agcnn-first-fast", "device": "cpu", "orbit": 1, "attention": "none"}
    rows = positions(8)
    plain = classify(rows, **options, output=tmp_path / "plain.fits")
    asked = classify(rows, **options, prior=0.05, output=tmp_path / "asked.fits")
    for result in (plain, Result.read(tmp_path / "plain.fits")):
        made = result.with_prior(0.05)
        for ours, theirs in ((made.table, asked.table), (made.sources, asked.sources)):
            for name in ("p_fri", "p_frii", "probability"):
                np.testing.assert_allclose(ours[name].filled(-1), theirs[name].filled(-1), atol=1e-6)
            assert list(ours["class"].filled("")) == list(theirs["class"].filled(""))
            assert list(ours["flags"]) == list(theirs["flags"])
    changed = np.asarray(plain.table["p_frii"].filled(-1)) != np.asarray(asked.table["p_frii"].filled(-1))
    assert changed.any()
    assert Result.read(tmp_path / "asked.fits").provenance["prior"] == 0.05
    back = asked.with_prior(plain.provenance["learnt_frii_share"])
    np.testing.assert_allclose(back.table["p_frii"].filled(-1), plain.table["p_frii"].filled(-1), atol=1e-6)


def test_weights_that_do_not_tell_their_share_are_named(weights):
    with pytest.raises(InputError, match="prior: the card of untrained does not tell the share of FRII"):
        classify(positions(1), images=Doubles(), weights=weights, device="cpu", prior=0.5)
