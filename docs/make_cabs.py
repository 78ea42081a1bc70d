"""Write radio_ag/cabs.yml, the stimela cabs, from the commands' own options: python docs/make_cabs.py"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import yaml
from typer.models import ArgumentInfo

from radio_ag.cli.classify import classify
from radio_ag.cli.find import find

PAGE = Path(__file__).parents[1] / "radio_ag" / "cabs.yml"
INTRODUCTION = """\
# Cabs of radio-ag for stimela 2: in a recipe, "_include: (radio_ag)cabs.yml".
# Written from the commands' own options by docs/make_cabs.py.

"""
COMMANDS = {"radio-ag-classify": classify, "radio-ag-find": find}
WRANGLERS = {
    "^radio-ag: warning: ": "SEVERITY:WARNING",
    "^radio-ag: error: (?P<message>.*)": "ERROR:{message}",  # last: stimela 2.1 stumbles over any that comes after it
}


def page() -> str:
    """Text of the file."""
    cabs = {name: cab(name, command) for name, command in COMMANDS.items()}
    return INTRODUCTION + yaml.safe_dump({"cabs": cabs}, sort_keys=False, width=118, allow_unicode=True)


def cab(name: str, command: Callable) -> dict[str, Any]:
    """Cab of a command: a parameter for each of its arguments and options."""
    hints = get_type_hints(command, include_extras=True)
    parameters = {key: parameter(key, hint) for key, hint in hints.items() if key != "return"}
    outputs = {"output": parameters.pop("output") | {"must_exist": True}}
    return {
        "info": command.__doc__.partition("\n")[0],
        "command": name.replace("radio-ag-", "radio-ag "),
        "policies": {"prefix": "--", "replace": {"_": "-"}, "repeat": "repeat"},
        "inputs": parameters,
        "outputs": outputs,
        "management": {"wranglers": dict(WRANGLERS)},
    }


def parameter(name: str, hint: Any) -> dict[str, Any]:
    """Schema of one parameter, from its type and what typer is told of it."""
    annotation, told, *_ = get_args(hint)
    optional = type(None) in get_args(annotation)
    kind = get_args(annotation)[0] if optional else annotation
    schema = {"info": told.help, "dtype": "str" if getattr(told, "parser", None) else dtype(name, kind)}
    if get_origin(kind) is Literal:
        schema["choices"] = list(get_args(kind))
    if get_origin(kind) is list:
        schema["must_exist"] = False  # a glob, or the name of a service
    if isinstance(told, ArgumentInfo):
        schema |= {"required": True, "policies": {"positional": True}}
    return schema


def dtype(name: str, kind: Any) -> str:
    """Stimela's type for one of Python's."""
    if get_origin(kind) is list:
        return "List[URI]"
    if kind is Path:
        return "Directory" if name.endswith("_dir") else "File"
    return kind.__name__ if kind in (bool, int, float) else "str"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
