"""The command line as users meet it: exit codes, streams and files."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.io import fits
from astropy.table import Table
from first_server import FirstServer
from typer import BadParameter
from typer.testing import CliRunner

import radio_ag
import radio_ag.pipeline
from radio_ag.cli import app, main
from radio_ag.cli.app import Stopped
from radio_ag.cli.classify import default_output
from radio_ag.cli.console import reporting
from radio_ag.cli.options import parse_size
from radio_ag.errors import CatalogueError, RadioAGError, ServiceError
from radio_ag.flags import Flag

SCRIPT = Path(sys.executable).with_name("radio-ag")


@pytest.fixture
def catalogue(sky, tmp_path) -> Path:
    """The catalogue alone in a folder."""
    path = tmp_path / "catalogue.csv"
    path.write_bytes((sky / "catalogue.csv").read_bytes())
    return path


@pytest.fixture
def environment(tmp_path_factory) -> dict[str, str]:
    """Environment of a user who has neither a cache nor settings."""
    home = str(tmp_path_factory.mktemp("home"))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RADIO_AG_") or "WEIGHTS" in name}
    return kept | {"HOME": home, "XDG_CACHE_HOME": home, "OMP_NUM_THREADS": "1", "NO_PROXY": "127.0.0.1"}


def invoke(*args, **options):
    """Run a command in this process."""
    return CliRunner().invoke(app, [str(arg) for arg in args], **options)


def run(*args, env, **options) -> subprocess.CompletedProcess:
    """Run the installed console script."""
    return subprocess.run([SCRIPT, *map(str, args)], capture_output=True, text=True, env=env, **options)


def rows_by_flag(table: Table) -> dict[str, int]:
    counts = {flag.name: int(np.count_nonzero(table["flags"] & flag)) for flag in Flag}
    return {name: count for name, count in counts.items() if count}


# The product and the summary


def test_classify_writes_the_product_beside_the_catalogue_and_sums_it_up(sky, catalogue):
    result = invoke("classify", catalogue, "--images", sky / "mosaic.fits", "--orbit", "1", "--device", "cpu")

    assert result.exit_code == 0, result.output
    product = catalogue.with_name("catalogue.radio-ag.fits")
    assert {path.name for path in catalogue.parent.iterdir()} == {catalogue.name, product.name}
    table, given = Table.read(product, hdu="CLASSIFICATION"), Table.read(catalogue)
    assert list(table["in_name"]) == list(given["name"])
    assert np.allclose(table["ra"], given["ra"], rtol=0, atol=1e-9)
    assert f"{len(given)} rows" in result.stdout
    for name, count in rows_by_flag(table).items():
        assert re.search(rf"{name}\s+│\s+{count} ", result.stdout), name
    for name in ("FRI", "FRII"):
        count = int(np.sum(np.ma.filled(table["class"], "") == name))
        assert re.search(rf"{name}\s+│\s+{count} ", result.stdout), name
    assert f"{len(given)}/{len(given)} sources (100 %)" in result.stderr


def test_summary_as_json_agrees_with_the_product(sky, catalogue, tmp_path):
    output = tmp_path / "elsewhere.fits"
    result = invoke(
        *("classify", catalogue, "--images", sky / "mosaic.fits", "--orbit", "1", "--attention", "none"),
        *("-o", output, "--summary-json"),
    )

    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    table = Table.read(output, hdu="CLASSIFICATION")
    assert summary["rows"] == len(table)
    assert {name: count for name, count in summary["flags"].items() if count} == rows_by_flag(table)
    for name in ("FRI", "FRII"):
        assert summary["classes"].get(name, 0) == int(np.sum(np.ma.filled(table["class"], "") == name))
    with fits.open(output) as hdus:
        assert "ATTENTION" not in hdus


def test_quiet_says_nothing(sky, catalogue, environment):
    done = invoke("classify", catalogue, "--images", sky / "mosaic.fits", "--orbit", 1, "-q", env=environment)

    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "")
    assert catalogue.with_name("catalogue.radio-ag.fits").exists()


def test_an_empty_catalogue_gives_an_empty_product(sky, tmp_path):
    catalogue = tmp_path / "empty.ecsv"
    Table({"ra": np.zeros(0), "dec": np.zeros(0)}, units={"ra": "deg", "dec": "deg"}).write(catalogue)

    result = invoke("classify", catalogue, "--images", sky / "mosaic.fits")

    assert result.exit_code == 0, result.output
    assert len(Table.read(tmp_path / "empty.radio-ag.fits", hdu="CLASSIFICATION")) == 0


@pytest.mark.filterwarnings("default::radio_ag.errors.RadioAGWarning")
def test_a_catalogue_of_another_sky_gives_a_product_and_a_warning(sky, tmp_path, environment):
    catalogue = tmp_path / "southern.ecsv"
    Table({"ra": [30.0, 31.0], "dec": [-60.0, -61.0]}, units={"ra": "deg", "dec": "deg"}).write(catalogue)

    done = invoke("classify", catalogue, "--images", sky / "mosaic.fits", "-q", env=environment)

    assert (done.exit_code, done.stdout) == (0, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("radio-ag: warning: ")
    assert "all 2 rows" in line
    table = Table.read(tmp_path / "southern.radio-ag.fits", hdu="CLASSIFICATION")
    assert list(table["flags"]) == [Flag.NO_COVERAGE] * 2


def test_progress_is_a_bar_on_a_terminal(sky, catalogue, environment):
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [SCRIPT, "classify", catalogue, "--images", sky / "mosaic.fits", "--orbit", "1"],
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=environment | {"TERM": "xterm", "COLUMNS": "120"},
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # how Linux says that the other end is closed
            part = b""
        if not part:
            break
        shown += part
    os.close(ours)
    process.communicate()

    assert process.returncode == 0
    assert "━" in shown.decode()
    assert "5/5" in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode())


def test_progress_lines_are_few_and_end_with_the_last(capsys):
    with reporting() as progress:
        for done in range(1, 1001):
            progress(done, 1000, {"FRI": done, "FRII": 0, "LOW_SNR": 7})

    lines = capsys.readouterr().err.splitlines()
    assert len(lines) < 10
    assert lines[-1].startswith("radio-ag: classifying: 1000/1000 sources (100 %)")
    assert lines[-1].endswith(": 1000 FRI")


# Nothing is replaced unless asked


def test_an_existing_product_stays_and_no_work_is_done(catalogue):
    product = catalogue.with_name("catalogue.radio-ag.fits")
    product.write_text("precious")
    with FirstServer() as server:
        result = invoke("classify", catalogue, "--service-url", server.url)
        assert server.requests == []

    assert result.exit_code == 2
    assert "overwrit" in result.stderr
    assert product.read_text() == "precious"


def test_overwrite_replaces_the_product(sky, catalogue):
    product = catalogue.with_name("catalogue.radio-ag.fits")
    product.write_text("stale")

    result = invoke("classify", catalogue, "--images", sky / "mosaic.fits", "--orbit", "1", "--overwrite")

    assert result.exit_code == 0, result.output
    assert len(Table.read(product, hdu="CLASSIFICATION")) == len(Table.read(catalogue))


@pytest.mark.parametrize("name", ["catalogue.csv", "mosaic.fits"])
def test_an_input_is_never_replaced(name, sky, tmp_path):
    for path in sky.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    before = (tmp_path / name).read_bytes()

    result = invoke(
        *("classify", tmp_path / "catalogue.csv", "--images", tmp_path / "mosaic.fits"),
        *("-o", tmp_path / name, "--overwrite"),
    )

    assert result.exit_code == 2
    assert "one of the inputs" in result.stderr
    assert (tmp_path / name).read_bytes() == before


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("number", "existing", "what"),
    [(signal.SIGINT, True, "interrupted"), (signal.SIGTERM, False, "stopped by SIGTERM")],
)
def test_a_signal_leaves_no_half_written_product(catalogue, environment, number, existing, what, tmp_path):
    product = tmp_path / "product.fits"
    if existing:
        product.write_text("the old one")
    arrived = threading.Event()

    def never_answer(request):
        arrived.set()
        return "slow"

    # What runs in the background of a shell inherits that SIGINT is ignored.
    listen = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
    command = [sys.executable, "-c", listen, SCRIPT, "classify", catalogue, "-o", product, "--overwrite"]
    with (
        FirstServer(decide=never_answer, slow=600) as server,
        subprocess.Popen(
            [*command, "--service-url", server.url],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        ) as process,
    ):
        try:
            assert arrived.wait(120), "no request reached the service"
            process.send_signal(number)
            stdout, stderr = process.communicate(timeout=120)  # long before the service answers
        finally:
            process.kill()

    assert process.returncode == 128 + number
    assert stdout == ""
    said = f"radio-ag: error: {what}: the same command, without --restart, goes on where it stopped"
    assert stderr.splitlines()[-1] == said
    assert {path.name for path in tmp_path.iterdir()} == {catalogue.name} | ({product.name} if existing else set())
    if existing:
        assert product.read_text() == "the old one"


# What cannot be used is one line and exit code 2


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def image_without_wcs(path: Path) -> Path:
    fits.PrimaryHDU(np.zeros((400, 400), np.float32)).writeto(path)
    return path


WRONG = {
    "no such catalogue": (lambda p: ["nowhere.fits"], r"nowhere\.fits"),
    "a folder as catalogue": (lambda p: ["."], "folder|directory"),
    "prose": (lambda p: [write(p / "prose.txt", "Dear Fanaroff,\nhow are you?\n")], r"prose\.txt|position"),
    "a picture": (lambda p: [write(p / "picture.fits", b"\x89PNG\r\n\x1a\n" + bytes(2000))], r"picture\.fits"),
    "no position columns": (lambda p: [write(p / "fluxes.csv", "flux,width\n1.0,2.0\n")], "flux"),
    "no such column": (lambda p: ["catalogue.csv", "--ra-col", "alpha", "--dec-col", "delta"], "alpha"),
    "hours or degrees": (lambda p: [write(p / "low.csv", "ra,dec\n1.0,2.0\n23.5,3.0\n")], "hour"),
    "no such image": (lambda p: ["catalogue.csv", "--images", "nowhere.fits"], r"nowhere\.fits"),
    "a glob without images": (lambda p: ["catalogue.csv", "--images", "tiles/*.fits"], r"tiles/\*\.fits"),
    "no WCS": (lambda p: ["catalogue.csv", "--images", image_without_wcs(p / "plain.fits")], r"plain\.fits.*WCS"),
    "unknown weights": (lambda p: ["catalogue.csv", "--images", "M", "--weights", "resnet"], "resnet.*agcnn-first"),
    "no such device": (lambda p: ["catalogue.csv", "--images", "M", "--device", "cuda:99"], "cuda:99.*cpu"),
    "not a device": (lambda p: ["catalogue.csv", "--images", "M", "--device", "quantum"], "quantum.*cpu"),
    "not an orbit": (lambda p: ["catalogue.csv", "--images", "M", "--orbit", "3"], "orbit.*3"),
    "no folder to write to": (lambda p: ["catalogue.csv", "--images", "M", "-o", "missing/out.fits"], "missing"),
    "a folder to write to": (lambda p: ["catalogue.csv", "--images", "M", "-o", "."], "folder|directory|exists"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_one_line_and_exit_code_2(case, sky, catalogue, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_args, message = WRONG[case]
    args = [sky / "mosaic.fits" if arg == "M" else arg for arg in make_args(tmp_path)]
    if "--images" not in args:
        args += ["--images", sky / "mosaic.fits"]

    result = invoke("classify", *args)

    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    (line,) = [line for line in result.stderr.splitlines() if "sources/s" not in line]
    assert line.startswith("radio-ag: error: ")
    assert re.search(message, line), line
    assert not list(tmp_path.rglob("*.radio-ag.fits*"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is there")
def test_a_gpu_that_is_not_there_is_an_error(sky, catalogue):
    result = invoke("classify", catalogue, "--images", sky / "mosaic.fits", "--device", "cuda")
    assert result.exit_code == 2
    assert "'cuda'" in result.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_an_error(sky, catalogue, tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    result = invoke("classify", catalogue, "--images", sky / "mosaic.fits", "-o", locked / "out.fits")
    assert result.exit_code == 2
    assert "locked" in result.stderr


@pytest.mark.parametrize(
    "args",
    [
        ["classify"],
        ["classify", "catalogue.csv", "--no-such-option"],
        ["classify", "catalogue.csv", "--attention", "all"],
        ["classify", "catalogue.csv", "--cache-size", "much"],
        ["classify", "catalogue.csv", "--connections", "0"],
        ["clasify", "catalogue.csv"],
    ],
)
def test_wrong_usage_is_exit_code_2(args):
    result = invoke(*args)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Usage: " in result.stderr


def test_debug_shows_the_traceback_wherever_it_stands(tmp_path, environment):
    quiet = invoke("classify", "nowhere.fits")
    before = invoke("--debug", "classify", "nowhere.fits")
    after = run("weights", "info", "nowhere", "--debug", env=environment, cwd=tmp_path)

    assert quiet.exit_code == 2
    assert "Traceback" not in quiet.stderr
    assert isinstance(before.exception, CatalogueError)
    assert after.returncode != 0
    assert "Traceback (most recent call last)" in after.stderr
    assert "WeightsError" in after.stderr


@pytest.mark.parametrize(
    ("number", "args", "line"),
    [
        (signal.SIGTERM, ("weights", "info", "x"), "stopped by SIGTERM"),
        (signal.SIGHUP, ("weights", "info", "x"), "stopped by SIGHUP"),
        (signal.SIGINT, ("weights", "info", "x"), "interrupted"),
    ],
)
def test_a_signal_has_its_line_and_its_exit_code(number, args, line, monkeypatch):
    def stop(*_):
        raise Stopped(number) if number != signal.SIGINT else KeyboardInterrupt

    monkeypatch.setattr("radio_ag.weights.card", stop)
    result = invoke(*args)
    assert (result.exit_code, result.stderr) == (128 + number, f"radio-ag: error: {line}\n")


def test_signals_end_the_command_but_not_those_that_the_user_ignores(monkeypatch, capsys):
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    monkeypatch.setattr(sys, "argv", ["radio-ag", "--version"])
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
        with pytest.raises(SystemExit, match="0"):
            main()
        os.kill(os.getpid(), signal.SIGHUP)
        with pytest.raises(KeyboardInterrupt) as stop:
            os.kill(os.getpid(), signal.SIGTERM)
        assert stop.value.number == signal.SIGTERM
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL  # a second one ends the process
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.mark.cluster
def test_a_product_is_worth_exit_code_0_whatever_becomes_of_what_is_printed(sky, catalogue, environment, tmp_path):
    """An encoding that lacks the characters, a reader that goes away, and a log on a full disk."""
    product = tmp_path / "größte → [b].fits"
    odd = environment | {"PYTHONIOENCODING": "latin-1"}
    command = [SCRIPT, "classify", catalogue, "--images", sky / "mosaic.fits", "-o", product, "--orbit", "1"]
    shown = subprocess.run(command, env=odd, capture_output=True)
    assert shown.returncode == 0, shown.stderr
    assert rb"5 rows \u2192" in shown.stdout
    assert r"größte\u2192[b].fits".encode("latin-1") in b"".join(shown.stdout.split())
    read, write = os.pipe()
    os.close(read)
    with open("/dev/full", "w") as full, os.fdopen(write, "w") as gone:
        lost = subprocess.run([*command, "--overwrite"], env=odd, stdout=gone, stderr=full)
    assert lost.returncode == 0
    assert len(Table.read(product, hdu="CLASSIFICATION")) == 5


def all_errors(root: type = RadioAGError) -> list[type]:
    return [root, *(found for child in root.__subclasses__() for found in all_errors(child))]


@pytest.mark.parametrize("error", all_errors(), ids=lambda error: error.__name__)
def test_every_error_of_ours_has_its_exit_code(error, monkeypatch):
    def fail(*args, **options):
        raise error("it is\nbroken")

    monkeypatch.setattr(radio_ag.pipeline, "classify", fail)
    result = invoke("classify", "catalogue.csv")
    assert result.exit_code == (3 if issubclass(error, ServiceError) else 2)
    assert result.stderr == "radio-ag: error: it is broken\n"


def test_an_error_that_is_not_ours_keeps_its_traceback(monkeypatch):
    def fail(*args, **options):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(radio_ag.pipeline, "classify", fail)
    result = invoke("classify", "catalogue.csv")
    assert isinstance(result.exception, ZeroDivisionError)


# The image service


def test_fields_come_from_the_service_that_the_environment_names_and_stay_in_the_cache(
    catalogue, environment, tmp_path
):
    cache = tmp_path / "cache"
    with FirstServer() as server:
        env = environment | {"RADIO_AG_FIRST_URL": server.url}
        args = ("classify", catalogue, "--cache-dir", cache, "--orbit", 1, "-q", "--overwrite")
        first = invoke(*args, env=env)
        asked = len(server.requests)
        again = invoke(*args, env=env)
        asked_again = len(server.requests) - asked
        uncached = invoke(*args, "--no-cache", env=env)
        asked_uncached = len(server.requests) - asked - asked_again

    for done in (first, again, uncached):
        assert (done.exit_code, done.stderr) == (0, "")
    rows = len(Table.read(catalogue))
    assert (asked, asked_again, asked_uncached) == (rows, 0, rows)
    assert any(cache.rglob("*.fits*"))


def test_a_service_that_is_down_is_exit_code_3(catalogue, environment):
    with FirstServer(decide=lambda request: "404") as server:  # not asked for again, as a refused connection is
        done = invoke("classify", catalogue, "--service-url", server.url, env=environment)

    assert done.exit_code == 3
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith("radio-ag: error: ")
    assert not list(catalogue.parent.glob("*.radio-ag.fits*"))


# Weights


def test_weights_list_names_the_default():
    result = invoke("weights", "list")
    assert result.exit_code == 0
    assert "agcnn-first" in result.stdout


def test_weights_info_is_the_card():
    from radio_ag.weights import card

    result = invoke("weights", "info", "agcnn-first")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == card("agcnn-first").content


def test_unknown_weights_are_an_error_that_lists_the_known():
    result = invoke("weights", "info", "resnet")
    assert result.exit_code == 2
    assert re.fullmatch(r"radio-ag: error: .*resnet.*agcnn-first.*\n", result.stderr)


def test_import_of_a_published_checkpoint(data_dir, tmp_path):
    checkpoint = data_dir / "published" / "weights" / "range_norm_ft_3gates_exp1.pt"
    output = tmp_path / "published.safetensors"
    args = ("weights", "import", checkpoint, "-o", output, "--normalisation", "range")

    result = invoke(*args)
    again = invoke(*args)
    info = invoke("weights", "info", output)

    assert (result.exit_code, result.stdout) == (0, f"{output}\n")
    assert json.loads(info.stdout)["parameters"] == 101447
    assert again.exit_code == 2
    assert again.stderr.startswith("radio-ag: error: ")
    assert invoke(*args, "--overwrite").exit_code == 0


# Small things


def test_version():
    assert invoke("--version").stdout == f"radio-ag {radio_ag.__version__}\n"


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1234", 1234),
        ("500MB", 500_000_000),
        ("2 gb", 2_000_000_000),
        ("1.5TB", 1_500_000_000_000),
        ("4KiB", 4096),
        ("1.5GiB", 1_610_612_736),
        ("3k", 3000),
    ],
)
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "1e9", "2 quids", "1,5GB", "inf"])
def test_sizes_that_are_none(text):
    with pytest.raises(BadParameter, match=re.escape(repr(text))):
        parse_size(text)


@pytest.mark.parametrize(
    ("catalogue", "product"),
    [
        ("catalog.fits", "catalog.radio-ag.fits"),
        ("folder/catalog.csv", "folder/catalog.radio-ag.fits"),
        ("catalog.fits.gz", "catalog.radio-ag.fits"),
        ("field.srl.fits", "field.srl.radio-ag.fits"),
        ("field.gaul.fits", "field.gaul.radio-ag.fits"),
        ("J1234+5.6.vot", "J1234+5.6.radio-ag.fits"),
        ("catalog", "catalog.radio-ag.fits"),
    ],
)
def test_default_output(catalogue, product):
    assert default_output(Path(catalogue)) == Path(product)
