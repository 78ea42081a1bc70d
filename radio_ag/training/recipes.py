"""How a network is trained: the recipes, as frozen settings."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, get_args, get_type_hints

from radio_ag.errors import InputError
from radio_ag.labelled.augmentation import PAPER_AUGMENTATION, Augmentation
from radio_ag.network.baselines import AnyArchitecture, architecture_of, kind_of, needs_whole_images
from radio_ag.network.model import INPUT_SIZE, Architecture

_SMALLEST_WINDOW = 16  # pixels: three poolings leave two
_CHOICES = {
    "optimizer": ("muon", "adam"),
    "schedule": ("linear", "constant"),
}
_LIMITS: dict[str, tuple[float, ...]] = {
    "samples": (1,),
    "passes": (1,),
    "epochs": (1,),
    "windowed": (0,),
    "window": (_SMALLEST_WINDOW,),
    "served": (_SMALLEST_WINDOW, INPUT_SIZE),
    "batch": (2,),
    "weight_decay": (0,),
    "label_smoothing": (0, 1),
    "uncertain_weight": (0, 1),
    "averaging": (0, 1),
}


@dataclass(frozen=True)
class Recipe:
    """How a network is trained; the defaults are the recipe ``default``.

    Attributes
    ----------
    architecture : Architecture, ClassicArchitecture or SonoNetArchitecture
    samples : int or None
        Augmented images seen in all; None means ``epochs * passes`` times the number of training sources.
    epochs : int
        Number of looks at the validation sources, evenly spaced.
    passes : int or None
        Augmented passes over the training sources an epoch, where `samples` does not say how many images there are.
    windowed : int
        How many images, the first ones, are seen through a smaller window, which costs less: most sources are far
        smaller than 150 pixels, and a convolution does not care where the edge is.
    window : int
        Pixels along each side of that window.
    served : int
        Pixels along each side of what the network sees after these, and once it is trained: 150, or fewer where
        sources are small and their neighbours would be in the way.
    batch : int
        Images a step.
    optimizer : {"muon", "adam"}
        "muon" is Muon for the filters of the convolutions, and AdamW for everything else
        (:mod:`radio_ag.training.optimisers`).
    schedule : {"linear", "constant"}
        Of the learning rate: "linear" rises over the first tenth of the steps and falls to zero over the others.
    rate : float
        Learning rate, of a schedule the highest one.
    other_rate : float
        That of AdamW beside Muon.
    weight_decay, label_smoothing : float
    uncertain_weight : float
        Weight in the loss of a source whose label is uncertain.
    balanced : bool
        Whether both classes weigh the same in the loss, whatever their numbers.
    averaging : float
        Decay of the moving average of the weights that is kept in the end; 0 keeps the last weights.
    early_stopping : bool
        Whether the weights of the look with the lowest validation loss are kept instead of those of the end. Looks
        through the smaller window do not count.
    mixed_precision : bool
        Whether convolutions compute in bfloat16.
    frozen : bool
        Whether only the layers that classify learn, on features that stay as those of the network that is started from.
    augmented, stretch, flips, scale, offset, exact_share
        As those of `radio_ag.labelled.augmentation.Augmentation`.
    seed : int
    """

    architecture: AnyArchitecture = field(default_factory=lambda: Architecture(features="average", dropout=0.0))
    samples: int | None = 104_000
    epochs: int = 13
    passes: int | None = None
    windowed: int = 64_000
    window: int = 75
    served: int = INPUT_SIZE
    batch: int = 32
    optimizer: str = "muon"
    schedule: str = "linear"
    rate: float = 0.06
    other_rate: float = 0.01
    weight_decay: float = 0.02
    label_smoothing: float = 0.05
    uncertain_weight: float = 0.5
    balanced: bool = True
    averaging: float = 0.995
    early_stopping: bool = False
    mixed_precision: bool = True
    frozen: bool = False
    stretch: str = "sqrt"
    augmented: str = "field"
    flips: bool = True
    scale: tuple[float, float] = (0.9, 1.1)
    offset: float = 8.0
    exact_share: float = 0.3
    seed: int = 0

    def __post_init__(self) -> None:
        _ = self.augmentation  # checks its settings
        for name, accepted in _CHOICES.items():
            if getattr(self, name) not in accepted:
                raise InputError(f"{name} must be one of {', '.join(accepted)}, not {getattr(self, name)!r}")
        for name, limits in _LIMITS.items():
            if getattr(self, name) is not None:
                _check_range(self, name, *limits)
        if self.samples is None and self.passes is None:
            raise InputError("samples or passes must say how many images are seen: both are None")
        for name in ("rate", "other_rate"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} must be positive, not {getattr(self, name)!r}")
        _check_served(self)
        if self.windowed and needs_whole_images(self.architecture):
            raise InputError(
                f"windowed must be 0, not {self.windowed}, for this network: it takes {INPUT_SIZE} pixels alone"
            )

    @property
    def augmentation(self) -> Augmentation:
        """How the images are turned, scaled and shifted."""
        return Augmentation(**{f.name: getattr(self, f.name) for f in fields(Augmentation)})

    def prescribed(self, sources: int) -> int:
        """Number of images that the recipe asks for with so many training sources.

        Where `passes` are given this does not depend on `samples`, which may be fewer.

        Parameters
        ----------
        sources : int
        """
        if self.passes is not None:
            return self.epochs * self.passes * sources
        return self.known_samples

    @property
    def known_samples(self) -> int:
        """Number of images seen in all.

        Raises
        ------
        InputError
            It depends on the number of sources, see `prescribed`.
        """
        if self.samples is None:
            raise InputError("samples must be a number, not None: it depends on the number of training sources")
        return self.samples

    def shortened(self, samples: int) -> Recipe:
        """Return this recipe for another number of images, the same share of them seen through the smaller window.

        Parameters
        ----------
        samples : int
        """
        if self.samples is None or not self.windowed:
            return replace(self, samples=samples)
        return replace(self, samples=samples, windowed=round(self.windowed * samples / self.samples))


def _check_served(recipe: Recipe) -> None:
    if recipe.served % 2:
        raise InputError(f"served must be an even number of pixels, not {recipe.served}: the middle stays the middle")
    if recipe.served != INPUT_SIZE and (recipe.stretch == "asinh" or needs_whole_images(recipe.architecture)):
        raise InputError(f"served must be {INPUT_SIZE} for this network and stretch, not {recipe.served}")


def _check_range(recipe: Recipe, name: str, low: float, high: float = float("inf")) -> None:
    value = getattr(recipe, name)
    if not low <= value <= high:
        bounds = f"at least {low}" if high == float("inf") else f"from {low} to {high}"
        raise InputError(f"{name} must be {bounds}, not {value!r}")


RECIPES = {
    "default": Recipe(),
    "paper": Recipe(
        architecture=Architecture(),
        samples=None,
        epochs=100,
        passes=72,
        windowed=0,
        batch=16,
        optimizer="adam",
        schedule="constant",
        rate=5e-5,
        weight_decay=0.0,
        label_smoothing=0.0,
        uncertain_weight=1.0,
        balanced=False,
        averaging=0.0,
        early_stopping=True,
        mixed_precision=False,
        **asdict(PAPER_AUGMENTATION),
    ),
    "finetune": Recipe(
        samples=4_000,
        epochs=4,
        windowed=0,
        batch=16,
        rate=0.02,
        other_rate=0.003,
        averaging=0.99,
        early_stopping=True,
        mixed_precision=False,
    ),
}
"""Recipes by name.

``finetune`` goes on from a trained network, at a third of the rate that ``default`` has.

``paper`` is that of Bowles et al. 2021 (sections 3, 3.1 and 4.3): Adam, 100 epochs of 72 augmented passes, the weights
with the lowest validation loss. The size of the batches is not stated there."""

_PAPER_RATE_ONE_GATE = 1e-5  # Table 9


def named_recipe(name: str, settings: Mapping[str, str] | None = None) -> Recipe:
    """Return a recipe with some of its settings changed.

    Parameters
    ----------
    name : {"default", "paper", "finetune"}
        ``paper`` with one gate has a learning rate of 1e-5 (Table 9).
    settings : mapping of str to str, optional
        Values as text, by the name of the setting; those of the network as ``architecture.NAME``, and another network
        as ``architecture``, one of `radio_ag.network.baselines.KINDS`.

    Raises
    ------
    InputError
        No such recipe or setting, or a value that it cannot have.
    """
    settings = dict(settings or {})
    if name not in RECIPES:
        raise InputError(f"recipe must be one of {', '.join(RECIPES)}, not {name!r}")
    recipe = RECIPES[name]
    architecture = _changed_architecture(recipe.architecture, settings)
    hints = get_type_hints(Recipe)
    changes = {key: _parse(key, text, hints) for key, text in settings.items()}
    if needs_whole_images(architecture):
        changes.setdefault("windowed", 0)
    if name == "paper" and architecture.gates == 1:
        changes.setdefault("rate", _PAPER_RATE_ONE_GATE)
    return replace(recipe, architecture=architecture, **changes)


def recipe_of(settings: Mapping[str, Any]) -> Recipe:
    """Return the recipe whose settings a checkpoint or a card holds; what it does not name is as in `Recipe`.

    Parameters
    ----------
    settings : mapping
        As `dataclasses.asdict` gives them.
    """
    known = {f.name for f in fields(Recipe)} - {"architecture"}
    own: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in settings.items() if name in known
    }
    return Recipe(architecture=architecture_of(settings["architecture"]), **own)


def differences(recipe: Recipe, other: Recipe) -> list[str]:
    """Return what sets a recipe apart from another one, as ``NAME is VALUE, not VALUE``.

    Parameters
    ----------
    recipe, other : Recipe
    """
    here, there = asdict(recipe), asdict(other)
    return [f"{name} is {there[name]!r} there, {here[name]!r} here" for name in here if here[name] != there[name]]


def _changed_architecture(architecture: AnyArchitecture, settings: dict[str, str]) -> AnyArchitecture:
    """Take what concerns the architecture out of the settings."""
    own = {key.removeprefix("architecture."): settings.pop(key) for key in list(settings) if "." in key}
    kind = settings.pop("architecture", kind_of(architecture))
    if kind != kind_of(architecture):
        architecture = architecture_of({"kind": kind})
    hints = get_type_hints(type(architecture))
    changes = {key: _parse(key, text, hints, "architecture.") for key, text in own.items()}
    return architecture_of(asdict(architecture) | {"kind": kind} | changes)


def _parse(key: str, text: str, hints: Mapping[str, Any], prefix: str = "") -> Any:
    """The value of a setting from text, of the type that it is declared to have."""
    if key not in hints or key in ("architecture", "kind"):
        names = ", ".join(prefix + name for name in hints if name not in ("architecture", "kind"))
        raise InputError(f"no setting {prefix + key!r}; accepted are {names}")
    hint = hints[key]
    if hint is str:
        return text
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = text
    types = get_args(hint) if type(None) in get_args(hint) else (hint,)
    if float in types and type(value) is int:
        value = float(value)
    if hint == tuple[float, float]:
        fits = isinstance(value, tuple | list) and len(value) == 2 and all(type(v) in (int, float) for v in value)
        value = tuple(map(float, value)) if fits else value
    else:
        fits = type(value) in types
    if not fits:
        raise InputError(f"{prefix + key} must be {_in_words(hint)}, not {text!r}")
    return value


def _in_words(hint: Any) -> str:
    words = {bool: "True or False", int: "a whole number", float: "a number", int | None: "a whole number or None"}
    return words.get(hint, "two numbers, such as (0.9,1.1)")
