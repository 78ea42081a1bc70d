"""The table of sources: of runs in FITS, in Parquet and in memory, of results that are cut, and of older products."""

import copy
import pickle

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.io.votable.ucd import check_ucd
from astropy.table import Table
from pyarrow import parquet
from result_examples import example_columns, example_result, example_stores
from run_examples import Doubles, classify

from radio_ag import Result
from radio_ag.catalog_io.product.columns import SOURCE_COLUMNS
from radio_ag.catalog_io.result import verify_product
from radio_ag.errors import InputError, SourceNotFoundError

OPTIONS = {"device": "cpu", "orbit": 1, "threads": 1, "batch": 16, "chunk": 3}
NAMES = (
    *("source", "name", "ra", "dec", "class", "probability", "p_fri", "p_frii", "p_std", "flags", "association"),
    *("n_components", "first_row", "total_flux", "total_flux_err", "peak", "rms", "snr", "las", "pa", "core_ra"),
    *("core_dec", "core_prom", "lobe_flux_ratio", "misalign_1", "misalign_2", "attention_plane", "image"),
    *("beam_major", "beam_minor", "beam_pa", "frequency", "date_obs"),
)
UNITS = {
    **dict.fromkeys(("ra", "dec", "pa", "beam_pa", "core_ra", "core_dec", "misalign_1", "misalign_2"), "deg"),
    **dict.fromkeys(("total_flux", "total_flux_err"), "Jy"),
    **dict.fromkeys(("peak", "rms"), "Jy / beam"),
    **dict.fromkeys(("las", "beam_major", "beam_minor"), "arcsec"),
    "frequency": "Hz",
}


class Turned(Doubles):
    """Doubles along the rows of pixels that are turned on the sky."""

    angle = 30  # of the rows, east of north

    def fetch(self, ra, dec):
        fields = super().fetch(ra, dec)
        turn = np.radians(self.angle)
        x, y = np.array([np.sin(turn), np.cos(turn)]), np.array([np.cos(turn), -np.sin(turn)])
        fields.cd[...] = np.stack([x, y], 1) * 1.8 / 3600
        fields.origin = ["/data/mosaics/field_1.fits" if row % 2 else "" for row in range(len(ra))]
        return fields


def components():
    """PyBDSF rows: of sources 0 and 2 two and three, in turn, of 1 one, and of 3 one without a position."""
    table = Table({"Isl_id": [0, 2, 1, 0, 2, 2, 3], "Source_id": np.arange(7)})
    table["RA"] = [170, 171, 172, 170.01, 171.01, 171.005, np.nan]
    table["DEC"] = [0, 1, 2, 0, 1, 1, 3.0]
    table["Total_flux"] = [0.01, 0.02, 0.5, 0.03, 0.02, 0.01, 0.1]
    table["E_Total_flux"] = [3e-4, 1e-4, 1e-3, 4e-4, 2e-4, 2e-4, 1e-3]
    for name in ("Peak_flux", "Isl_rms", "Resid_Isl_rms"):
        table[name] = 0.001
    table["Maj"], table["Min"], table["PA"] = 10 / 3600, 5 / 3600, 60.0
    table["S_Code"] = "S"
    return table


@pytest.fixture(scope="module", params=["memory", "fits", "parquet"])
def result(request, weights, tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / f"out.{request.param}"
    output = None if request.param == "memory" else path
    made = classify(components(), images=Turned(), weights=weights, output=output, **OPTIONS)
    return made if output is None else Result.read(path)


def plain(table):
    return {name: np.ma.asarray(table[name]).tolist() for name in table.colnames}


def test_every_source_has_a_row(result):
    sources = result.sources
    assert tuple(sources.colnames) == NAMES == tuple(spec.name for spec in SOURCE_COLUMNS)
    assert sources["source"].tolist() == [0, 1, 2, 3]
    assert sources["n_components"].tolist() == [2, 3, 1, 1]
    assert sources["first_row"].tolist() == [0, 1, 2, 6]
    assert result.table["group_id"].tolist() == [0, 1, 2, 0, 1, 1, 3]
    assert result.table["primary"].tolist() == [True, True, True, False, False, False, True]
    for name in ("class", "probability", "p_fri", "p_std", "flags", "peak", "snr", "attention_plane"):
        expected = np.ma.asarray(result.table[name])[[0, 1, 2, 6]]
        assert np.ma.asarray(sources[name]).tolist() == expected.tolist(), name


def test_what_components_and_pixels_tell(result):
    sources = result.sources
    np.testing.assert_allclose(sources["ra"][:3], [170.0075, 171.005, 172], atol=1e-6)
    np.testing.assert_allclose(sources["total_flux"], [0.04, 0.05, 0.5, 0.1])
    np.testing.assert_allclose(sources["total_flux_err"], [5e-4, 3e-4, 1e-3, 1e-3])
    np.testing.assert_allclose(sources["lobe_flux_ratio"][:2], [3, 1])
    np.testing.assert_allclose(sources["misalign_1"][:2], [30, 30], atol=0.01)
    assert sources["core_ra"].tolist() == [None, 171.005, None, None]
    assert sources["core_prom"].tolist() == [None, pytest.approx(0.2), None, None]
    # Two blobs each of some 14 px above 3 rms, 2 (4 + ra mod 30) px apart along the rows, which lie at 30 degrees.
    np.testing.assert_allclose(sources["pa"][:3], 30, atol=6)
    apart = 2 * (4 + sources["ra"][:3] % 30) * 1.8
    np.testing.assert_allclose(sources["las"][:3] - apart, 14 * 1.8, atol=4 * 1.8)
    np.testing.assert_allclose(sources["las"], result.table["size"][[0, 1, 2, 6]])
    assert sources["image"].tolist() == ["doubles", "field_1.fits", "doubles", None]
    together = sources["association"].tolist()
    assert all(0.5 < probability <= 1 for probability in together[:2])
    assert together[2:] == [None, None]


def test_columns_say_what_they_are(result):
    sources = result.sources
    for name in NAMES:
        assert sources[name].description
        assert check_ucd(sources[name].meta["ucd"], check_controlled_vocabulary=True), name
    assert {name: str(sources[name].unit) for name in NAMES if sources[name].unit is not None} == UNITS


def test_summary_counts_sources_first(result):
    summary, of_rows = result.summary(), result.summary(rows=True)
    assert (summary["sources"], summary["rows"]) == (of_rows["sources"], of_rows["rows"]) == (4, 7)
    assert sum(summary["classes"].values()) == 4
    assert sum(of_rows["classes"].values()) == 7
    assert summary["flags"]["BAD_POSITION"] == of_rows["flags"]["BAD_POSITION"] == 1
    assert (summary["classes"]["none"], of_rows["classes"]["none"]) == (1, 1)
    assert repr(result).startswith("<Result: 4 sources in 7 rows, ")


def test_a_source_with_its_components(result):
    source = result.source(1)
    assert source["n_components"] == len(source.components) == 3
    assert source.rows.tolist() == [1, 4, 5]
    assert source.components["source_id"].tolist() == [1, 4, 5]
    assert np.array_equal(source.attention().data, result.attention(5).data)
    with pytest.raises(SourceNotFoundError):
        result.source(3).attention()


def test_lookup_by_the_position_of_a_source_or_of_a_component(result):
    assert result.at("170.0075 0.0")["source"] == 0  # 27 arcsec from one component, 9 from the other
    assert result.at(SkyCoord(171.01, 1, unit="deg"), radius=1).rows.tolist() == [1, 4, 5]
    assert result.at(str(result.table["name"][4]))["source"] == 1
    assert result.at(str(result.sources["name"][0])).index == 0
    found = result.at(SkyCoord([172, 170.01], [2, 0], unit="deg"))
    assert found.table["source_id"].tolist() == [2, 0]
    assert found.sources["source"].tolist() == [2, 0]
    with pytest.raises(SourceNotFoundError, match="no source within 10 arcsec"):
        result.at("170.02 0.0")


def test_cut_copied_and_pickled_results_keep_their_sources(result):
    for same in (copy.deepcopy(result), pickle.loads(pickle.dumps(result))):
        assert plain(same.sources) == plain(result.sources)
    part = result[[5, 2, 4]]
    assert part.sources["source"].tolist() == [1, 2]
    assert part.sources["first_row"].tolist() == [0, 1]
    assert part.sources["total_flux"].tolist() == result.sources["total_flux"][[1, 2]].tolist()
    assert part.summary()["sources"] == 2
    assert len(result[:0].sources) == 0


def test_written_again(result, tmp_path):
    result.write(tmp_path / "again.fits")
    again = Result.read(tmp_path / "again.fits")
    assert plain(again.sources) == plain(result.sources)
    again.write(tmp_path / "again.fits", overwrite=True, attention="none")
    assert set(Result.read(tmp_path / "again.fits").sources["attention_plane"]) == {-1}
    part = result[[2, 4]]
    part.write(tmp_path / "part.fits")
    part = Result.read(tmp_path / "part.fits")
    assert part.sources["source"].tolist() == [2, 1]
    assert np.array_equal(part.source(1).attention().data, result.attention(4).data)


def test_other_programs_read_it(weights, tmp_path):
    classify(components(), images=Turned(), weights=weights, output=tmp_path / "out.fits", **OPTIONS)
    table = Table.read(tmp_path / "out.fits", hdu="SOURCES")
    assert table["total_flux"].unit == u.Jy
    assert table["n_components"].tolist() == [2, 3, 1, 1]
    assert Table.read(tmp_path / "out.fits", hdu="CLASSIFICATION")["primary"].sum() == 4
    with fits.open(tmp_path / "out.fits", checksum=True) as hdus:
        header = hdus["SOURCES"].header
        assert header["NAXIS2"] == 4
        assert header["FLAG0"].startswith("NO_COVERAGE")
        assert header[f"TUCD{NAMES.index('las') + 1}"] == "phys.angSize"
    classify(components(), images=Turned(), weights=weights, output=tmp_path / "out.parquet", **OPTIONS)
    arrow = parquet.read_table(tmp_path / "out.sources.parquet")
    assert arrow.column_names == list(NAMES)
    assert arrow["n_components"].to_pylist() == [2, 3, 1, 1]
    assert arrow["core_prom"].null_count == 3
    assert parquet.read_table(tmp_path / "out.parquet").num_rows == 7


def test_damage_is_found(weights, tmp_path):
    path = tmp_path / "out.fits"
    classify(components(), images=Turned(), weights=weights, output=path, **OPTIONS)
    assert not any(verify_product(path).values())
    with fits.open(path) as hdus:
        place = hdus["SOURCES"].fileinfo()["datLoc"]
    content = bytearray(path.read_bytes())
    content[place + 30] ^= 1
    path.write_bytes(content)
    assert {name for name, fault in verify_product(path).items() if fault} == {"SOURCES"}
    with pytest.raises(InputError, match=r"SOURCES of .* DATASUM"):
        Result.read(path).sources  # noqa: B018
    assert len(Result.read(path, verify=False).sources) == 4


def test_damage_of_the_second_folder_is_found(weights, tmp_path):
    path = tmp_path / "out.parquet"
    classify(components(), images=Turned(), weights=weights, output=path, **OPTIONS)
    faults = verify_product(path)
    assert "part-00000.parquet of out.sources.parquet" in faults
    assert not any(faults.values())
    (file,) = (tmp_path / "out.sources.parquet").iterdir()
    content = bytearray(file.read_bytes())
    content[10] ^= 1
    file.write_bytes(content)
    assert verify_product(path)["part-00000.parquet of out.sources.parquet"]
    with pytest.raises(InputError, match=r"out\.sources\.parquet"):
        Result.read(path).sources  # noqa: B018
    file.unlink()
    file.parent.rmdir()
    with pytest.raises(InputError, match="is not there"):
        Result.read(path).sources  # noqa: B018


def older(path, result, *, grouped):
    """A product as it was before there was a table of sources."""
    result.write(path)
    table = Table.read(path, hdu="CLASSIFICATION")
    table.remove_columns(["primary"] if grouped else ["primary", "group_id", "n_components"])
    table.meta = {"EXTNAME": "CLASSIFICATION"}
    table.write(path.with_name("table.fits"))
    with fits.open(path) as hdus, fits.open(path.with_name("table.fits")) as tables:
        new = tables[1]
        kept = [hdu for hdu in hdus[2:] if hdu.name != "SOURCES"]
        fits.HDUList([hdus[0], new, *kept]).writeto(path.with_name("older.fits"))
    return Result.read(path.with_name("older.fits"))


def test_older_products_without_groups(tmp_path):
    result = older(tmp_path / "new.fits", example_result(9), grouped=False)
    assert "group_id" not in result.table.colnames
    assert result.sources["source"].tolist() == list(range(9))
    assert result.sources["las"].tolist() == result.table["size"].tolist()
    assert result.summary()["sources"] == 9
    assert result.source(3).components["source_id"].tolist() == [4]
    assert len(result[2:5].sources) == 3


def test_older_products_with_groups(tmp_path):
    columns = example_columns(6) | {"group_id": [0, 1, 2, 0, 3, 4], "n_components": [2, 1, 1, 2, 1, 1]}
    columns |= {"primary": [True, True, True, False, True, True]}
    made = Result.from_columns(Table({"a": np.arange(6)}), columns, example_stores(4))
    result = older(tmp_path / "new.fits", made, grouped=True)
    assert "primary" not in result.table.colnames
    assert result.sources["first_row"].tolist() == [0, 1, 2, 4, 5]
    assert result.sources["n_components"].tolist() == [2, 1, 1, 1, 1]
    np.testing.assert_allclose(result.sources["ra"][0], result.table["ra"][[0, 3]].mean(), atol=1e-3)
    assert result.sources["total_flux"].tolist() == [None] * 5
    assert result.source(0).rows.tolist() == [0, 3]


def test_an_inputs_own_columns_are_not_taken_for_ours(tmp_path):
    catalogue = Table({"group_id": [7, 7, 7], "primary": ["a", "b", "c"]})
    result = example_result(3, catalogue=catalogue)
    assert result.table["in_group_id"].tolist() == [7, 7, 7]
    assert len(result.sources) == 3
