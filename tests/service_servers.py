"""Loopback HTTP servers that speak the protocols of SkyView, hips2fits, CADC, CASDA, and of services by URL.

The sky behind them is two points on either side of the place that `PointSky` is made for. Images are drawn from their
positions by the formulae of the projections, and written by hand: nothing here uses astropy or the package.
"""

from __future__ import annotations

import base64
import itertools
import json
import math
import threading
import urllib.parse
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from first_server import fits_bytes

VOTABLE = """<?xml version="1.0" encoding="UTF-8"?>
<VOTABLE xmlns="http://www.ivoa.net/xml/VOTable/v1.3" version="1.3">{}</VOTABLE>"""


def project(ra, dec, ra0, dec0, projection):
    """Degrees to the east and north of the reference on the tangent plane (Calabretta & Greisen 2002, section 5.1)."""
    ra, dec, ra0, dec0 = map(math.radians, (ra, dec, ra0, dec0))
    east = math.cos(dec) * math.sin(ra - ra0)
    north = math.sin(dec) * math.cos(dec0) - math.cos(dec) * math.sin(dec0) * math.cos(ra - ra0)
    height = math.sin(dec) * math.sin(dec0) + math.cos(dec) * math.cos(dec0) * math.cos(ra - ra0)
    factor = 1 / height if projection == "TAN" else 1.0
    return math.degrees(east * factor), math.degrees(north * factor)


@dataclass
class PointSky:
    """Points of known flux density around a place.

    Parameters
    ----------
    ra, dec : float
        Degrees.
    beam : float
        Arcsec, circular.
    radius : float
        Degrees: there are no images further from the place.
    points : list of (float, float, float)
        Arcsec to the east and north of the place, Jy.
    """

    ra: float
    dec: float
    beam: float = 5.4
    radius: float = 0.5
    points: tuple = ((-60.0, 40.0, 0.02), (72.0, -54.0, 0.05))

    def covers(self, ra, dec):
        return math.hypot((ra - self.ra) * math.cos(math.radians(dec)), dec - self.dec) < self.radius

    def place(self, east, north):
        """RA and Dec of a point, degrees."""
        dec = self.dec + north / 3600
        return self.ra + east / 3600 / math.cos(math.radians(dec)), dec

    def image(self, ra, dec, size, scale, *, projection="TAN", reference=None, cards=None):
        """A FITS file of ``size`` pixels of ``scale`` arcsec around (ra, dec); the reference may be elsewhere."""
        ra0, dec0 = reference or (ra, dec)
        step = scale / 3600
        x0, y0 = project(ra, dec, ra0, dec0, projection)
        crpix = (size + 1) / 2 + x0 / step, (size + 1) / 2 - y0 / step
        y, x = np.indices((size, size), dtype=float)
        data = np.zeros((size, size))
        width = self.beam / scale
        for east, north, flux in self.points:
            px, py = project(*self.place(east, north), ra0, dec0, projection)
            px, py = crpix[0] - 1 - px / step, crpix[1] - 1 + py / step
            data += flux * np.exp(-4 * math.log(2) * ((x - px) ** 2 + (y - py) ** 2) / width**2)
        data += 1e-9  # nothing is exactly 0, which would count as blank
        world = {"CTYPE1": f"RA---{projection}", "CRVAL1": ra0, "CRPIX1": crpix[0], "CDELT1": -step}
        world |= {"CTYPE2": f"DEC--{projection}", "CRVAL2": dec0, "CRPIX2": crpix[1], "CDELT2": step}
        return fits_bytes(data.astype(np.float32), world | (cards or {}))


@dataclass
class Asked:
    """A request as it arrived."""

    method: str
    path: str
    fields: dict[str, list[str]]
    headers: dict[str, str]

    def __getitem__(self, name):
        (value,) = self.fields[name]
        return value


@dataclass
class Answer:
    content: bytes | str
    kind: str = "text/html"
    status: int = 200
    headers: dict = field(default_factory=dict)

    @classmethod
    def image(cls, content):
        return cls(content, "image/fits")


NOT_FOUND = Answer("<html>Not Found</html>", status=404)


class Service:
    """A service on a free port, as a context manager. `answer` makes an `Answer` of each request.

    ``fail``, if set, is asked first, and may give another answer.
    """

    def __init__(self, sky: PointSky):
        self.sky, self.asked, self.fail = sky, [], None
        self.lock = threading.Lock()

    def answer(self, asked: Asked) -> Answer:
        raise NotImplementedError

    def paths(self):
        return [asked.path for asked in self.asked]

    @property
    def root(self):
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self):
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.service = self
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exc_info):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def log_message(self, *args):
        pass

    def do_GET(self):
        service = self.server.service
        parts = urllib.parse.urlsplit(self.path)
        text = parts.query
        if self.command == "POST":
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            text = "&".join(part for part in (text, body) if part)
        fields = urllib.parse.parse_qs(text, keep_blank_values=True)
        asked = Asked(self.command, parts.path, fields, dict(self.headers))
        with service.lock:
            service.asked.append(asked)
        answer = (service.fail and service.fail(asked)) or service.answer(asked)
        content = answer.content.encode() if isinstance(answer.content, str) else answer.content
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(content)))
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()

    do_POST = do_GET


class Moved(Service):
    """A service that has moved: each request is sent on to ``target``."""

    def __init__(self, target, status=301, content=b"moved"):
        super().__init__(None)
        self.target, self.status, self.content = target, status, content

    url = property(lambda self: f"{self.root}/cgi-bin/firstcutout")

    def answer(self, asked):
        return Answer(self.content, status=self.status, headers={"Location": self.target or self.url})


class SkyView(Service):
    """A form, a page with a link for its answer, and the FITS file behind the link."""

    surveys = ("VLA FIRST (1.4 GHz)", "NVSS", "TGSS ADR1")

    def __init__(self, sky, cards=None):
        super().__init__(sky)
        self.cards, self.images, self.numbers = cards or {}, {}, itertools.count(1)

    @property
    def url(self):
        return f"{self.root}/current/cgi/basicform.pl"

    def answer(self, asked):
        if asked.path == "/current/cgi/basicform.pl":
            options = "".join(f"<option>{name}</option>" for name in self.surveys)
            return Answer(
                '<html><form name="query" action="runquery.pl" method="GET"><input name="Position">'
                f'<select name="survey" id="Radio">{options}</select>'
                '<select name="projection"><option selected value="Tan">Gnomonic</option></select>'
                '<input type="submit"></form></html>'
            )
        if asked.path == "/current/cgi/runquery.pl":
            number = next(self.numbers)
            self.images[f"/tempspace/fits/skv{number}.fits"] = asked
            return Answer(f'<html><a href="../../tempspace/fits/skv{number}.fits">FITS</a></html>')
        query = self.images.pop(asked.path, None)
        if query is None or query["survey"] not in self.surveys:
            return NOT_FOUND
        ra, dec = map(float, query["Position"].split())
        if not self.sky.covers(ra, dec):
            return NOT_FOUND
        size = int(query["pixels"])
        side, other = map(float, query["size"].split(","))
        assert side == other
        return Answer.image(self.sky.image(ra, dec, size, 3600 * side / size, cards=self.cards))


class Hips2Fits(Service):
    """A GET that names HiPS, centre and field of view; outside the survey all pixels are NaN. There is no unit."""

    url = property(lambda self: f"{self.root}/hips-image-services/hips2fits")

    def answer(self, asked):
        if asked["hips"] != "CDS/P/NVSS":
            return Answer(json.dumps({"title": "Bad request", "description": "no such HiPS"}), "application/json", 400)
        ra, dec, size = float(asked["ra"]), float(asked["dec"]), int(asked["width"])
        content = self.sky.image(ra, dec, size, 3600 * float(asked["fov"]) / size, cards={"RADESYS": "ICRS"})
        content = content.replace(b"BUNIT   = 'JY/BEAM '", b"OLDUNIT = 'JY/BEAM '")
        if not self.sky.covers(ra, dec):
            head = content.index(b"END" + b" " * 77) // 2880 * 2880 + 2880
            content = content[:head] + np.full(size * size, np.nan, ">f4").tobytes()
            content += b"\0" * (-len(content) % 2880)
        return Answer.image(content)


class ByUrl(Service):
    """A GET with position and size in the query."""

    url = property(lambda self: self.root + "/cutout?pos={ra},{dec}&size={size_arcmin:.4f}")

    def answer(self, asked):
        ra, dec = map(float, asked["pos"].split(","))
        if not self.sky.covers(ra, dec):
            return NOT_FOUND
        size = round(float(asked["size"]) * 60 / 1.5)
        cards = {"BMAJ": 6 / 3600, "BMIN": 6 / 3600, "BPA": 0.0}
        return Answer.image(self.sky.image(ra, dec, size, 1.5, projection="SIN", cards=cards))


class Cadc(Service):
    """A registry, TAP over CAOM2, DataLink, and SODA cutouts of tiles that lie beside each other.

    Each epoch has a tile around the place and its noise; ``short`` epochs have a tile that ends at the place.
    """

    epochs = ("VLASS1.1", "VLASS2.1")

    def __init__(self, sky, short=()):
        super().__init__(sky)
        self.short = short

    url = property(lambda self: f"{self.root}/reg/resource-caps")

    def answer(self, asked):
        if asked.path == "/reg/resource-caps":
            return Answer(
                "# services\n"
                f"ivo://cadc.nrc.ca/argus = {self.root}/argus/capabilities\n"
                f"ivo://cadc.nrc.ca/caom2ops = {self.root}/caom2ops/capabilities\n",
                "text/plain",
            )
        if asked.path == "/caom2ops/capabilities":
            return Answer(self._capabilities(), "text/xml")
        if asked.path == "/argus/sync":
            return Answer(self._planes(asked["QUERY"]), "application/x-votable+xml")
        if asked.path == "/caom2ops/datalink":
            return Answer(self._links(asked.fields["ID"]), "application/x-votable+xml")
        if asked.path == "/caom2ops/sync":
            return self._cutout(asked["ID"], asked["POS"])
        return NOT_FOUND

    def _capabilities(self):
        def interface(path, method):
            return (
                f'<interface xsi:type="vs:ParamHTTP" role="std"><accessURL use="base">{self.root}{path}</accessURL>'
                f"{method}</interface>"
            )

        methods = '<securityMethod standardID="ivo://ivoa.net/sso#tls-with-certificate"/>', "<securityMethod/>"
        interfaces = interface("/caom2ops/secret", methods[0]) + interface("/caom2ops/datalink", methods[1])
        return (
            '<?xml version="1.0"?><vosi:capabilities xmlns:vosi="http://www.ivoa.net/xml/VOSICapabilities/v1.0" '
            'xmlns:vs="http://www.ivoa.net/xml/VODataService/v1.1" '
            'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
            '<capability standardID="ivo://ivoa.net/std/VOSI#availability">'
            f"{interface('/caom2ops/availability', '')}</capability>"
            f'<capability standardID="ivo://ivoa.net/std/DataLink#links-1.0">{interfaces}</capability>'
            "</vosi:capabilities>"
        )

    def _planes(self, query):
        assert "collection='VLASS'" in query
        ra, dec, _ = (float(word) for word in query.split("CIRCLE('ICRS', ")[1].split(")")[0].split(", "))
        names = [f"{epoch}.T01t01.J120000+400000.quicklook.v1" for epoch in self.epochs]
        kinds = [(name, "image") for name in names] + [("VLASS2.1.T01t01.J120000+400000.se.cube", "cube")]
        rows = [(f"ivo://cadc.nrc.ca/VLASS?{name}", name, kind) for name, kind in kinds if self.sky.covers(ra, dec)]
        return _votable(("publisherID", "productID", "dataProductType"), rows)

    def _links(self, publisher_ids):
        rows, resources = [], []
        for publisher in publisher_ids:
            epoch = publisher.split("?")[1].split(".T01")[0]
            for part in ("tt0.subim", "tt0.rms.subim"):
                number = len(resources)
                name = f"cadc:VLASS/{epoch}.ql.T01t01.J120000+400000.10.2048.v1.I.iter1.image.pbcor.{part}.fits"
                rows.append((publisher, "", f"soda-{number}", "#cutout"))
                rows.append((publisher, f"{self.root}/file/{number}", "", "#this"))
                resources.append(
                    f'<RESOURCE type="meta" utype="adhoc:service" ID="soda-{number}">'
                    '<PARAM name="standardID" datatype="char" arraysize="*" value="ivo://ivoa.net/std/SODA#sync-1.0"/>'
                    f'<PARAM name="accessURL" datatype="char" arraysize="*" value="{self.root}/caom2ops/sync"/>'
                    '<GROUP name="inputParams">'
                    f'<PARAM name="ID" datatype="char" arraysize="*" value="{name}"/>'
                    '<PARAM name="POS" datatype="char" arraysize="*" value=""/></GROUP></RESOURCE>'
                )
        return _votable(("ID", "access_url", "service_def", "semantics"), rows, resources)

    def _cutout(self, name, position):
        """North is up 1° beside the place alone, as in a tile of the real survey."""
        shape, ra, dec, radius = position.split()
        assert shape == "CIRCLE"
        if ".rms." in name:
            return Answer.image(PointSky(self.sky.ra, self.sky.dec, points=()).image(float(ra), float(dec), 50, 1.0))
        size = 2 * round(3600 * float(radius))
        dec, ra = float(dec), float(ra)
        if any(epoch in name for epoch in self.short):
            size, dec = size // 4, dec + 10 / 3600
        cards = {"BMAJ": self.sky.beam / 3600, "BMIN": self.sky.beam / 3600, "BPA": 0.0}
        reference = self.sky.ra + 1.0, self.sky.dec - 0.5
        return Answer.image(self.sky.image(ra, dec, size, 1.0, projection="SIN", reference=reference, cards=cards))


class Casda(Service):
    """SIA2, a login, DataLink, and SODA cutouts by jobs that take two looks to be done."""

    files = (
        ("RACS-DR1_1200+40A.fits", "cont.restored.t0", "2021-04-17T03:51:19.728Z"),
        ("RACS-DR1_1200+40A.weights.fits", "cont.weight.t0", "2021-04-17T03:51:19.728Z"),
        ("RACS-DR1_1200+40B.fits", "cont.restored.t0", ""),  # not released
        ("RACS-MID1_1200+40A.fits", "cont.restored.t0", "2023-04-17T03:51:19.728Z"),
    )
    user, password = "astronomer@example.org", "secret"

    def __init__(self, sky):
        super().__init__(sky)
        self.jobs = {}
        self.outcome = "COMPLETED"

    url = property(lambda self: f"{self.root}/sia2/query")
    login_url = property(lambda self: f"{self.root}/login")

    def answer(self, asked):
        if asked.path == "/login":
            return Answer("ok", status=200 if self._knows(asked) else 401)
        if asked.path == "/sia2/query":
            _, ra, dec, _ = asked["POS"].split()
            rows = [
                (name, kind, released, f"{self.root}/links?ID={urllib.parse.quote(name)}")
                for name, kind, released in self.files
            ]
            rows = rows if self.sky.covers(float(ra), float(dec)) else []
            names = ("filename", "dataproduct_subtype", "obs_release_date", "access_url")
            return Answer(_votable(names, rows), "application/x-votable+xml")
        if asked.path == "/links":
            return Answer(self._links(asked["ID"]), "text/xml") if self._knows(asked) else Answer("", status=401)
        if asked.path == "/data/async":
            return self._new_job(asked.fields["ID"])
        if asked.path.startswith("/data/async/"):
            return self._job(asked)
        if asked.path.endswith(".checksum"):
            return Answer("00ff 11ee", "text/plain")
        return self._cutout(asked.path)

    def _knows(self, asked):
        token = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        return asked.headers.get("Authorization") == f"Basic {token}"

    def _links(self, name):
        rows = [(name, "async_service", f"whole-{name}"), (name, "cutout_service", f"token-{name}")]
        resources = [
            f'<RESOURCE type="meta" utype="adhoc:service" ID="{service}">'
            f'<PARAM name="accessURL" datatype="char" arraysize="*" value="{self.root}/data/async"/></RESOURCE>'
            for service in ("async_service", "cutout_service")
        ]
        return _votable(("ID", "service_def", "authenticated_id_token"), rows, resources)

    def _new_job(self, tokens):
        with self.lock:
            number = len(self.jobs) + 1
            self.jobs[number] = {"tokens": tokens, "looks": 0, "POS": None, "running": False}
        return Answer("", status=303, headers={"Location": f"{self.root}/data/async/{number}"})

    def _job(self, asked):
        _, _, _, number, *what = asked.path.split("/")
        job = self.jobs[int(number)]
        if what == ["parameters"]:
            job["POS"] = asked["POS"]
        elif what == ["phase"]:
            job["running"] = asked["phase"] == "RUN"
        elif job["running"]:
            job["looks"] += 1
        phase = (self.outcome if job["looks"] > 2 else "EXECUTING") if job["running"] else "PENDING"
        links = [
            f"{self.root}/web/{number}/{i}/cutout.fits{end}"
            for i in range(len(job["tokens"]))
            for end in ("", ".checksum")
        ]
        results = "".join(f'<uws:result xlink:href="{urllib.parse.quote(link, safe="")}"/>' for link in links)
        return Answer(
            '<?xml version="1.0"?><uws:job xmlns:uws="http://www.ivoa.net/xml/UWS/v1.0" '
            f'xmlns:xlink="http://www.w3.org/1999/xlink"><uws:phase>{phase}</uws:phase>'
            f"<uws:results>{results}</uws:results></uws:job>",
            "text/xml",
        )

    def _cutout(self, path):
        _, _, number, index, _ = path.split("/")
        job = self.jobs[int(number)]
        assert job["tokens"][int(index)].startswith("token-RACS-DR1_")
        _, ra, dec, radius = job["POS"].split()
        cards = {"BMAJ": 25 / 3600, "BMIN": 25 / 3600, "BPA": 0.0}
        reference = self.sky.ra - 3.0, self.sky.dec + 2.0
        size = 2 * round(3600 * float(radius) / 2.5)
        content = self.sky.image(float(ra), float(dec), size, 2.5, projection="SIN", reference=reference, cards=cards)
        return Answer.image(content)


def _votable(names, rows, resources=()):
    fields = "".join(f'<FIELD name="{name}" ID="{name}" datatype="char" arraysize="*"/>' for name in names)
    cells = "".join("<TR>" + "".join(f"<TD>{_escaped(cell)}</TD>" for cell in row) + "</TR>" for row in rows)
    table = (
        '<RESOURCE type="results"><INFO name="QUERY_STATUS" value="OK"/>'
        f"<TABLE>{fields}<DATA><TABLEDATA>{cells}</TABLEDATA></DATA></TABLE></RESOURCE>"
    )
    return VOTABLE.format(table + "".join(resources))


def _escaped(text):
    return text.replace("&", "&amp;").replace("<", "&lt;")
