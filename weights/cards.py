"""Cards: the JSON beside a file of weights, that says what network it holds and how to feed it; checked when read."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radio_ag.class_names import DEFAULT_CLASSES, problem_with
from radio_ag.errors import WeightsError
from radio_ag.preprocess.images import BEAM_FWHM, CROP_SIZE, PIXEL_SCALE, STRETCHES, Preprocessing

_LARGEST = 16 << 20  # bytes; a card with the figures of a cross-validation has 50 kB
_SHOWN = 60  # characters of a value in a message
_LARGE = 1e6  # beyond any clip, value range or distance that makes sense, and safe in float32
_MOST_MEMBERS = 100


@dataclass(frozen=True)
class ByOrbit:
    """A number for each size of the orbit: what is fitted to the mean over eight views is not right for one.

    Attributes
    ----------
    values : mapping of int to float
        By orbit, 1, 2, 4 and 8 as a rule; empty where the card has none.
    default : float
        What holds where it has none.
    """

    values: Mapping[int, float]
    default: float

    def at(self, orbit: int) -> float:
        """Return the number for an orbit: its own, or that of the largest one below.

        Parameters
        ----------
        orbit : int

        Returns
        -------
        float
        """
        known = [of for of in self.values if of <= orbit] or list(self.values)[:1]
        return self.values[max(known)] if known else self.default


@dataclass(frozen=True)
class Card:
    """What a card says, as far as a classifier depends on it.

    Attributes
    ----------
    name : str
        Without folders.
    description : str
    architecture : mapping or None
        Settings for `radio_ag.network.baselines.architecture_of`; None in a card that is not on disk yet.
    classes : tuple of str
        In the order of the network's outputs.
    members : int
        Networks of the ensemble, 1 to 100.
    parameters : int or None
        Of each network.
    preprocessing : Preprocessing
        How to make the network's input.
    window : int
        Pixels along each side of the middle of the image, which the network sees alone; 150: all of it.
    survey : str
        Whose images the network has learnt from; empty where the card does not tell.
    beam, pixel_scale : float
        Arcsec, of the images that the network knows.
    needs_morphology : bool
        Whether the classes mean something for resolved sources alone: ``UNRESOLVED`` ones then get none.
    temperature : ByOrbit
        The class scores are divided by it.
    uncertain_below : ByOrbit
        Probability of the class below which a source is ``UNCERTAIN``.
    further_within : float
        Difference of the class scores below which a source is seen from further angles.
    asked_first : int or None
        Networks that see each source; the others see those that are in doubt after that. None: all see each.
    doubt_below : ByOrbit
        Probability of the class below which a source is in doubt.
    temperature_of_all : ByOrbit
        In the place of the temperature, where all networks have seen a source.
    novelty : ByOrbit or None
        Distance from the training set above which a source is ``OUT_OF_DISTRIBUTION``; None where it is not known.
    sha256 : str or None
        Of the file of weights, hexadecimal.
    content : mapping
        All that the card says.
    """

    name: str
    description: str
    architecture: Mapping[str, Any] | None
    classes: tuple[str, ...]
    members: int
    parameters: int | None
    preprocessing: Preprocessing
    window: int
    survey: str
    beam: float
    pixel_scale: float
    needs_morphology: bool
    temperature: ByOrbit
    uncertain_below: ByOrbit
    further_within: float
    asked_first: int | None
    doubt_below: ByOrbit
    temperature_of_all: ByOrbit
    novelty: ByOrbit | None
    sha256: str | None
    content: Mapping[str, Any]

    @property
    def frii_share(self) -> float | None:
        """Share of FRII among the FRI and FRII that were learnt from; None where the card tells none."""
        if self.classes != DEFAULT_CLASSES:
            return None
        training = self.content.get("training")
        counts = training.get("sources") if isinstance(training, Mapping) else None
        if not isinstance(counts, Mapping) or not all(map(_whole(0, 10**9), counts.values())):
            return None
        first, second = (
            sum(count for name, count in counts.items() if label in str(name).split()) for label in ("FRI", "FRII")
        )
        return second / (first + second) if first and second else None

    @classmethod
    def of(cls, content: Any, source: str = "the card") -> Card:
        """Check a card.

        Parameters
        ----------
        content : mapping
            As JSON gives it.
        source : str
            What messages call it.

        Raises
        ------
        WeightsError
            A field is missing or cannot be used: its name, its value and what is accepted are named.
        """
        if not _is_mapping(content):
            raise WeightsError(f"{source} is not a card: it is {_shown(content)}, expected an object with names")
        whole = _Section(content, source)
        calibration, novelty = whole.section("calibration", {}), whole.section("novelty", None)
        some = f"a number from 0 to {_LARGE:g}", _number(0, _LARGE)
        share = "a number from 0 to 1", _number(0, 1)
        divisor = "a number from 0.001 to 1000", _number(0.001, 1000)
        members = whole.get("members", f"a whole number from 1 to {_MOST_MEMBERS}", _whole(1, _MOST_MEMBERS), 1)
        return cls(
            name=whole.get("name", "a name without folders", _is_plain_name),
            description=whole.get("description", "text", _is_text, ""),
            architecture=whole.get("architecture", "an object of settings", _is_settings, None),
            classes=tuple(whole.get("classes", "a list of 2 to 20 names that differ", _are_classes, DEFAULT_CLASSES)),
            members=members,
            parameters=whole.get("parameters", "a whole number", _whole(1, 10**9), None),
            preprocessing=_preprocessing(made := whole.section("input")),
            window=made.get("window", f"an even number from 16 to {CROP_SIZE}", _is_window, CROP_SIZE),
            survey=made.get("survey", "text", _is_text, ""),
            beam=made.get("beam", "a number from 0.1 to 3600 (arcsec)", _number(0.1, 3600), BEAM_FWHM),
            pixel_scale=made.get(
                "pixel_scale", "a number from 0.01 to 3600 (arcsec)", _number(0.01, 3600), PIXEL_SCALE
            ),
            needs_morphology=whole.get("needs_morphology", "true or false", lambda value: type(value) is bool, True),
            temperature=calibration.by_orbit("temperature", *divisor, 1.0),
            uncertain_below=calibration.by_orbit("uncertain_below", *share, 0.0),
            further_within=calibration.get("further_within", *some, 0.0),
            asked_first=calibration.get(
                "asked_first", f"a whole number from 1 to the members, {members}", _whole(1, members), None
            ),
            doubt_below=calibration.by_orbit("doubt_below", *share, 0.0),
            temperature_of_all=calibration.by_orbit("temperature_of_all", *divisor, 1.0),
            novelty=None if novelty.content is None else novelty.by_orbit("threshold", *some),
            sha256=whole.get("sha256", "64 hexadecimal digits", _is_sha256, None),
            content=content,
        )

    @classmethod
    def read(cls, path: Path) -> Card:
        """Read and check the card in a file.

        Parameters
        ----------
        path : Path

        Raises
        ------
        WeightsError
            There is no such file, it is no card, or a field of it cannot be used.
        """
        try:
            with path.open("rb") as file:
                text = file.read(_LARGEST + 1)
            if len(text) > _LARGEST:
                raise ValueError(f"larger than {_LARGEST >> 20} MiB")
            content = json.loads(text.decode("utf-8"), object_pairs_hook=_without_repetition)
        except FileNotFoundError as exc:
            weights = path.with_suffix(".safetensors").name
            raise WeightsError(f"{weights} has no card {path.name} beside it") from exc
        except OSError as exc:
            raise WeightsError(f"the card {path} cannot be read: {exc.strerror}") from exc
        except (ValueError, RecursionError) as exc:
            raise WeightsError(f"{path.name} is not a card: {exc}") from exc
        return cls.of(content, path.name)


_REQUIRED = object()


class _Section:
    """Some fields of a card, and where in it they are."""

    def __init__(self, content: Mapping[str, Any] | None, source: str, place: str = ""):
        self.content, self._source, self._place = content, source, place

    def get(self, name: str, accepted: str, check: Callable[[Any], bool], default: Any = _REQUIRED) -> Any:
        value = (self.content or {}).get(name, default)
        if value is _REQUIRED:
            raise WeightsError(f"{self._source} lacks {self._place}{name}: {accepted}")
        if value is not default and not check(value):
            raise WeightsError(f"{self._source}: {self._place}{name} is {_shown(value)}, accepted is {accepted}")
        return value

    def by_orbit(self, name: str, accepted: str, check: Callable[[Any], bool], default: float | None = None) -> ByOrbit:
        """Numbers by orbit, or one for all; required where there is no default."""
        missing: Any = _REQUIRED if default is None else {}
        one_or_each = f"{accepted}, or one for each orbit"
        value = self.get(name, one_or_each, lambda value: (_is_mapping(value) and value) or check(value), missing)
        if not _is_mapping(value):
            return ByOrbit({1: value}, value)
        values = self.section(name, missing)
        found = {orbit: values.get(orbit, accepted, check) for orbit in values.content or {}}
        for orbit in found:
            if not re.fullmatch("[1-9][0-9]{0,3}", orbit):
                raise WeightsError(f"{self._source}: {self._place}{name} is for the orbit {_shown(orbit)}, no number")
        ordered = sorted((int(orbit), value) for orbit, value in found.items())
        return ByOrbit(dict(ordered), 0.0 if default is None else default)

    def section(self, name: str, default: Any = _REQUIRED) -> _Section:
        value = self.get(name, "an object with names", _is_mapping, default)
        return _Section(value, self._source, f"{self._place}{name}.")


def _preprocessing(section: _Section) -> Preprocessing:
    section.get("size", f"{CROP_SIZE}", _whole(CROP_SIZE, CROP_SIZE), CROP_SIZE)
    return Preprocessing(
        clip=section.get("clip", f"a number from 0 to {_LARGE:g} (times the noise)", _number(0, _LARGE)),
        stretch=section.get("stretch", f"one of {', '.join(STRETCHES)}", lambda value: value in STRETCHES),
        value_range=tuple(section.get("value_range", "two numbers, the lower first", _is_range)),
    )


def _number(low: float, high: float) -> Callable[[Any], bool]:
    return lambda value: type(value) in (int, float) and low <= value <= high  # no NaN, no bool, no endless integer


def _whole(low: int, high: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and low <= value <= high


def _is_mapping(value: Any) -> bool:
    return isinstance(value, Mapping)


def _is_settings(value: Any) -> bool:
    """Whether names stand for single values, as those of an architecture do."""
    return isinstance(value, Mapping) and all(
        (isinstance(setting, str) and len(setting) < 100) or isinstance(setting, bool) or _number(-1e9, 1e9)(setting)
        for setting in value.values()
    )


def _is_window(value: Any) -> bool:
    return _whole(16, CROP_SIZE)(value) and value % 2 == 0


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_plain_name(value: Any) -> bool:
    return (
        isinstance(value, str)
        and 0 < len(value) <= 200
        and value.isprintable()
        and not value.startswith(".")
        and not set(value) & set("/\\")
    )


def _is_range(value: Any) -> bool:
    number = _number(-_LARGE, _LARGE)
    return isinstance(value, list | tuple) and len(value) == 2 and all(map(number, value)) and value[0] < value[1]


def _are_classes(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(map(_is_text, value)) and problem_with(value) is None


def _is_sha256(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python writes
        text = "a number of very many digits"
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("a name stands there twice")
    return content
