"""The ``radio-ag`` command: one module a command, each a few lines over one library function."""

from radio_ag.cli.app import app, main

__all__ = ["app", "main"]
