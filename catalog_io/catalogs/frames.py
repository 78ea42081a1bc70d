"""Reference frames: equatorial at J2000 is taken, whatever else a catalogue says about itself is refused."""

import re

from astropy.table import Table

from radio_ag.errors import CatalogueError

_OTHER = re.compile(r"fk4|b1950|galactic|ecliptic", re.IGNORECASE)
_EQUINOX = re.compile(r"[JB]?\s*(\d+(?:\.\d*)?)")


def check_frame(table: Table, ra_name: str) -> None:
    """Check that the right ascension is ICRS, or FK5 at J2000 (which differs by less than 0.03 arcsec).

    The frame is that of the column's COOSYS in a VOTable, or of RADESYS and EQUINOX in a FITS header. A catalogue that
    says nothing is taken as ICRS.

    Raises
    ------
    CatalogueError
        When the catalogue names another frame or equinox.
    """
    frame = (table[ra_name].info.meta or {}).get("coosys") or _from_header(table.meta)
    equinox = _EQUINOX.search(frame.partition(" ")[2])
    precessed = equinox is not None and abs(float(equinox[1]) - 2000.0) > 0.01 and "icrs" not in frame.lower()
    if _OTHER.search(frame) or precessed:
        raise CatalogueError(
            f"the positions in {ra_name!r} are in the frame {frame!r}; ICRS or FK5 at J2000 is needed: "
            "convert them first, with astropy's SkyCoord"
        )


def _from_header(meta: dict) -> str:
    system = meta.get("RADESYS", meta.get("RADECSYS", "FK5"))
    return f"{system} {meta.get('EQUINOX', '')}".strip()
