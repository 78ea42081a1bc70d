"""What can go wrong between an image service and us, and what is made of it."""

import inspect
import io
import logging
import socket
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import astroquery.exceptions
import numpy as np
import pytest
import requests
import urllib3
from first_server import FirstServer
from service_servers import Answer, Moved, Service

from radio_ag.catalog_io.services.addresses import leads_inward
from radio_ag.catalog_io.services.answer import check_fits
from radio_ag.catalog_io.services.first import FirstImages
from radio_ag.catalog_io.services.http import Failure, Guard, translate

STATUSES = {"no_coverage", "http_error", "timeout", "connection", "truncated", "not_an_image"}


def _errors_of(*modules):
    kinds = {kind for module in modules for _, kind in inspect.getmembers(module, inspect.isclass)}
    own = tuple(module.__name__.partition(".")[0] for module in modules)
    return sorted(
        (
            kind
            for kind in kinds
            if issubclass(kind, Exception) and not issubclass(kind, Warning) and kind.__module__.startswith(own)
        ),
        key=lambda kind: (kind.__module__, kind.__name__),
    )


def _made(kind):
    """An instance, whatever arguments it takes."""
    chunked = (urllib3.HTTPResponse(), b"1")
    for arguments in ((), ("a",), ("a", "b"), ("a", "b", "c"), ("a", "b", 0), (1, 2), chunked):
        try:
            error = kind(*arguments)
            str(error)
        except (TypeError, AttributeError):
            continue
        return error
    raise AssertionError(f"no arguments known for {kind}")


FOREIGN = [
    *_errors_of(requests.exceptions, urllib3.exceptions, astroquery.exceptions),
    *(ConnectionResetError, ConnectionRefusedError, BrokenPipeError, TimeoutError, OSError),
]


@pytest.mark.parametrize("kind", FOREIGN, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_no_foreign_error_is_left_unmapped(kind):
    failure = translate(_made(kind))
    assert isinstance(failure, Failure)
    assert failure.status in STATUSES


@pytest.mark.parametrize("error", [ZeroDivisionError("1/0"), AttributeError("x"), KeyError("y"), MemoryError()])
def test_a_mistake_of_ours_does_not_pass_for_an_outage(error):
    with pytest.raises(type(error)):
        translate(error)


def _response(code, **headers):
    response = requests.Response()
    response.status_code, response.reason = code, "because"
    response.headers.update(headers)
    return response


@pytest.mark.parametrize(
    ("codes", "passing"),
    [((400, 401, 403, 404, 410, 414), False), ((408, 425, 429, 500, 502, 503, 504), True)],
)
def test_which_http_errors_pass(codes, passing):
    for code in codes:
        _check_http_error(code, passing)


def _check_http_error(code, passing):
    with pytest.raises(requests.HTTPError) as caught:
        _response(code).raise_for_status()
    failure = translate(caught.value)
    assert (failure.status, failure.passing) == ("http_error", passing)
    assert str(code) in str(failure)


@pytest.mark.parametrize(
    ("header", "low", "high"),
    [
        ("7", 7, 7),
        ("0", 0, 0),
        ("soon", 0, 0),
        ("-3", 0, 0),
        (None, 0, 0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0, 0),
        ("date", 3000, 3600),
    ],
)
def test_retry_after_is_a_number_or_a_date(header, low, high):
    if header == "date":
        header = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    headers = {} if header is None else {"Retry-After": header}
    failure = translate(requests.HTTPError(response=_response(503, **headers)))
    assert low <= failure.retry_after <= high


def test_an_answer_without_end_is_not_read_to_its_end():
    session = requests.Session()
    session.trust_env = False
    Guard(check_fits, 1000, 20.0).watch(session)
    form = {"RA": "10.5 30.0", "ImageSize": "9.18", "MaxImSize": "1024"}
    with FirstServer() as server, session, pytest.raises(Failure, match="longer than 4000 bytes") as caught:
        session.post(server.url, data=form, timeout=20)
    assert (caught.value.status, caught.value.passing) == ("not_an_image", False)


# --- where an answer may lead -----------------------------------------------------------------------------------------

SETTINGS = {"pause": 0.001, "timeout": 20.0, "check_coverage": False, "cache": False}
HERE = np.array([162.53]), np.array([30.677])


@pytest.fixture
def at_home(tmp_path, monkeypatch):
    """No cache and no proxy but those of the test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")


@pytest.mark.usefixtures("at_home")
@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_service_that_has_moved_is_followed_with_what_it_was_asked(status):
    with FirstServer() as server, Moved(server.url, status) as moved:
        source = FirstImages(service_url=moved.url, **SETTINGS)
        assert source.fetch(*HERE).status == ["ok"]
    (request,) = server.requests
    assert request.method == "POST"
    assert request.fields["ImageSize"] == "9.18"
    assert request.position == pytest.approx((162.53, 30.677))
    assert source.traffic.requests == 2


class _Closed(Service):
    """A page that takes no forms."""

    def answer(self, asked):
        return Answer("no", status=405 if asked.method == "POST" else 200)


@pytest.mark.usefixtures("at_home")
def test_a_move_to_what_takes_no_forms_is_told(caplog):
    with _Closed(None) as page, Moved(f"{page.root}/news") as moved, caplog.at_level(logging.INFO, "radio_ag"):
        assert FirstImages(service_url=moved.url, **SETTINGS).fetch(*HERE).status == ["http_error"]
        assert len(page.asked) == 1  # that does not pass
    (message,) = {record.message.partition(": ")[2] for record in caplog.records if record.levelno == logging.INFO}
    assert (
        message == f"http_error (the address has moved to {page.root}/news, which answers HTTP 405 Method Not Allowed)"
    )


@pytest.mark.usefixtures("at_home")
@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1:{port}/x", "gopher://127.0.0.1:{port}/x"])
def test_nobody_is_led_out_of_http(target, caplog):
    with socket.create_server(("127.0.0.1", 0)) as listener, caplog.at_level(logging.INFO, "radio_ag"):
        listener.settimeout(0.2)
        target = target.format(port=listener.getsockname()[1])
        with Moved(target, 302) as moved:
            assert FirstImages(service_url=moved.url, **SETTINGS).fetch(*HERE).status == ["connection"]
            assert len(moved.asked) == 1
        with pytest.raises(TimeoutError):
            listener.accept()
    assert f"the address has moved to {target}, where it is not followed" in caplog.text


@pytest.mark.usefixtures("at_home")
def test_nobody_is_led_to_this_computer(caplog):
    """As a service elsewhere might try: here it is known as 127.0.0.1, and leads to localhost."""
    with FirstServer() as server, caplog.at_level(logging.INFO, "radio_ag"):
        inward = server.url.replace("127.0.0.1", "localhost")
        with Moved(inward) as moved:
            assert FirstImages(service_url=moved.url, **SETTINGS).fetch(*HERE).status == ["connection"]
        assert server.requests == []
    assert f"an answer leads to {inward}, which is not asked" in caplog.text


@pytest.mark.parametrize(
    ("url", "inward"),
    [
        ("http://10.0.0.7/x", True),
        ("http://169.254.169.254/latest", True),
        ("http://[::1]/x", True),
        ("http://a.localhost/x", True),
        ("http://192.0.2.1/x", True),
        ("https://data.csiro.au/x", False),
        ("https://130.63.218.1/x", False),
        ("https://host.org/x", False),
    ],
)
def test_what_is_inward(url, inward):
    assert leads_inward(url, "https://host.org/cutout") == inward


def test_encryption_is_not_given_up():
    response = _response(302, Location="http://host/plain")
    response.url, response.raw = "https://host/cutout", urllib3.HTTPResponse(io.BytesIO(b""), preload_content=False)
    response.request = requests.Request("POST", response.url).prepare()
    guard = Guard(check_fits, 1000, 20.0)
    with pytest.raises(Failure, match="has moved to http://host/plain, where it is not followed"):
        guard(response)
    response.headers["Location"] = "/elsewhere"
    guard(response)
    assert response.status_code == 308


@pytest.mark.usefixtures("at_home")
@pytest.mark.parametrize(
    ("content", "status", "asked"), [(b"moved", "connection", 6), (bytes(40_000_000), "not_an_image", 1)]
)
def test_going_round_in_circles_ends(content, status, asked):
    with Moved(None, content=content) as moved:
        assert FirstImages(service_url=moved.url, **SETTINGS).fetch(*HERE).status == [status]
        assert len(moved.asked) == asked
