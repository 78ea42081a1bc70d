"""A loopback HTTP server that speaks the protocol of the FIRST cutout service, failures included.

It answers a POST of the form fields ``RA`` ("hours degrees", in one field), ``Equinox``, ``ImageSize`` (arcmin),
``ImageType`` and ``MaxImSize`` with a FITS image in the form of the real service: raw pixels of a SIN-projected coadd
whose reference pixel lies far from the target, two axes of data with cards for four, EPOCH, a DATE-OBS that is no date,
and JY/BEAM. Nothing here uses astropy, so that the images are an independent check of how they are read.
"""

from __future__ import annotations

import contextlib
import gzip
import math
import re
import socket
import struct
import sys
import threading
import urllib.parse
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

SCALE = 0.0005  # degrees a pixel, 1.8 arcsec
NOT_IN_FIRST = b"<PRE>\n<B>Location not in FIRST survey</B>\n</PRE>\n"
OUTAGE = b"<!DOCTYPE html><html><head><title>Maintenance</title></head><body>Back soon.</body></html>\n"

STATUS_MODES = {"404": 404, "403": 403, "500": 500, "502": 502, "503": 503, "429": 429}
FAILURES = (*STATUS_MODES, "html", "truncated", "short", "garbage", "empty", "reset", "slow")
"""Modes that give no image; see `FirstServer` for the others."""


@dataclass
class Request:
    """A request as it arrived."""

    method: str
    path: str
    fields: dict[str, str]
    headers: dict[str, str]
    attempt: int
    mode: str = "ok"

    @property
    def position(self) -> tuple[float, float]:
        """RA and Dec in degrees."""
        hours, degrees = self.fields["RA"].split(" ")
        return float(hours) * 15, float(degrees)


class CoaddSky:
    """Coadded fields on a grid over the whole sky: correlated noise, and a double at each position asked for.

    Parameters
    ----------
    seed : int
        Of the noise.
    rms : float
        Jy/beam.
    peak : float
        Jy/beam of each of the two lobes, 20 px apart along declination; 0 leaves them out.
    beam : (float, float, float)
        Major and minor axis (degrees) and position angle in the header; the lobes are drawn round, 5.4 arcsec across.
    """

    def __init__(self, seed=0, rms=1.5e-4, peak=5e-3, beam=(1.5e-3, 1.5e-3, 0.0)):
        self.beam = beam
        noise = np.random.default_rng(seed).normal(size=(1024, 1024))
        frequency = np.fft.fftfreq(1024)
        width = 5.4 / 1.8 / math.sqrt(8 * math.log(2)) * math.pi
        transfer = np.exp(-((frequency[:, None] ** 2 + frequency[None, :] ** 2) * width**2))
        noise = np.fft.ifft2(np.fft.fft2(noise) * transfer).real
        self._noise = (noise / noise.std() * rms).astype(np.float32)
        self._peak = peak

    def cutout(self, ra, dec, size):
        """Pixels (size, size) and the cards of the world coordinates; None where there is no sky."""
        ra0, dec0 = self._field_centre(ra, dec)
        x, y = sin_project(ra, dec, ra0, dec0)
        crpix = 775.4, 575.7  # of the coadd, 1-based
        x, y = crpix[0] - x / SCALE, crpix[1] + y / SCALE
        left, bottom = math.floor(x) - size // 2, math.floor(y) - size // 2  # 1-based, up to 1 px off
        rows = np.arange(bottom, bottom + size) % 1024
        columns = np.arange(left, left + size) % 1024
        data = self._noise[rows[:, None], columns]
        if self._peak:
            for offset in (-10, 10):
                self._add_point(data, x - left, y - bottom + offset)
        cards = {"CTYPE1": "RA---SIN", "CRVAL1": ra0, "CRPIX1": crpix[0] - left + 1, "CDELT1": -SCALE}
        cards |= {"CTYPE2": "DEC--SIN", "CRVAL2": dec0, "CRPIX2": crpix[1] - bottom + 1, "CDELT2": SCALE}
        cards |= {"BMAJ": self.beam[0], "BMIN": self.beam[1], "BPA": self.beam[2]}
        return data, cards

    def _field_centre(self, ra, dec):
        dec0 = max(-89.0, min(89.0, round(dec / 0.5) * 0.5 + 0.13))
        step = 0.7 / math.cos(math.radians(dec0))
        return (round(ra / step) * step + 0.11) % 360, dec0

    def _add_point(self, data, x, y):
        ny, nx = data.shape
        lowest_x, lowest_y = max(0, round(x) - 8), max(0, round(y) - 8)
        highest_x, highest_y = min(nx, round(x) + 9), min(ny, round(y) + 9)
        width = 5.4 / 1.8
        across = np.exp(-4 * math.log(2) * ((np.arange(lowest_x, highest_x) - x) / width) ** 2)
        along = np.exp(-4 * math.log(2) * ((np.arange(lowest_y, highest_y) - y) / width) ** 2)
        data[lowest_y:highest_y, lowest_x:highest_x] += (self._peak * along[:, None] * across).astype(np.float32)


class MosaicSky:
    """Cutouts of one image, e.g. a simulated mosaic, as its pixels are.

    Parameters
    ----------
    data : ndarray, shape (ny, nx)
        Jy/beam.
    world_to_pixel : callable
        (ra, dec) in degrees to 0-based (x, y).
    cards : dict
        CTYPE1/2, CRVAL1/2, CRPIX1/2, CDELT1/2, and BMAJ, BMIN, BPA, of the whole image.
    """

    def __init__(self, data, world_to_pixel, cards):
        self.data, self.world_to_pixel, self.cards = data, world_to_pixel, dict(cards)

    def cutout(self, ra, dec, size):
        x, y = (float(v) for v in self.world_to_pixel(ra, dec))
        ny, nx = self.data.shape
        if not (-0.5 <= x < nx - 0.5 and -0.5 <= y < ny - 0.5):
            return None
        left, bottom = math.floor(x) - size // 2, math.floor(y) - size // 2
        data = np.full((size, size), np.nan, np.float32)
        low_x, low_y = max(0, -left), max(0, -bottom)
        high_x, high_y = min(size, nx - left), min(size, ny - bottom)
        data[low_y:high_y, low_x:high_x] = self.data[bottom + low_y : bottom + high_y, left + low_x : left + high_x]
        moved = {"CRPIX1": self.cards["CRPIX1"] - left, "CRPIX2": self.cards["CRPIX2"] - bottom}
        return data, self.cards | moved


def sin_project(ra, dec, ra0, dec0):
    """Direction cosines (degrees) of a position from the reference (Calabretta & Greisen 2002, eqs. 60-61)."""
    ra, dec, ra0, dec0 = map(math.radians, (ra, dec, ra0, dec0))
    east = math.cos(dec) * math.sin(ra - ra0)
    north = math.sin(dec) * math.cos(dec0) - math.cos(dec) * math.sin(dec0) * math.cos(ra - ra0)
    return math.degrees(east), math.degrees(north)


def _card(keyword, value=None, comment=""):
    if value is None:
        text = f"{keyword:<8}{comment}"
    elif isinstance(value, str):
        quoted = f"'{value:<8}'"
        text = f"{keyword:<8}= {quoted:<20} / {comment}"
    elif isinstance(value, bool):
        text = f"{keyword:<8}= {'T' if value else 'F':>20} / {comment}"
    elif isinstance(value, int):
        text = f"{keyword:<8}= {value:>20d} / {comment}"
    else:
        text = f"{keyword:<8}= {value:>20.12G} / {comment}"
    return f"{text:<80}"[:80]


def fits_bytes(data, cards):
    """A FITS file in the form of the real service, written by hand."""
    header = [
        _card("SIMPLE", True, "FIRST Cutout Server: Wed Jun  3 12:46:13 2020"),
        _card("BITPIX", -32, "4-byte Floating Point"),
        _card("NAXIS", 2, "Number of data axes"),
        _card("NAXIS1", data.shape[1]),
        _card("NAXIS2", data.shape[0]),
        _card("DATATYPE", "REAL*4", "Floating Point"),
        _card("COMMENT", None, "FITS (Flexible Image Transport System) format is defined in 'Astronomy"),
        _card("FIELDNAM", "10510+30456E", "FIRST coadded image name"),
        _card("OBJECT", "J105007+304037"),
        _card("TELESCOP", "VLA"),
        _card("DATE-OBS", "19930417"),
        _card("BUNIT", "JY/BEAM"),
        _card("EPOCH", 2000.0),
        _card("EQUINOX", 2000.0),
    ]
    header += [_card(key, value) for key, value in cards.items()]
    header += [_card("CROTA1", 0.0), _card("CROTA2", 0.0)]
    for axis, (kind, value, step) in {3: ("FREQ", 1364900000.0, 2.1875e7), 4: ("STOKES", 1.0, 1.0)}.items():
        header += [_card(f"CTYPE{axis}", kind), _card(f"CRVAL{axis}", value), _card(f"CDELT{axis}", step)]
        header += [_card(f"CRPIX{axis}", 1.0), _card(f"CROTA{axis}", 0.0)]
    if "BMAJ" in cards:
        sizes = f"BMAJ={cards['BMAJ']:12.4E} BMIN={cards['BMIN']:12.4E} BPA={cards['BPA']:7.2f}"
        header.append(_card("HISTORY", None, f" AIPS   CLEAN {sizes}"))
    header.append(_card("END", None))
    text = "".join(header).encode("ascii")
    pixels = data.astype(">f4").tobytes()
    return text + b" " * (-len(text) % 2880) + pixels + b"\0" * (-len(pixels) % 2880)


@dataclass
class FirstServer:
    """The service on a free port of 127.0.0.1, to be used as a context manager.

    Parameters
    ----------
    sky : object, optional
        With a method ``cutout(ra, dec, size)``; a `CoaddSky` unless given.
    decide : callable, optional
        From a `Request` (whose ``attempt`` counts from 1 for each position) to the mode of its answer: "ok", "partial"
        (a corner blank), "blank", "zeros" (a strip), "chunked", "closing" (no length given), "gzip", "trickle" (byte by
        byte), "late" (an image in the end), "pre" (outside the survey) or one of `FAILURES`.
    retry_after : str
        Sent with 429 and 503; "" for none.
    latency : float
        Seconds before each answer.
    slow : float
        Seconds before an answer of the mode "late", and before the connection ends without one, "slow".
    """

    sky: object = None
    decide: object = None
    retry_after: str = "0"
    latency: float = 0.0
    slow: float = 30.0
    requests: list[Request] = field(default_factory=list)
    max_concurrent: int = 0
    connections: int = 0

    def __post_init__(self):
        self.sky = self.sky or _default_sky()
        self.arrived = threading.Event()  # set with the first request
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self._attempts = Counter()
        self._open = 0
        self._server = None

    def __enter__(self):
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.first = self
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exc_info):
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """Where the service answers."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/cgi-bin/firstcutout"

    def modes(self) -> Counter:
        """How many requests were answered in each mode."""
        return Counter(request.mode for request in self.requests)

    def forget(self) -> None:
        """Start the log and the attempts anew."""
        with self.lock:
            self.requests.clear()
            self._attempts.clear()
            self.max_concurrent = 0

    def arrive(self, method, path, headers, fields) -> Request:
        with self.lock:
            position = fields.get("RA", "")
            self._attempts[position] += 1
            request = Request(method, path, fields, headers, self._attempts[position])
            request.mode = self.decide(request) if self.decide else "ok"
            self.requests.append(request)
            self._open += 1
            self.max_concurrent = max(self.max_concurrent, self._open)
        self.arrived.set()
        return request

    def leave(self) -> None:
        with self.lock:
            self._open -= 1

    def image(self, request) -> bytes | None:
        """The FITS file for a request, or None outside the sky."""
        size = min(round(float(request.fields["ImageSize"]) * 60 / 1.8), int(request.fields["MaxImSize"]))
        cut = self.sky.cutout(*request.position, size)
        if cut is None:
            return None
        data, cards = cut
        if request.mode == "partial":
            data[: size // 4, : size // 4] = np.nan
        elif request.mode == "blank":
            data[:] = np.nan
        elif request.mode == "zeros":
            data[: size // 4] = 0
        return fits_bytes(data, cards)


_SKIES = {}


def _default_sky():
    if "default" not in _SKIES:
        _SKIES["default"] = CoaddSky()
    return _SKIES["default"]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def process_request(self, request, client_address):
        self.first.connections += 1
        super().process_request(request, client_address)

    def handle_error(self, request, client_address):
        """A client that goes away in mid-answer is no error of the server."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def log_message(self, *args):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode("ascii")
        fields = {k: v[0] for k, v in urllib.parse.parse_qs(body, keep_blank_values=True, strict_parsing=True).items()}
        self._answer(fields)

    def _answer(self, fields):
        first = self.server.first
        request = first.arrive(self.command, self.path, dict(self.headers), fields)
        try:
            if first.latency:
                first.stopping.wait(first.latency)
            self._answer_in_mode(first, request)
        finally:
            first.leave()

    def _answer_in_mode(self, first, request):
        mode = request.mode
        if mode in ("slow", "late"):
            first.stopping.wait(first.slow)
        if mode == "slow":
            self.close_connection = True
        elif mode == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True
        elif mode in STATUS_MODES:
            waiting = {"Retry-After": first.retry_after} if mode in ("429", "503") and first.retry_after else {}
            self._send(OUTAGE, STATUS_MODES[mode], "text/html", waiting)
        elif mode == "html":
            self._send(OUTAGE, 200, "text/html")
        elif mode == "pre":
            self._send(NOT_IN_FIRST, 200, "text/html")
        elif mode == "empty":
            self._send(b"", 200, "image/fits")
        elif mode == "garbage":
            self._send(b"SIMPLE  =" + b"\xff\x00 nonsense" * 300, 200, "image/fits")
        else:
            self._send_image(first, request)

    def _send_image(self, first, request):
        content = first.image(request)
        if content is None:
            self._send(NOT_IN_FIRST, 200, "text/html")
            return
        name = re.sub(r"[^0-9.+-]", "_", request.fields["RA"])
        disposition = {"Content-Disposition": f'attachment; filename="J{name}.fits"'}
        if request.mode == "short":  # a whole answer as far as HTTP can tell
            content = content[: len(content) // 2]
        promised = len(content)
        if request.mode == "truncated":  # less than Content-Length promises
            content = content[: len(content) // 3]
            self.close_connection = True
        if request.mode in ("chunked", "closing", "gzip"):
            self._send_otherwise(request.mode, content, disposition)
        elif request.mode == "trickle":
            self._send(b"", 200, "image/fits", disposition, promised)
            for byte in content:
                if first.stopping.wait(0.02):
                    break
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
            self.close_connection = True
        else:
            self._send(content, 200, "image/fits", disposition, promised)

    def _send_otherwise(self, mode, content, headers):
        """A whole answer that does not say beforehand how long it is, or that is compressed."""
        self.send_response(200)
        self.send_header("Content-Type", "image/fits")
        for key, value in headers.items():
            self.send_header(key, value)
        if mode == "chunked":
            self.send_header("Transfer-Encoding", "chunked")
            pieces = [content[start : start + 50_000] for start in range(0, len(content), 50_000)]
            content = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (*pieces, b""))
        elif mode == "gzip":
            content = gzip.compress(content, 1)
            self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Length", str(len(content)))
        else:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()

    def _send(self, content, status, kind, headers=None, promised=None):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content) if promised is None else promised))
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()


@contextlib.contextmanager
def closed_port():
    """The URL of a port on which nothing listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))  # bound and never listening: connections are refused
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/cgi-bin/firstcutout"
