"""The command ``lossatlas``: what it says, how it ends, and what its commands write."""

import csv
import json
import re
import shlex
import subprocess
import sys

import h5py
import numpy as np
import pytest
import torch
from harness import ROOT, environment
from typer.main import get_command

from lossatlas.cli import doctor, given, made, page, studies
from lossatlas.cli.main import app, main, missing
from lossatlas.errors import LossatlasError
from lossatlas.own import connect as own_connect
from lossatlas.own import hessian as own_hessian
from lossatlas.own import jumps as own_jumps
from lossatlas.own import trajectory as own_trajectory

COMMANDS = get_command(app).commands
NET = "from torch import nn\n\ndef net():\n    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))\n"


@pytest.fixture
def mine(tmp_path, monkeypatch, fresh_seed):
    """Make a folder with a network, two checkpoints and data, as a user has them; go there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    name = f"net_{fresh_seed}"
    (tmp_path / f"{name}.py").write_text(NET)
    torch.manual_seed(fresh_seed)
    x = torch.randn(40, 3)
    y = (x[:, 0] > 0).long()
    torch.save((x, y), "data.pt")
    nets = [torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2)) for _ in range(2)]
    for one, file in zip(nets, "ab", strict=True):
        torch.save(one.state_dict(), f"{file}.pt")
    return f"{name}:net", nets, x, y


def loss(net, x, y):
    return torch.nn.functional.cross_entropy(net.double()(x.double()), y).item()


def examples(name):
    """Return the command lines that a command's help shows."""
    text = COMMANDS[name].help or ""
    return [line.strip() for line in text.splitlines() if line.strip().startswith("lossatlas ")]


@pytest.mark.parametrize("name", list(COMMANDS))
def test_help_has_examples_that_can_be_read(name):
    found = examples(name)
    assert found
    for line in found:
        command, *words = shlex.split(re.split(r"\s{2,}", line)[0])[1:]
        assert command == name
        COMMANDS[name].make_context(name, words)


def test_the_page_is_what_the_commands_say():
    assert page.page() == (ROOT / page.PAGE).read_text(encoding="utf-8"), "run `make docs`"


def test_help_loads_nothing_heavy():
    heavy = {"torch", "numpy", "pandas", "matplotlib", "snakemake", "pydantic", "h5py", "scipy"}
    code = "import sys; from lossatlas.cli.main import main; status = main(['--help'])\n"
    code += f"print(status, *sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "0", done.stdout + done.stderr


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ("surface", 2, "Missing argument 'MODEL'"),
        ("nonsense", 2, "No such command 'nonsense'"),
        ("surface a:b c.pt --data d.pt --grid two", 2, "Invalid value for '--grid'"),
        ("surface a:b c.pt", 2, "Missing option '--data'"),
        ("surface a:b c.pt --data d.pt", 1, "c.pt: no such checkpoint"),
        ("trajectory a:b nowhere --data d.pt", 1, "nowhere: no such folder"),
        ("kinds figgures", 1, "'figures'"),
        ("check nostudy", 1, "'nostudy' is not a study"),
        ("check gone.yaml", 1, "gone.yaml"),
        ("new study.txt --model a:b --data d.pt", 1, "study.txt"),
    ],
)
def test_an_error_is_one_line_and_a_status(words, status, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(words.split()) == status
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith("lossatlas: error: ")
    assert said in line


def test_a_package_that_is_not_there_is_named_with_its_extra(monkeypatch, capsys):
    assert missing("plotly.graph_objects") == "plotly is not installed, which this needs; pip install 'lossatlas[3d]'"
    monkeypatch.setitem(sys.modules, "lossatlas.study.subjects", None)
    monkeypatch.setattr(studies, "_listed", lambda: __import__("pandas_that_nobody_has"))
    assert main(["kinds"]) == 1
    assert "pip install 'lossatlas[workflow]'" in capsys.readouterr().err


def test_surface_writes_picture_page_and_numbers_with_provenance(mine, capsys):
    model, nets, x, y = mine
    words = f"surface {model} a.pt --data data.pt -o out --grid 5 --seed 3 --quiet".split()
    assert main(words) == 0
    out = capsys.readouterr().out
    assert [line for line in out.splitlines() if line.startswith("out/")] == [
        f"out/surface.{kind}" for kind in ("png", "html", "csv", "h5")
    ]
    with open("out/surface.csv") as file:
        record = json.loads(file.readline().removeprefix("# "))
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    assert (record["network"]["checkpoint"], record["settings"]["seed"], len(rows)) == ("a.pt", 3, 25)
    (centre,) = [row["loss"] for row in rows if row["x"] == row["y"] == 0]
    assert centre == pytest.approx(loss(nets[0], x, y), rel=1e-5)
    with h5py.File("out/surface.h5") as file:
        np.testing.assert_allclose(file["loss"][2, 2], centre)
    for kind in ("png", "html", "csv", "h5"):
        assert main(["provenance", f"out/surface.{kind}"]) == 0
        told = capsys.readouterr().out
        assert "checkpoint: a.pt" in told
        assert f"checkpoint_sha256: {record['network']['checkpoint_sha256']}" in told


def test_connect_and_hessian_write_what_they_are_asked_for(mine, capsys):
    model, nets, x, y = mine
    assert main(f"connect {model} a.pt b.pt -d data.pt --points 3 -f csv -q".split()) == 0
    assert main(f"hessian {model} a.pt -d data.pt -f csv -q".split()) == 0
    assert sorted(file.name for file in made.Path("out").iterdir()) == ["connect.csv", "hessian.csv"]
    with open("out/connect.csv") as file:
        file.readline()
        values = [
            float(value) for row in csv.DictReader(file) for value in row.values() if re.match(r"[\d.-]+(e|$)", value)
        ]
    for net in nets:
        assert min(abs(value - loss(net, x, y)) for value in values) < 1e-5
    states = [{name: value * scale for name, value in nets[0].state_dict().items()} for scale in (0.5, 0.8)]
    made.Path("run").mkdir()
    for i, state in enumerate([*states, nets[1].state_dict()]):
        torch.save(state, f"run/step-{i}.pt")
    assert main(f"trajectory {model} run -d data.pt --grid 3 -f csv -o path -q".split()) == 0
    assert main(f"jump {model} a.pt -d data.pt --count 1 --epochs 1 -f csv -o path -q".split()) == 0
    assert sorted(file.name for file in made.Path("path").iterdir()) == ["jump.csv", "trajectory.csv"]
    capsys.readouterr()
    assert main(f"hessian {model} a.pt -d data.pt -f vtk -q".split()) == 1
    assert "'vtk'; expected one of" in capsys.readouterr().err


def test_data_is_read_from_files_and_from_code(tmp_path, monkeypatch, rng):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    x, y = rng.normal(size=(6, 2)).astype(np.float32), rng.integers(0, 2, 6)
    tx, ty = torch.tensor(x), torch.tensor(y)
    torch.save((tx, ty), "pair.pt")
    torch.save({"x": tx, "y": ty}, "named.pt")
    torch.save({"x_train": tx, "y_train": ty, "x_test": tx[:1], "y_test": ty[:1]}, "parts.pt")
    np.savez("arrays.npz", x=x, y=y)
    code = "import torch\ndef pair():\n    return torch.load('pair.pt')\n"
    code += "data = torch.utils.data.TensorDataset(*pair())\nclass OfMine:\n    def __new__(cls): return pair()\n"
    (tmp_path / "data_of_mine.py").write_text(code)
    for text in ("pair.pt", "named.pt", "parts.pt", "arrays.npz", "data_of_mine:pair", "data_of_mine:OfMine"):
        got = given.data(text)
        np.testing.assert_array_equal(np.asarray(got[0]), x)
        np.testing.assert_array_equal(np.asarray(got[1]), y)
    assert isinstance(given.data("data_of_mine:data"), torch.utils.data.TensorDataset)
    (tmp_path / "text.pt").write_text("no tensors")
    torch.save(3, "three.pt")
    for text, said in {
        "gone.pt": "no such file",
        "text.pt": "not readable as tensors",
        "three.pt": "holds int",
        "data_of_mine:gone": "gone",
        "nowhere_of_mine:x": "No module named",
        "words": "expected a .pt or .npz file",
    }.items():
        with pytest.raises(LossatlasError, match=re.escape(said)):
            given.data(text)


@pytest.mark.parametrize(
    ("text", "number"),
    [("1", 1.0), ("1,0.5", (1.0, 0.5)), ("-1:2,0:1", ((-1.0, 2.0), (0.0, 1.0))), (None, None)],
)
def test_ranges_are_numbers_pairs_or_ends(text, number):
    assert given.numbers(text, "--range") == number
    with pytest.raises(LossatlasError, match="--range: got 'wide'"):
        given.numbers("wide", "--range")


def test_run_is_snakemake_on_the_installed_workflow(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    seen = []
    monkeypatch.setattr(studies, "_become", lambda command: seen.append(command) or 7)
    words = "run my/study.yaml trajectories --preset quick --cores 3 --profile slurm -C seed=4 -t a.png -n"
    assert main([*words.split(), "--", "--set-threads", "train=2"]) == 7
    (command,) = seen
    assert command[:5] == [sys.executable, "-m", "snakemake", "-s", str(ROOT / "Snakefile")]
    assert shlex.join(command[5:]) == (
        f"--cores 3 --profile {ROOT}/slurm --dry-run --set-threads train=2 "
        """--config 'studies=["my/study.yaml", "trajectories"]' preset=quick seed=4 -- a.png"""
    )


def test_the_exit_status_of_run_is_snakemakes(tmp_path):
    (tmp_path / "bad.yaml").write_text("title: x\nreference: y\nfigurs: {}\n")
    command = [sys.executable, "-m", "lossatlas.cli.main", "run", "bad.yaml", "-n"]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert done.returncode == 1
    assert "figures" in done.stderr + done.stdout


def test_check_and_kinds_say_what_a_study_makes_and_may_have(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main(["check", str(ROOT / "tests/studies/tiny.yaml"), "--preset", "quick"]) == 0
    told = capsys.readouterr().out
    assert re.search(r"tiny: .*\(preset quick\)\n  \d+ figures: fig1", told)
    assert "0 of them are in results/ already" in told
    assert main(["kinds", "tables"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("tables:\n")
    assert re.search(r"^  runs +\w", told, re.MULTILINE)
    assert "figures:" not in told


def test_doctor_names_what_is_wrong_and_what_to_do(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("LOSSATLAS_DATA", str(tmp_path / "gone"))
    (found,) = doctor.data()
    assert (found.state, found.remedy) == ("bad", "correct it")
    monkeypatch.setattr(doctor, "LOOKS", (doctor.data, doctor.disk))
    assert main(["doctor"]) == 1
    assert "1 of 2 bad" in capsys.readouterr().out
    monkeypatch.setenv("LOSSATLAS_DATA", str(tmp_path))
    assert main(["doctor"]) == 0
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1e8})())
    (found,) = doctor.disk()
    assert found.state == "bad"
    monkeypatch.setattr(doctor, "requires", lambda _: ["numpy>=999", "torch>=2", "plotly>=999; extra == '3d'"])
    states = {one.what: (one.state, one.remedy) for one in doctor.packages()}
    assert states["packages"] == ("bad", "pip install 'numpy>=999'")
    assert states["extra 3d"] == ("lacks", "pip install 'lossatlas[3d]'")


def test_new_writes_a_study_that_check_reads(mine, capsys):
    model, *_ = mine
    assert main(f"new mine.yaml --model {model} --data data.pt -c a.pt -c b.pt".split()) == 0
    assert main(["check", "mine.yaml", "--preset", "quick"]) == 0
    assert "figures:" in capsys.readouterr().out
    assert main(f"new mine.yaml --model {model} --data data.pt".split()) == 1
    assert "mine.yaml: is there already" in capsys.readouterr().err
    assert main(f"new mine.yaml --model {model} --data data.pt --force".split()) == 0


def test_help_says_how_many_examples_are_taken_where_nobody_says():
    defaults = {"hessian": own_hessian.EXAMPLES, "connect": own_connect.EXAMPLES, "jump": own_jumps.EXAMPLES}
    defaults["trajectory"] = own_trajectory.EXAMPLES
    for name, most in defaults.items():
        (option,) = [option for option in COMMANDS[name].params if option.name == "examples"]
        assert f"[default: {most:,}]" in option.help
