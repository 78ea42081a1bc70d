"""Results to TOPCAT, Aladin, DS9 and other programs on the same desktop, by SAMP.

SAMP is the messaging protocol of the Virtual Observatory: a hub runs on the computer (TOPCAT and Aladin start one), and
programs that are registered with it take each other's tables and images. A message names a file; no data pass through
the hub. See https://www.ivoa.net/documents/SAMP/.
"""

import atexit
import functools
import os
import secrets
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING
from xml.parsers.expat import ExpatError
from xmlrpc.client import Error as XMLRPCError
from xmlrpc.client import Fault

from pyvo.samp import SAMPHubError, SAMPHubProxy

from radio_ag.catalog_io.product.headers import header_text
from radio_ag.errors import InputError, RadioAGWarning

if TYPE_CHECKING:
    from radio_ag.catalog_io.result import Result

TABLE, IMAGE = "table.load.fits", "image.load.fits"
"""Kinds of message: what programs subscribe to."""

_METADATA = {
    "samp.name": "radio-ag",
    "samp.description.text": "FRI/FRII classification of radio sources",
}
_BROKEN_TALK = (XMLRPCError, ExpatError, HTTPException, OSError)
_NO_HUB = (*_BROKEN_TALK, SAMPHubError, KeyError, ValueError)  # the last two: a lock file that no hub wrote


class SampError(InputError):
    """No SAMP hub is running, or no program that is registered there took what was sent."""


def send_result(
    result: "Result", to: str | None = None, *, image: str | os.PathLike | None = None, timeout: int = 60
) -> list[str]:
    """Send the table of a result to other programs.

    It lies in a temporary file for as long as this process lives, since programs may read it again.

    Parameters
    ----------
    result : Result
        Its attention maps stay here.
    to : str, optional
        Name of a program or a part of it, in any case; None means every program that takes FITS tables.
    image : path, optional
        A FITS image, such as the mosaic on which the sources lie, sent before the table.
    timeout : int
        Seconds to wait for each program to load a file; 0 waits for ever.

    Returns
    -------
    list of str
        Names of the programs that loaded the table.

    Raises
    ------
    SampError
        If no hub is running, no such program is registered, or none took the table.
    InputError
        If ``image`` is not there.
    """
    path = _process_folder() / f"radio-ag-{secrets.token_hex(4)}.fits"
    result.write(path, attention="none")
    name = str(result.provenance.get("catalogue") or path.name)
    return send_file(path, to, name=name, image=image, timeout=timeout)


def send_file(
    path: str | os.PathLike,
    to: str | None = None,
    *,
    name: str | None = None,
    image: str | os.PathLike | None = None,
    timeout: int = 60,
) -> list[str]:
    """Send a FITS file whose first extension is a table, such as a product, to other programs.

    Parameters
    ----------
    path : path
        The file; programs read it from where it lies.
    to : str, optional
        Name of a program or a part of it, in any case: "topcat", "aladin", "ds9". None means every program that takes
        FITS tables.
    name : str, optional
        What the table is called there; the file's name by default.
    image : path, optional
        A FITS image, such as the mosaic on which the sources lie, sent before the table.
    timeout : int
        Seconds to wait for each program to load a file; 0 waits for ever.

    Returns
    -------
    list of str
        Names of the programs that loaded the table.

    Raises
    ------
    SampError
        If no hub is running, no such program is registered, or none took what was sent.
    InputError
        If a file is not there.
    """
    messages = {TABLE: _message(TABLE, path, name)}
    if image is not None:
        messages = {IMAGE: _message(IMAGE, image, None), **messages}
    with _registered() as (hub, key):
        recipients = {mtype: _recipients(hub, key, mtype, to) for mtype in messages}
        for mtype, message in messages.items():
            loaded = _deliver(hub, key, recipients[mtype], message, timeout)
    return loaded


@functools.cache
def _process_folder() -> Path:
    """A folder for temporary files that goes when this process does."""
    folder = tempfile.mkdtemp(prefix="radio-ag-samp-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _message(mtype: str, path: str | os.PathLike, name: str | None) -> dict:
    path = Path(path).resolve()
    if path.is_dir():
        raise InputError(f"{path} is a folder: other programs take a file, which Result.send makes of any result")
    if not path.is_file():
        raise InputError(f"{path} cannot be sent: there is no such file")
    url = path.as_uri()
    identifier = "table-id" if mtype == TABLE else "image-id"
    return {
        "samp.mtype": mtype,
        "samp.params": {"url": url, identifier: url, "name": header_text(name or path.name)},
    }


@contextmanager
def _registered() -> Iterator[tuple[SAMPHubProxy, str]]:
    """The running hub, and the key under which this program is registered with it for the time being."""
    hub = SAMPHubProxy()
    try:
        try:
            hub.connect(pool_size=1)
            key = hub.register(hub.lockfile["samp.secret"])["samp.private-key"]
            hub.declare_metadata(key, _METADATA)
        except _NO_HUB as exc:
            raise SampError("no SAMP hub is running: start TOPCAT, Aladin or another program that has one") from exc
        try:
            try:
                yield hub, key
            finally:
                hub.unregister(key)
        except _BROKEN_TALK as exc:
            raise SampError(f"the SAMP hub does not answer any more: {exc}") from exc
    finally:
        hub.disconnect()


def _recipients(hub: SAMPHubProxy, key: str, mtype: str, to: str | None) -> dict[str, str]:
    """Name by identifier of the programs that take a kind of message and whose name holds ``to``."""
    takers = {
        client: str(hub.get_metadata(key, client).get("samp.name", client))
        for client in hub.get_subscribed_clients(key, mtype)
    }
    chosen = {client: name for client, name in takers.items() if to is None or to.casefold() in name.casefold()}
    if not chosen:
        wanted = "program" if to is None else f"program called {to!r}"
        known = f"; these do: {', '.join(sorted(takers.values()))}" if takers else ""
        raise SampError(f"no {wanted} that takes {mtype} is registered with the SAMP hub{known}")
    return chosen


def _deliver(hub: SAMPHubProxy, key: str, recipients: dict[str, str], message: dict, timeout: int) -> list[str]:
    """Send a message to each recipient and wait until it is done; names of those that did it."""
    loaded, failures = [], []
    for client, name in recipients.items():
        try:
            response = hub.call_and_wait(key, client, message, str(int(timeout)))
        except Fault as exc:
            failures.append(f"{name} did not answer ({exc.faultString})")
            continue
        status = response.get("samp.status")
        if status != "samp.ok":
            reason = response.get("samp.error", {}).get("samp.errortxt", "it does not say why")
            failures.append(f"{name} reports {str(status).removeprefix('samp.')}: {reason}")
        if status in ("samp.ok", "samp.warning"):
            loaded.append(name)
    if not loaded:
        raise SampError(f"{message['samp.mtype']}: {'; '.join(failures)}")
    if failures:
        warnings.warn(f"{message['samp.mtype']}: {'; '.join(failures)}", RadioAGWarning, stacklevel=2)
    return loaded
