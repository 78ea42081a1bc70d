"""SAMP with a real hub and real clients on loopback."""

import shutil
import threading
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from pyvo import samp
from result_examples import example_result
from typer.testing import CliRunner

from radio_ag.catalog_io.export.samp import SampError, send_file
from radio_ag.cli import app
from radio_ag.errors import InputError, RadioAGWarning


def local_path(url) -> str:
    parts = urlsplit(url)
    assert (parts.scheme, parts.netloc) == ("file", "")
    return url2pathname(parts.path)


class Program:
    """A program on the desktop: takes FITS tables and images, and reads tables when they come."""

    def __init__(self, name, *, takes=("table.load.fits",), answer="samp.ok"):
        self.messages = []
        self.tables = []
        self._answer = answer
        self._client = samp.SAMPIntegratedClient(name=name, addr="127.0.0.1")
        self._client.connect(pool_size=1)
        for mtype in takes:
            self._client.bind_receive_call(mtype, self._receive)

    def _receive(self, private_key, sender_id, message_id, mtype, params, extra):
        self.messages.append((mtype, params))
        if mtype == "table.load.fits":
            self.tables.append(Table.read(local_path(params["url"]), hdu=1))
        if self._answer is None:
            return
        response = {"samp.status": self._answer, "samp.result": {}}
        if self._answer != "samp.ok":
            response["samp.error"] = {"samp.errortxt": "this table is of no use"}
        self._client.reply(message_id, response)

    def close(self):
        self._client.disconnect()


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home without a SAMP lock file; the client library stays off the internet."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("SAMP_HUB", raising=False)
    with samp.conf.set_temp("use_internet", False):
        yield home


@pytest.fixture
def hub(home):
    others = set(threading.enumerate())  # other tests may have left threads that wait for ever
    hub = samp.SAMPHubServer(addr="127.0.0.1", web_profile=False, pool_size=1)
    hub.start()
    yield hub
    hub.stop()
    for thread in set(threading.enumerate()) - others:
        if not thread.daemon:
            thread.join()


@pytest.fixture
def start(hub):
    """Start programs that are closed after the test."""
    programs = []

    def start(*args, **options):
        programs.append(Program(*args, **options))
        return programs[-1]

    yield start
    for program in programs:
        program.close()


@pytest.fixture
def product(six_rows, tmp_path):
    return Path(shutil.copy(six_rows, tmp_path / "a result.fits"))


def clients(hub) -> list[str]:
    return sorted(metadata["samp.name"] for metadata in hub._metadata.values() if "samp.name" in metadata)


# A result from Python


def test_a_program_gets_the_table_of_the_result(start):
    program = start("TOPCAT")
    result = example_result(6)

    assert result.send() == ["TOPCAT"]

    (table,) = program.tables
    assert table.colnames == result.table.colnames
    for name in ("name", "class"):
        assert [str(value) for value in table[name].filled("")] == result.table[name].filled("").tolist()
    for name in ("ra", "dec", "probability", "flags", "flux"):
        assert np.array_equal(
            np.ma.filled(np.ma.asarray(table[name], dtype=float), np.nan),
            np.ma.filled(np.ma.asarray(result.table[name], dtype=float), np.nan),
            equal_nan=True,
        )
    ((mtype, params),) = program.messages
    assert mtype == "table.load.fits"
    assert params["url"].startswith("file:///")
    assert set(params) == {"url", "table-id", "name"}


def test_the_file_stays_for_programs_that_read_it_again(start):
    program = start("TOPCAT")
    result = example_result(3)
    result.send()
    result[:1].send()
    lengths = [len(Table.read(local_path(params["url"]), hdu=1)) for _, params in program.messages]
    assert lengths == [3, 1]


def test_every_program_that_takes_tables_gets_it_and_no_other(start):
    table_programs = [start("TOPCAT"), start("Aladin")]
    other = start("viewer", takes=("image.load.fits",))
    assert sorted(example_result(3).send()) == ["Aladin", "TOPCAT"]
    assert [len(program.messages) for program in (*table_programs, other)] == [1, 1, 0]


def test_a_program_is_named_in_any_case_and_in_part(start):
    chosen, other = start("Aladin v12"), start("TOPCAT")
    assert example_result(3).send("aladin") == ["Aladin v12"]
    assert (len(chosen.messages), len(other.messages)) == (1, 0)


def test_we_leave_the_hub_afterwards(hub, start):
    start("TOPCAT")
    before = clients(hub)
    example_result(3).send()
    assert clients(hub) == before
    with pytest.raises(SampError):
        example_result(3).send("no such program")
    assert clients(hub) == before


# Files and images


def test_an_image_comes_before_the_table(start, product, tmp_path):
    fits.PrimaryHDU(np.zeros((4, 4))).writeto(tmp_path / "mosaic.fits")
    viewer = start("DS9", takes=("table.load.fits", "image.load.fits"))
    assert send_file(product, image=tmp_path / "mosaic.fits") == ["DS9"]
    assert [mtype for mtype, _ in viewer.messages] == ["image.load.fits", "table.load.fits"]
    image = viewer.messages[0][1]
    assert image["url"] == (tmp_path / "mosaic.fits").as_uri()
    assert image["name"] == "mosaic.fits"


def test_addresses_and_names_are_plain_ascii(start, product):
    program = start("TOPCAT")
    send_file(product, name="naïve\nname")
    params = program.messages[0][1]
    assert params["url"] == product.as_uri()
    assert params["url"].endswith("/a%20result.fits")
    assert params["name"] == "na\\xefve name"
    assert len(program.tables[0]) == 6


@pytest.mark.parametrize("which", ["table", "image"])
def test_a_file_that_is_not_there_is_not_sent(start, product, tmp_path, which):
    program = start("TOPCAT")
    missing = tmp_path / "missing.fits"
    with pytest.raises(InputError, match=r"missing\.fits cannot be sent"):
        send_file(*([missing] if which == "table" else [product]), image=missing if which == "image" else None)
    assert program.messages == []


def test_a_folder_is_not_sent(tmp_path):
    with pytest.raises(InputError, match="is a folder: other programs take a file"):
        send_file(tmp_path)


# What can go wrong


def test_no_hub(home):
    with pytest.raises(SampError, match="no SAMP hub is running"):
        example_result(3).send()


@pytest.mark.parametrize(
    "lock",
    [
        "samp.secret=1\nsamp.hub.xmlrpc.url=http://127.0.0.1:9/\n",  # the discard port: a hub that is gone
        "this is not = a lock = file\n",
        "samp.secret=1\n",
        "\xff\xfe",
    ],
)
def test_a_lock_file_without_a_hub(home, lock):
    (home / ".samp").write_text(lock, encoding="latin-1")
    with pytest.raises(SampError, match="no SAMP hub is running"):
        example_result(3).send()


def test_no_program(hub):
    with pytest.raises(SampError, match=r"no program that takes table\.load\.fits"):
        example_result(3).send()


def test_an_unknown_program_is_told_from_those_that_are_there(start):
    start("TOPCAT")
    with pytest.raises(SampError, match=r"no program called 'ds9' that takes table\.load\.fits.*these do: TOPCAT"):
        example_result(3).send("ds9")


def test_no_program_for_the_image(start, product):
    program = start("TOPCAT")
    with pytest.raises(SampError, match=r"image\.load\.fits"):
        send_file(product, image=product)
    assert program.messages == []


def test_a_program_that_cannot_load_it_says_why(start):
    start("TOPCAT", answer="samp.error")
    with pytest.raises(SampError, match="TOPCAT reports error: this table is of no use"):
        example_result(3).send()


def test_one_program_of_two_that_cannot_load_it_is_a_warning(start):
    start("TOPCAT", answer="samp.error")
    start("Aladin")
    with pytest.warns(RadioAGWarning, match="TOPCAT reports error"):
        assert example_result(3).send() == ["Aladin"]


def test_a_program_with_reservations_has_loaded_it(start):
    start("TOPCAT", answer="samp.warning")
    with pytest.warns(RadioAGWarning, match="TOPCAT reports warning: this table is of no use"):
        assert example_result(3).send() == ["TOPCAT"]


def test_a_program_that_never_answers(start):
    program = start("TOPCAT", answer=None)
    with pytest.raises(SampError, match="TOPCAT did not answer"):
        example_result(3).send(timeout=1)
    assert len(program.messages) == 1


# The command line


def test_send_sends_the_product_itself(start, product):
    program = start("TOPCAT")
    done = CliRunner().invoke(app, ["send", str(product), "--to", "topcat"])
    assert (done.exit_code, done.stdout, done.stderr) == (0, "sent to TOPCAT\n", "")
    assert program.messages[0][1]["url"] == product.as_uri()
    assert len(program.tables[0]) == 6


def test_send_without_a_hub_is_exit_code_2(home, product):
    done = CliRunner().invoke(app, ["send", str(product)])
    assert done.exit_code == 2
    assert done.stderr.count("\n") == 1
    assert "no SAMP hub is running: start TOPCAT" in done.stderr


def test_send_of_something_else_is_exit_code_2(start, tmp_path):
    program = start("TOPCAT")
    Table({"a": [1]}).write(tmp_path / "other.fits")
    done = CliRunner().invoke(app, ["send", str(tmp_path / "other.fits")])
    assert done.exit_code == 2
    assert "not a product of radio-ag" in done.stderr
    assert program.messages == []
