"""What a page that takes labels is told, the order of its questions, and the server that keeps its labels."""

import http.client
import json
import threading
from urllib.parse import urlsplit

import numpy as np
import pytest
from page_examples import page_result
from typer.testing import CliRunner

from radio_ag.catalog_io.export.page import Labelling, serve_page, write_page
from radio_ag.catalog_io.export.page import serve as server_module
from radio_ag.catalog_io.export.page.labelling import asking_order
from radio_ag.cli import app
from radio_ag.errors import InputError
from radio_ag.flags import Flag
from radio_ag.labelled.labels import Labels, LabelsFile


@pytest.fixture
def table():
    table = page_result(12).table
    table["flags"][6] |= int(Flag.UNCERTAIN)
    table["flags"][9] |= int(Flag.UNCERTAIN)
    table["flags"][3] |= int(Flag.OUT_OF_DISTRIBUTION)
    table["probability"][[0, 3, 6, 9]] = 0.9, 0.8, 0.7, 0.6
    return table


def test_the_most_informative_sources_come_first(table):
    without = [1, 2, 4, 5, 7, 8, 10, 11]
    assert asking_order(table, "doubt").tolist() == [9, 6, 3, 0, *without]
    assert asking_order(table, "unlike").tolist() == [3, 9, 6, 0, *without]
    assert asking_order(table, "row").tolist() == list(range(12))
    shuffled = asking_order(table, "random").tolist()
    assert sorted(shuffled) == list(range(12)) != shuffled
    assert asking_order(table, "random").tolist() == shuffled


@pytest.mark.parametrize(
    ("labels", "options", "words"),
    [
        (("a",), {}, "a page has 2 to 20 labels, not 1"),
        (tuple(map(str, range(21))), {}, "a page has 2 to 20 labels, not 21"),
        (("a", ""), {}, "a label is a text of 1 to 40 characters, not ''"),
        (("a", "b", "a"), {}, "each label is named once: a, b, a"),
        (("a", "b"), {"order": "best"}, "the order is one of doubt, unlike, row, random, not 'best'"),
    ],
)
def test_labels_that_cannot_be_are_named(labels, options, words):
    with pytest.raises(InputError, match=words):
        Labelling(labels, **options)


def test_pages_know_each_others_order(table, tmp_path):
    result = page_result(12)
    result.table["probability"][[0, 3, 6, 9]] = 0.9, 0.8, 0.7, 0.6
    write_page(result, tmp_path / "p.html", images="none", per_page=6, labelling=Labelling(("a", "b")))
    told = []
    for name in ("p-1.html", "p-2.html"):
        text = (tmp_path / name).read_text().partition('id="data">')[2].partition("</script>")[0]
        told.append(json.loads(text)["labelling"])
    assert told[0]["rank"] + told[1]["rank"] == np.argsort([9, 6, 3, 0, 1, 2, 4, 5, 7, 8, 10, 11]).tolist()
    assert told[0]["id"] == told[1]["id"]
    assert [label["key"] for label in told[0]["labels"]] == ["1", "2"]


def test_a_page_that_is_not_served_connects_to_nothing(tmp_path):
    write_page(page_result(3), tmp_path / "p.html", images="none", labelling=Labelling(("a", "b")))
    assert "connect-src" not in (tmp_path / "p.html").read_text()
    served = Labelling(("a", "b"), served=True)
    write_page(page_result(3), tmp_path / "s.html", images="none", labelling=served)
    assert "; connect-src &#x27;self&#x27;" in (tmp_path / "s.html").read_text()


# The server


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server of one page in a thread: its address, and the file of labels."""
    page = tmp_path / "page.html"
    page.write_text("the page")
    file = LabelsFile(tmp_path / "labels.ecsv")
    made, ready, address = [], threading.Event(), []

    class Kept(server_module.ThreadingHTTPServer):
        def __init__(self, *args):
            super().__init__(*args)
            made.append(self)

    monkeypatch.setattr(server_module, "ThreadingHTTPServer", Kept)
    thread = threading.Thread(
        target=serve_page, args=([page], file.records, file.put, lambda at: (address.append(at), ready.set()))
    )
    thread.start()
    assert ready.wait(20)
    yield urlsplit(address[0]), tmp_path / "labels.ecsv"
    made[0].shutdown()
    thread.join()


def ask(at, method, path, body=None, **headers):
    connection = http.client.HTTPConnection(at.hostname, at.port, timeout=20)
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    content = answer.read().decode()
    connection.close()
    return answer.status, content


RECORD = {"name": "a", "source": 0, "ra": 1.0, "dec": 2.0, "label": "FRI", "confidence": 1, "when": "2026-01-01"}


def test_labels_are_on_the_disk_when_the_server_answers(server):
    at, file = server
    labels = at.path.replace("page.html", "labels")
    assert ask(at, "GET", at.path) == (200, "the page")
    assert ask(at, "GET", labels) == (200, "[]")
    assert ask(at, "POST", labels, json.dumps([RECORD]))[0] == 200
    assert Labels.read(file).name.tolist() == ["a"]
    assert json.loads(ask(at, "GET", labels)[1])[0]["label"] == "FRI"
    for body in ("[", "{}", '["x"]', json.dumps([{**RECORD, "confidence": 7}])):
        assert ask(at, "POST", labels, body)[0] == 400
    assert Labels.read(file).name.tolist() == ["a"]


def test_the_server_answers_its_own_page_alone(server):
    at, file = server
    labels = at.path.replace("page.html", "labels")
    body = json.dumps([RECORD])
    assert at.hostname == "127.0.0.1"
    assert len(at.path.split("/")[1]) >= 32
    for path in ("/", "/page.html", "/labels", "/x" + at.path, at.path + "/../labels", "/%2e%2e/etc/passwd"):
        assert ask(at, "GET", path)[0] == 404
    assert ask(at, "POST", "/labels", body)[0] == 404
    assert ask(at, "POST", labels, body, Origin="http://evil.example")[0] == 403
    assert ask(at, "POST", labels, body, Origin="null")[0] == 403
    assert ask(at, "POST", labels, body, Host="evil.example")[0] == 403
    assert ask(at, "GET", labels, Host=f"evil.example:{at.port}")[0] == 403
    assert ask(at, "POST", labels, None, Content_Length="999999999999")[0] == 400
    assert not file.exists()
    assert ask(at, "POST", labels, body, Origin=f"http://127.0.0.1:{at.port}")[0] == 200


# The command


def view(*args):
    return CliRunner().invoke(app, ["view", *map(str, args)])


def test_view_writes_a_page_that_takes_labels(tmp_path):
    page_result(5).write(tmp_path / "a.fits")
    Labels.of({"name": ["x"], "label": ["bent"]}).write(tmp_path / "before.ecsv")
    command = (tmp_path / "a.fits", "--images", "none", "--label", "FRI, bent", "--order", "row", "--who", "Anna")
    done = view(*command, "--labels", tmp_path / "before.ecsv")
    assert done.exit_code == 0, done.output
    text = (tmp_path / "a.html").read_text().partition('id="data">')[2].partition("</script>")[0]
    told = json.loads(text)["labelling"]
    assert [label["name"] for label in told["labels"]] == ["FRI", "bent"]
    assert told["rank"] == [0, 1, 2, 3, 4]
    assert (told["who"], told["served"], told["given"][0]["name"]) == ("Anna", False, "x")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--serve"], "need --label"),
        (["--label", "FRI"], "2 to 20 labels, not 1"),
        (["--label", "a,b", "--labels", "none.ecsv"], "none.ecsv cannot be read"),
        (["--label", "a,b", "--serve", "-o", "x.html"], "exclude each other"),
    ],
)
def test_view_refuses_what_cannot_be(tmp_path, options, words):
    page_result(5).write(tmp_path / "a.fits")
    done = view(tmp_path / "a.fits", "--images", "none", *options)
    assert done.exit_code == 2
    assert words in " ".join(done.stderr.split())
    assert not (tmp_path / "a.html").exists()
