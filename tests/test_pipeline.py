"""The whole way from a catalogue to a product."""

import threading

import numpy as np
import pytest
import torch
from astropy.io import fits
from astropy.table import QTable, Table
from astropy.wcs import WCS
from run_examples import classify

from radio_ag import Result
from radio_ag.attention.statistics import attention_statistics
from radio_ag.catalog_io.images.fields import Fields
from radio_ag.catalog_io.open_images import open_images
from radio_ag.errors import InputError, OutputError, ServiceError
from radio_ag.evaluation.served import classify_served
from radio_ag.flags import Flag
from radio_ag.labelled.data import Labelled
from radio_ag.network.checkpoints import import_checkpoint, load_weights, save_weights
from radio_ag.network.classifier import Classifier
from radio_ag.network.model import AGCNN, Architecture
from radio_ag.preprocess.images import clip, crop, normalise
from radio_ag.preprocess.islands import measure_islands
from radio_ag.preprocess.noise import estimate_rms
from radio_ag.simulated import make_field, make_mosaic


@pytest.fixture(scope="module")
def sky(tmp_path_factory):
    """A simulated mosaic on disk and its sources."""
    mosaic, truth = make_mosaic(size=1200, n_sources=8, seed=11)
    path = tmp_path_factory.mktemp("sky") / "mosaic.fits"
    mosaic.writeto(path)
    return path, truth


@pytest.fixture
def run(sky, weights):
    """Classify with the module's mosaic and weights, on the CPU."""

    def run(catalogue, **options):
        return classify(catalogue, **({"images": sky[0], "weights": weights, "device": "cpu", "orbit": 1} | options))

    return run


class Stack:
    """Images from memory: row i of the catalogue gets field i."""

    name = "stack"

    def __init__(self, fields, statuses=None):
        self.fields, self.statuses = fields, statuses or ["ok"] * len(fields)
        self.asked = []
        self.threads = set()

    def describe(self):
        return {"survey": "none", "service": "memory"}

    def fetch(self, ra, dec):
        self.threads.add(threading.current_thread().name)
        result = Fields.blank(len(ra))
        for row, number in enumerate(np.rint(ra).astype(int)):
            self.asked.append(number)
            if self.statuses[number] == "ok":
                result.data[row], result.flags[row], result.status[row] = self.fields[number], 0, "ok"
            else:
                result.fail(row, self.statuses[number], "http://service.invalid/")
        return result


def _positions(n):
    return Table({"ra": np.arange(n, dtype=float), "dec": np.zeros(n)}, units={"ra": "deg", "dec": "deg"})


@pytest.fixture(scope="module")
def fields(sky):
    """Five fields of the mosaic."""
    path, truth = sky
    with fits.open(path) as hdus:
        data = np.pad(hdus[0].data.astype(np.float32), 150, constant_values=0)
        x, y = WCS(hdus[0].header).celestial.all_world2pix(truth["ra"][:5], truth["dec"][:5], 0)
    starts = [(round(float(b)) + 1, round(float(a)) + 1) for a, b in zip(x, y, strict=True)]
    noise = np.random.default_rng(0).normal(0, 1e-7, (300, 300)).astype(np.float32)
    return np.stack([data[b : b + 300, a : a + 300] + noise for b, a in starts])


def test_rows_columns_and_order_are_those_of_the_catalogue(sky, run, tmp_path):
    truth = sky[1]
    catalogue = truth[::-1].copy()
    catalogue["class"] = [f"mine {i}" for i in range(len(catalogue))]
    result = run(catalogue, output=tmp_path / "out.fits")
    for table in (result.table, Result.read(tmp_path / "out.fits").table):
        assert len(table) == len(catalogue)
        np.testing.assert_allclose(table["ra"], catalogue["ra"])
        assert list(table["in_class"]) == list(catalogue["class"])
        assert list(table["kind"]) == list(catalogue["kind"])
        assert set(table["class"]) <= {"FRI", "FRII"}
        np.testing.assert_allclose(table["p_fri"] + table["p_frii"], 1, atol=1e-6)
        np.testing.assert_allclose(table["probability"], np.maximum(table["p_fri"], table["p_frii"]))


def test_measurements_are_those_of_the_sky(sky, run):
    truth = sky[1]
    result = run(truth)
    np.testing.assert_allclose(result.table["rms"], 1.5e-4, rtol=0.05)
    brightest = np.array([fits.getdata(sky[0]).max()])
    assert result.table["peak"].max() == pytest.approx(brightest[0], rel=1e-5)
    np.testing.assert_allclose(result.table["snr"], result.table["peak"] / result.table["rms"], rtol=1e-5)
    compact = truth["kind"] == "compact"
    unresolved = (result.table["flags"] & Flag.UNRESOLVED) != 0
    np.testing.assert_array_equal(unresolved, compact)


def test_attention_lies_on_the_sky_where_the_cutout_does(sky, run):
    """The WCS of each attention map puts the source's position at its centre, as the mosaic's own WCS does."""
    result = run(sky[1])
    mosaic = WCS(fits.getheader(sky[0])).celestial
    for row in range(len(result)):
        attention = result.attention(row)
        assert attention.shape == (150, 150)
        position = (sky[1]["ra"][row], sky[1]["dec"][row])
        x, y = attention.wcs.all_world2pix(*position, 0)
        assert (x, y) == pytest.approx((74.5, 74.5), abs=0.51)
        whole_x, whole_y = mosaic.all_world2pix(*position, 0)
        corner = mosaic.all_pix2world(whole_x - x, whole_y - y, 0)
        assert attention.wcs.all_world2pix(*corner, 0) == pytest.approx((0, 0), abs=0.02)


def test_same_run_twice_gives_the_same_data_units(sky, run, tmp_path):
    for name in ("a.fits", "b.fits"):
        run(sky[1], output=tmp_path / name, attention="gates")
    with fits.open(tmp_path / "a.fits") as a, fits.open(tmp_path / "b.fits") as b:
        assert [h.name for h in a] == [
            "PRIMARY",
            "CLASSIFICATION",
            "SOURCES",
            "ATTENTION",
            *(f"ATTENTION_{i}" for i in (1, 2, 3)),
        ]
        assert [h.header.get("DATASUM") for h in a] == [h.header.get("DATASUM") for h in b]


def test_answers_do_not_depend_on_the_chunks(run, fields):
    whole = run(_positions(5), images=Stack(fields)).table
    pieces = run(_positions(5), images=Stack(fields), chunk=2).table
    np.testing.assert_allclose(pieces["p_frii"], whole["p_frii"], atol=1e-5)
    np.testing.assert_array_equal(pieces["flags"], whole["flags"])
    np.testing.assert_array_equal(pieces["attention_plane"], whole["attention_plane"])


def test_fetching_has_a_thread_of_its_own(run, fields):
    source = Stack(fields)
    run(_positions(5), images=source, chunk=1)
    assert sorted(source.asked) == list(range(5))
    assert all(name.startswith("radio-ag-fetch") for name in source.threads)


def test_every_row_without_an_answer_says_why(run, fields):
    fields = fields.copy()
    rng = np.random.default_rng(1)
    fields[1] = rng.normal(0, 1e-4, (300, 300))  # nothing there
    fields[2, :, 280:] = np.nan  # partly blank
    fields[3] = 0  # a constant field is blank
    catalogue = _positions(7)
    catalogue["dec"][6] = 95.0
    statuses = ["ok"] * 4 + ["no_coverage", "timeout"]
    source = Stack(np.concatenate([fields, fields]), statuses)
    source_fetch = source.fetch

    def fetch(ra, dec):
        result = source_fetch(ra, dec)
        result.flags[[status == "no_coverage" for status in result.status]] = Flag.NO_COVERAGE
        return result

    source.fetch = fetch
    table = run(catalogue, images=source, max_failed=0.25).table
    assert len(table) == 7
    flags = [Flag(int(f)) for f in table["flags"]]
    assert flags[1] & Flag.EMPTY
    assert flags[2] & Flag.BLANKED
    assert flags[3] == Flag.BLANKED | Flag.NO_COVERAGE
    assert flags[4:] == [Flag.NO_COVERAGE, Flag.FETCH_FAILED, Flag.BAD_POSITION]
    answered = np.array([True, False, True, False, False, False, False])
    np.testing.assert_array_equal(np.ma.getmaskarray(table["class"]), ~answered)
    np.testing.assert_array_equal(np.ma.getmaskarray(table["probability"]), ~answered)
    np.testing.assert_array_equal(table["attention_plane"] >= 0, answered)
    assert 6 not in source.asked


def test_service_that_is_down_ends_the_run_at_once(run, fields, tmp_path):
    source = Stack(fields, ["timeout", "connection"] * 2 + ["timeout"])
    with pytest.raises(
        ServiceError, match=r"none of the first 2 images came \(connection, timeout\).*service\.invalid"
    ):
        run(_positions(5), images=source, chunk=2, output=tmp_path / "out.fits")
    assert list(tmp_path.iterdir()) == []
    assert len(source.asked) <= 4


def test_a_failure_in_the_middle_leaves_no_product_but_the_parts(run, fields, tmp_path):
    class Interrupted(Stack):
        def fetch(self, ra, dec):
            if len(self.asked) > 2:
                raise KeyboardInterrupt
            return super().fetch(ra, dec)

    with pytest.raises(KeyboardInterrupt):
        run(_positions(5), images=Interrupted(fields), chunk=1, output=tmp_path / "out.fits")
    assert [path.name for path in tmp_path.iterdir()] == ["out.parts"]
    assert len(list(tmp_path.glob("out.parts/part-*.npz"))) == 3


def test_existing_product_is_found_out_before_the_work(run, fields, tmp_path):
    (tmp_path / "out.fits").write_text("precious")
    source = Stack(fields)
    with pytest.raises(OutputError, match=r"out\.fits exists"):
        run(_positions(5), images=source, output=tmp_path / "out.fits")
    assert source.asked == []
    assert (tmp_path / "out.fits").read_text() == "precious"


@pytest.mark.parametrize("attention", ["mean", "gates", "hdus", "none"])
def test_empty_catalogue_gives_an_empty_product(run, tmp_path, attention):
    result = run(_positions(0), output=tmp_path / "out.fits", attention=attention)
    assert len(result) == 0
    again = Result.read(tmp_path / "out.fits").table
    assert len(again) == 0
    assert again.colnames == result.table.colnames


def test_progress_counts_rows_classes_and_flags(run, fields):
    catalogue = _positions(5)
    catalogue["ra"][0] = np.nan
    seen = []
    run(catalogue, images=Stack(fields), chunk=2, progress=lambda *args: seen.append(args))
    assert [(done, total) for done, total, _ in seen] == [(3, 5), (5, 5)]
    counts = seen[-1][2]
    assert counts["BAD_POSITION"] == 1
    assert counts["FRI"] + counts["FRII"] == 4


def test_quantities_and_ids_survive(sky, run):
    truth = sky[1]
    catalogue = QTable({"Source_id": np.arange(100, 108), "RA": truth["ra"].quantity, "DEC": truth["dec"].quantity})
    table = run(catalogue).table
    assert list(table["source_id"]) == list(range(100, 108))


def test_network_without_gates_has_no_maps(sky, run, tmp_path):
    torch.manual_seed(0)
    card = {"name": "gateless", "input": {"clip": 3.0, "stretch": "linear", "value_range": [0.0, 1.0]}}
    weights = save_weights(tmp_path / "gateless.safetensors", [AGCNN(Architecture(gates=0)).eval()], card)
    result = run(sky[1], weights=weights, output=tmp_path / "out.fits")
    assert (result.table["attention_plane"] == -1).all()


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("attention", "all", "attention must be one of"),
        ("chunk", 0, "chunk must be 1 or more"),
        ("orbit", 3, "orbit must"),
    ],
)
def test_bad_options_are_named(run, option, value, message):
    with pytest.raises(InputError, match=message):
        run(_positions(1), **{option: value})


def test_threads_are_put_back(run, fields):
    before = torch.get_num_threads()
    run(_positions(5), images=Stack(fields), threads=1)
    assert torch.get_num_threads() == before


def test_what_has_no_morphology_is_not_seen_from_further_angles(tmp_path):
    """With everything in doubt: a double as an orbit of 24 has it, a point source as one of 8; so when evaluated."""
    raw = np.stack([make_field(kind, seed=3)[0] for kind in ("FRII", "compact")])
    bundled = load_weights("agcnn-first-fast")
    calibration = {"calibration": {"further_within": 1e6, "temperature": 1.0}}
    path = save_weights(
        tmp_path / "doubtful.safetensors", bundled.networks, bundled.card.content | calibration, bundled.extra
    )
    exact, further = (
        Classifier.load(path, device="cpu", orbit=orbit).predict(raw, further=False).probabilities[:, 0]
        for orbit in (8, 24)
    )
    assert np.abs(further - exact).min() > 1e-5
    options = {"images": Stack(raw), "weights": path, "device": "cpu", "attention": "none"}
    table = classify(_positions(2), **options, classify_unresolved=True).table
    assert list((table["flags"] & Flag.UNRESOLVED) != 0) == [False, True]
    np.testing.assert_allclose(table["p_fri"], [further[0], exact[1]], atol=1e-6)
    rms, zero = estimate_rms(raw).rms, np.zeros(2, int)
    data = Labelled(clip(raw, rms), label=zero, certain=zero == 0, ra=zero, dec=zero, origin=zero, group=zero, rms=rms)
    served = classify_served(Classifier.load(path, device="cpu"), data)
    np.testing.assert_allclose(served.probabilities[:1, 0], table["p_fri"][:1], atol=1e-6)


def test_a_point_source_gets_no_class_and_no_network(tmp_path, monkeypatch):
    """Class, probability and map are masked as in an empty field, whatever stands beside it; so when evaluated."""
    raw = np.stack([make_field(kind, seed=3)[0] for kind in ("FRII", "compact", "compact")])
    seen = []
    see = Classifier.see

    def counted(self, task, images, *others):
        seen.append(len(images))
        return see(self, task, images, *others)

    monkeypatch.setattr(Classifier, "see", counted)
    options = {"images": Stack(raw), "weights": "agcnn-first-fast", "device": "cpu"}
    table = classify(_positions(3), **options).table
    assert seen == [1] * 8  # one source in eight orientations
    assert list((table["flags"] & Flag.UNRESOLVED) != 0) == [False, True, True]
    for name in ("class", "probability", "p_fri", "p_frii", "p_std"):
        assert list(np.ma.getmaskarray(table[name])) == [False, True, True], name
    assert list(table["attention_plane"]) == [0, -1, -1]
    assert (table["peak"] > 0).all()  # what the pixels say stays
    old_way = classify(_positions(3), **options, classify_unresolved=True).table
    assert not np.ma.getmaskarray(old_way["class"]).any()
    assert old_way["p_fri"][0] == pytest.approx(table["p_fri"][0], abs=1e-6)


def test_raw_fields_get_the_classes_of_the_published_images(data_dir, tmp_path):
    """The published primary network, orbit 1: raw FIRST fields through the whole pipeline against its own input."""
    path = import_checkpoint(
        data_dir / "published" / "weights" / "range_norm_ft_3gates_exp1.pt",
        str(tmp_path / "published.safetensors"),
        normalisation="range",
    )
    rows = slice(3, None, 9)
    with fits.open(data_dir / "mirabest_train.fits") as hdus:
        raw = hdus["IMAGES"].data[rows].astype(np.float32)
        published = hdus["PUBLISHED"].data[rows].astype(np.float32)
    catalogue = _positions(len(raw))
    table = classify(catalogue, images=Stack(raw), weights=path, device="cpu", orbit=1, attention="none").table
    network = Classifier.load(path, device="cpu").networks[0]
    images = torch.from_numpy(normalise(published, value_range=(-1, 1)))[:, None]
    with torch.inference_mode():
        theirs = torch.cat([network(batch).logits for batch in images.split(16)]).argmax(1).numpy()
    ours = (table["p_frii"] > table["p_fri"]).filled(False).astype(int)
    alike = ~measure_islands(raw, estimate_rms(raw).rms).outshone  # the others are shown without their neighbours
    agreement = (ours == theirs)[alike].mean()
    print(f"same class for {agreement:.1%} of {alike.sum()} sources")
    assert alike.mean() > 0.9
    assert agreement >= 0.97


def test_attention_statistics_are_columns_when_asked_for(sky, run, tmp_path):
    """They are those of the maps that the product keeps, but for the maps' packing; without maps they are the same."""
    catalogue = sky[1].copy()
    catalogue["dec"][3] += 10  # beyond the mosaic
    plain = run(catalogue)
    assert not [name for name in plain.table.colnames if name.startswith("attention_") and name != "attention_plane"]
    result = run(catalogue, attention_stats=True, attention="gates")
    result.write(tmp_path / "it.fits")
    table = Result.read(tmp_path / "it.fits").table
    without_maps = run(catalogue, attention_stats=True, attention="none")
    assert without_maps.gates == ()
    rows = np.flatnonzero(result.table["attention_plane"] >= 0)
    assert rows.tolist() == [0, 1, 2, 4, 5, 6, 7]
    fields = open_images(sky[0]).fetch(*(np.asarray(result.table[name][rows]) for name in ("ra", "dec")))
    emission = clip(crop(fields.data), np.asarray(result.table["rms"][rows]))
    gates = np.stack([result.attention_maps(rows, gate) for gate in (1, 2, 3)], 1)
    expected = attention_statistics(result.attention_maps(rows), emission, gates)
    for name, values in expected._asdict().items():
        column = np.ma.filled(table[f"attention_{name}"], np.nan)
        np.testing.assert_allclose(column[rows], values, rtol=0.01, atol=0.01)
        assert np.isnan(np.delete(column, rows)).all()
        np.testing.assert_array_equal(np.ma.filled(without_maps.table[f"attention_{name}"], np.nan), column)


def test_attention_statistics_need_gates(sky, run, tmp_path):
    card = {"name": "plain", "input": {"clip": 3.0, "stretch": "sqrt", "value_range": [0.0, 1.0]}}
    path = save_weights(tmp_path / "plain.safetensors", [AGCNN(Architecture(gates=0)).eval()], card)
    with pytest.raises(InputError, match=r"attention_stats needs attention gates, which plain does not have"):
        run(sky[1], weights=path, attention_stats=True)
