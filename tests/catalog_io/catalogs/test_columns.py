"""Columns of positions and of identifiers: which are taken, and in which frames."""

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.table import QTable, Table

from radio_ag.catalog_io.catalogs import read_catalogue
from radio_ag.errors import CatalogueError

RA, DEC = 162.53, 30.677
"""10 50 07.2 +30 40 37.2"""


def position(catalogue, row=0):
    return catalogue.ra[row], catalogue.dec[row]


def assert_at(catalogue, ra=RA, dec=DEC, row=0):
    np.testing.assert_allclose(position(catalogue, row), (ra, dec), rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    "names",
    [
        ("RA", "DEC"),
        ("RA", "Dec"),
        ("ra", "dec"),
        ("RAJ2000", "DEJ2000"),
        ("raj2000", "decj2000"),
        ("_RAJ2000", "_DEJ2000"),
        ("RAdeg", "DEdeg"),
        ("RA_ICRS", "DE_ICRS"),
        ("ra_deg_cont", "dec_deg_cont"),
        ("ALPHA_J2000", "DELTA_J2000"),
        ("RIGHT_ASCENSION", "DECLINATION"),
        ("sky_centroid.ra", "sky_centroid.dec"),
    ],
)
def test_well_known_names(names):
    catalogue = read_catalogue(Table([[RA], [DEC]], names=names))
    assert_at(catalogue)
    assert (catalogue.ra_name, catalogue.dec_name) == names


def test_names_that_only_look_like_positions_are_not_taken():
    names = [
        "RA_max",
        "DEC_max",
        "E_RA",
        "E_DEC",
        "optRA",
        "optDec",
        "RA_Host",
        "DEC_Host",
        "QL_image_RA",
        "QL_image_DEC",
    ]
    with pytest.raises(CatalogueError, match=r"no position columns.*RA_max.*ra_col and dec_col"):
        read_catalogue(Table(np.ones((1, len(names))), names=names))


def test_names_are_found_among_their_lookalikes():
    table = Table({"E_RA": [1.0], "RA_max": [2.0], "RA": [RA], "DEC_max": [3.0], "DEC": [DEC], "optRA": [4.0]})
    assert_at(read_catalogue(table))


def test_names_that_differ_in_case_alone_may_coexist():
    catalogue = read_catalogue(Table({"ra": [1.0], "dec": [2.0], "RA": [RA], "DEC": [DEC]}))
    assert (catalogue.ra_name, catalogue.dec_name) == ("RA", "DEC")
    assert_at(catalogue)


def with_ucds(table, **ucds):
    for name, ucd in ucds.items():
        table[name].meta["ucd"] = ucd
    return table


@pytest.mark.parametrize(
    "ucds", [("pos.eq.ra;meta.main", "pos.eq.dec;meta.main"), ("POS_EQ_RA_MAIN", "POS_EQ_DEC_MAIN")]
)
def test_ucd_wins_over_names(ucds):
    table = Table({"RA": [1.0], "DEC": [2.0], "alpha": [RA], "delta": [DEC]})
    assert_at(read_catalogue(with_ucds(table, alpha=ucds[0], delta=ucds[1])))


def test_of_two_columns_with_the_main_ucd_the_first():
    table = Table({"alpha": [RA], "delta": [DEC], "in_RA": [1.0], "in_DEC": [2.0]})
    main = {"ra": "pos.eq.ra;meta.main", "dec": "pos.eq.dec;meta.main"}
    table = with_ucds(table, alpha=main["ra"], delta=main["dec"], in_RA=main["ra"], in_DEC=main["dec"])
    assert_at(read_catalogue(table))


def test_names_win_over_a_ucd_that_is_not_main():
    table = Table({"alpha": [1.0], "delta": [2.0], "RA": [RA], "DEC": [DEC]})
    assert_at(read_catalogue(with_ucds(table, alpha="pos.eq.ra", delta="pos.eq.dec")))


def test_a_lone_ucd_serves_where_no_name_does():
    table = Table({"alpha": [RA], "delta": [DEC], "error": [1.0]})
    assert_at(read_catalogue(with_ucds(table, alpha="pos.eq.ra", delta="pos.eq.dec", error="stat.error;pos.eq.ra")))


def test_vizier_computed_degrees_win_over_its_strings():
    table = Table({"RAJ2000": ["23 00 00"], "DEJ2000": ["-10 00 00"], "_RAJ2000": [RA], "_DEJ2000": [DEC]})
    catalogue = read_catalogue(with_ucds(table, RAJ2000="pos.eq.ra;meta.main", DEJ2000="pos.eq.dec;meta.main"))
    assert_at(catalogue)
    assert catalogue.ra_name == "_RAJ2000"


def test_the_user_wins_over_all():
    table = Table({"RA": [1.0], "DEC": [2.0], "RA_max": [RA], "DEC_max": [DEC]})
    assert_at(read_catalogue(with_ucds(table, RA="pos.eq.ra;meta.main"), ra_col="RA_max", dec_col="DEC_max"))


def test_a_column_that_is_not_there():
    table = Table({"RA": [1.0], "DEC": [2.0], "RA_max": [RA], "DEC_max": [DEC]})
    with pytest.raises(CatalogueError, match=r"ra_col='RA_maxx' is not a column.*mean RA_max"):
        read_catalogue(table, ra_col="RA_maxx", dec_col="DEC_max")
    with pytest.raises(CatalogueError, match="go together"):
        read_catalogue(table, ra_col="RA_max")
    with pytest.raises(CatalogueError, match="go together"):
        read_catalogue(table, dec_col="DEC_max")


def test_ra_unit_is_checked():
    with pytest.raises(
        CatalogueError, match="ra_unit='turn': accepted are 'deg', 'hour', 'hourangle', 'hms', 'dms', 'rad'"
    ):
        read_catalogue(Table({"RA": [1.0], "DEC": [2.0]}), ra_unit="turn")


class TestSkyCoord:
    def test_other_frames_are_converted(self):
        icrs = SkyCoord(RA, DEC, unit="deg")
        for coordinates in (icrs, icrs.galactic, icrs.fk4, icrs.fk5):
            catalogue = read_catalogue(coordinates)
            np.testing.assert_allclose(position(catalogue), (RA, DEC), atol=1e-7)
            assert len(catalogue.table) == 1

    def test_shapes(self):
        assert len(read_catalogue(SkyCoord([1, 2], [3, np.nan], unit="deg"))) == 2
        assert len(read_catalogue(SkyCoord([], [], unit="deg"))) == 0
        assert read_catalogue(SkyCoord([1, 2], [3, np.nan], unit="deg")).valid.tolist() == [True, False]

    def test_a_masked_coordinate(self):
        from astropy.utils.masked import Masked

        mask = [False, True]
        coordinates = SkyCoord(Masked([1.0, 2.0] * u.deg, mask=mask), Masked([1.0, 2.0] * u.deg, mask=mask))
        assert read_catalogue(coordinates).valid.tolist() == [True, False]

    def test_a_column_of_coordinates(self):
        column = SkyCoord([RA], [DEC], unit="deg").galactic
        catalogue = read_catalogue(QTable({"label": [1], "sky_centroid": column}))
        np.testing.assert_allclose(position(catalogue), (RA, DEC), atol=1e-9)
        assert catalogue.ra_name == catalogue.dec_name == "sky_centroid"

    def test_the_well_known_one_of_several(self):
        columns = {"sky_bbox_ll": SkyCoord([1], [2], unit="deg"), "sky_centroid": SkyCoord([RA], [DEC], unit="deg")}
        assert_at(read_catalogue(QTable(columns)))
        assert_at(read_catalogue(QTable(columns), ra_col="sky_bbox_ll"), ra=1, dec=2)

    def test_a_frame_without_a_way_to_icrs(self):
        from astropy.coordinates import BaseCoordinateFrame, SphericalRepresentation

        class Planet(BaseCoordinateFrame):
            default_representation = SphericalRepresentation

        with pytest.raises(CatalogueError, match="'planet' cannot be converted to ICRS"):
            read_catalogue(SkyCoord([1], [2], unit="deg", frame=Planet))


class TestFrames:
    @pytest.mark.parametrize(("names", "frame"), [(("GLON", "GLAT"), "Galactic"), (("RAB1950", "DEB1950"), "B1950")])
    def test_other_coordinates_are_not_taken(self, names, frame):
        with pytest.raises(CatalogueError, match=rf"It has {frame} coordinates.*SkyCoord"):
            read_catalogue(Table([[RA], [DEC]], names=names))

    def test_nor_by_their_ucd(self):
        table = with_ucds(Table([[RA], [DEC]], names=("RAB1950", "DEB1950")), RAB1950="pos.eq.ra;meta.main")
        with pytest.raises(CatalogueError, match="It has B1950 coordinates"):
            read_catalogue(with_ucds(table, DEB1950="pos.eq.dec;meta.main"))

    @pytest.mark.parametrize(
        "meta", [{}, {"RADESYS": "ICRS"}, {"EQUINOX": 2000.0}, {"RADESYS": "FK5", "EQUINOX": "J2000"}]
    )
    def test_headers_that_are_taken(self, meta):
        assert_at(read_catalogue(Table({"RA": [RA], "DEC": [DEC]}, meta=meta)))

    @pytest.mark.parametrize("meta", [{"RADESYS": "FK4"}, {"EQUINOX": 1950.0}, {"RADECSYS": "FK5", "EQUINOX": 1975}])
    def test_headers_that_are_refused(self, meta):
        with pytest.raises(CatalogueError, match=r"are in the frame 'FK.*ICRS or FK5 at J2000"):
            read_catalogue(Table({"RA": [RA], "DEC": [DEC]}, meta=meta))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["Source_id", "Isl_id"], "Source_id"),
        (["Gaus_id", "Isl_id", "Source_id"], "Gaus_id"),
        (["island", "source", "uuid"], "uuid"),
        (["Source_Name", "Mosaic_ID"], "Source_Name"),
        (["ID"], "ID"),
        (["label"], "label"),
        (["Isl_id", "identity", "names"], None),
    ],
)
def test_the_identifying_column(names, expected):
    table = Table({"RA": [RA], "DEC": [DEC]} | {name: [1] for name in names})
    assert read_catalogue(table).source_id_name == expected


def test_the_identifying_column_by_ucd():
    table = with_ucds(Table({"RA": [RA], "DEC": [DEC], "name": ["a"], "FIRST": ["b"]}), FIRST="meta.id;meta.main")
    assert read_catalogue(table).source_id_name == "FIRST"
