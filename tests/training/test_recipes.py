"""Recipes: the paper's numbers, settings from text, and the way through a checkpoint."""

import json
from dataclasses import FrozenInstanceError, asdict, replace

import pytest

from radio_ag.errors import InputError
from radio_ag.network.baselines import ClassicArchitecture, SonoNetArchitecture, build
from radio_ag.network.model import Architecture, count_parameters
from radio_ag.training.recipes import RECIPES, Recipe, differences, named_recipe, recipe_of


def test_paper_recipe_is_the_papers():
    """Sections 3, 3.1 and 4.3, Tables 1, 5 and 9."""
    paper = RECIPES["paper"]
    assert (paper.optimizer, paper.rate, paper.schedule, paper.batch) == ("adam", 5e-5, "constant", 16)
    assert paper.prescribed(855) == 100 * 72 * 855 == 6_156_000
    assert paper.early_stopping
    assert count_parameters(build(paper.architecture)) == 101_447
    assert paper.architecture.features == "sum"
    assert (paper.augmented, paper.flips, paper.scale, paper.offset) == ("image", False, (0.9, 1.1), 2.0)
    assert (paper.stretch, paper.weight_decay, paper.label_smoothing, paper.averaging) == ("linear", 0, 0, 0)
    assert named_recipe("paper", {"architecture.gates": "1"}).rate == 1e-5
    assert named_recipe("paper", {"architecture.gates": "2"}).rate == 5e-5
    assert named_recipe("paper", {"architecture.gates": "1", "rate": "3e-5"}).rate == 3e-5


def test_default_recipe_is_that_of_the_class():
    assert named_recipe("default") == RECIPES["default"] == Recipe()


def test_recipes_are_frozen():
    with pytest.raises(FrozenInstanceError):
        Recipe().rate = 1.0


def test_settings_from_text():
    recipe = named_recipe(
        "default",
        {
            "batch": "16",
            "rate": "1",
            "scale": "(0.8,1.2)",
            "early_stopping": "True",
            "passes": "3",
            "samples": "None",
            "stretch": "asinh",
            "architecture.normalisation": "softmax",
            "architecture.dropout": "0.1",
        },
    )
    changed = {"batch": 16, "rate": 1.0, "scale": (0.8, 1.2), "early_stopping": True, "passes": 3, "samples": None}
    architecture = Architecture(normalisation="softmax", features="average", dropout=0.1)
    assert recipe == replace(Recipe(), **changed, stretch="asinh", architecture=architecture)
    assert isinstance(recipe.rate, float)


def test_another_network_by_its_name():
    assert named_recipe("default", {"architecture": "ag_sononet"}).architecture == SonoNetArchitecture()
    classic = named_recipe("paper", {"architecture": "classic_cnn", "architecture.dropout": "0.25"})
    assert classic.architecture == ClassicArchitecture(dropout=0.25)
    assert named_recipe("default", {"architecture": "classic_cnn"}).windowed == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"speed": "3"}, "no setting 'speed'; accepted are samples, .*seed"),
        ({"architecture.layers": "3"}, "no setting 'architecture.layers'; accepted are architecture.normalisation"),
        ({"batch": "many"}, "batch must be a whole number, not 'many'"),
        ({"batch": "1.5"}, "batch must be a whole number, not '1.5'"),
        ({"rate": "True"}, "rate must be a number, not 'True'"),
        ({"flips": "1"}, "flips must be True or False, not '1'"),
        ({"scale": "0.9"}, "scale must be two numbers"),
        ({"samples": "all"}, "samples must be a whole number or None, not 'all'"),
        ({"samples": "0"}, "samples must be at least 1, not 0"),
        ({"samples": "None"}, "samples or passes must say"),
        ({"rate": "0"}, "rate must be positive, not 0.0"),
        ({"averaging": "1.5"}, "averaging must be from 0 to 1, not 1.5"),
        ({"scale": "(1.1,0.9)"}, "scale must be two positive numbers, the lower first"),
        ({"stretch": "log"}, "stretch must be one of linear, sqrt, asinh, not 'log'"),
        ({"window": "8"}, "window must be at least 16, not 8"),
        ({"architecture": "resnet"}, "architecture must be one of agcnn, classic_cnn, ag_sononet, not 'resnet'"),
        ({"architecture.gates": "4"}, "gates must be one of 0, 1, 2, 3, not 4"),
        ({"architecture": "classic_cnn", "windowed": "10"}, "windowed must be 0, not 10"),
    ],
)
def test_settings_that_cannot_be_are_named(settings, message):
    with pytest.raises(InputError, match=message):
        named_recipe("default", settings)


def test_unknown_recipe_is_named():
    with pytest.raises(InputError, match="recipe must be one of default, paper, finetune, not 'best'"):
        named_recipe("best")


@pytest.mark.parametrize(
    "recipe", [Recipe(), RECIPES["paper"], named_recipe("default", {"architecture": "classic_cnn"})]
)
def test_recipe_comes_back_from_json(recipe):
    assert recipe_of(json.loads(json.dumps(asdict(recipe)))) == recipe


def test_recipe_of_older_files_lacks_only_what_is_as_it_was():
    """A setting that a file does not know had its default; one that is gone does not count."""
    settings = {"architecture": asdict(Architecture()), "rate": 0.5, "coarse": 3}
    assert recipe_of(settings) == Recipe(architecture=Architecture(), rate=0.5)


def test_shortened_recipe_keeps_the_share_of_its_window():
    short = Recipe(samples=1000, windowed=750).shortened(100)
    assert (short.samples, short.windowed) == (100, 75)
    paper = RECIPES["paper"].shortened(100)
    assert (paper.samples, paper.windowed, paper.prescribed(855)) == (100, 0, 6_156_000)


def test_differences_are_named():
    assert differences(Recipe(batch=8), Recipe(rate=1.0)) == [
        "batch is 32 there, 8 here",
        "rate is 1.0 there, 0.06 here",
    ]
