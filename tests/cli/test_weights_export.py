"""``radio-ag weights export`` and ``card`` from the command line."""

import onnxruntime
from typer.testing import CliRunner

from radio_ag.cli import app


def invoke(*args):
    return CliRunner().invoke(app, ["weights", *map(str, args)])


def test_export_writes_onnx(tmp_path):
    done = invoke("export", "--onnx", "agcnn-first-fast", tmp_path / "fast.onnx")
    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == str(tmp_path / "fast.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "fast.onnx"))
    assert [output.name for output in session.get_outputs()] == ["logits", "attention"]
    again = invoke("export", "--onnx", "agcnn-first-fast", tmp_path / "fast.onnx")
    assert (again.exit_code, "exists" in again.stderr) == (2, True)
    assert invoke("export", "agcnn-first-fast", tmp_path / "x.onnx").exit_code == 2


def test_card_prints_a_model_card():
    done = invoke("card", "agcnn-first")
    assert done.exit_code == 0
    assert done.stdout.startswith("---\nlicense: bsd-3-clause\n")
    assert invoke("card", "nothing").exit_code == 2
