"""Addresses of services: which can be, which are never asked, and what of them may be shown."""

from __future__ import annotations

import ipaddress
import os
import urllib.parse

import requests

from radio_ag.errors import InputError

LOOPBACK = {"127.0.0.1", "localhost", "::1"}
"""Hosts that are this machine."""


def checked_url(url: str) -> str:
    """Return the URL of a service as it is, if it can be one.

    Parameters
    ----------
    url : str
        As the user gives it.

    Returns
    -------
    str
        The same.

    Raises
    ------
    InputError
        It is not the URL of an HTTP service.
    """
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or not (url.isascii() and url.isprintable()):
        raise InputError(f"service_url must be an http or https URL, not {url!r}")
    return url


def check_passwords(url: str) -> None:
    """Check that requests can read the user's file of passwords, which it looks into at each request.

    Parameters
    ----------
    url : str
        Of a service.

    Raises
    ------
    InputError
        It is no text. What requests says nothing about, as of a line that it does not understand, is let pass.
    """
    try:
        requests.utils.get_netrc_auth(url)
    except ValueError as error:
        file = os.environ.get("NETRC", "~/.netrc")
        raise InputError(f"{file}, where requests looks for passwords, cannot be read: {error}") from error


def leads_inward(url: str, home: str) -> bool:
    """Return whether an address that an answer gives is of this computer or its own network.

    Parameters
    ----------
    url : str
        Where the answer leads.
    home : str
        URL of the service: its own host is never inward.

    Returns
    -------
    bool
        True for addresses that are not of the public internet.
    """
    host = urllib.parse.urlsplit(url).hostname or ""
    if host == urllib.parse.urlsplit(home).hostname:
        return False
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return host in LOOPBACK or host.endswith(".localhost")


def public(url: str) -> str:
    """Return the URL without a user's name and password.

    Parameters
    ----------
    url : str
        Of a service, as the user gives it.

    Returns
    -------
    str
        Fit for logs and headers.
    """
    parts = urllib.parse.urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
