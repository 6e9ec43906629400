"""doctor.py: on a sound machine and on broken ones; it must report, never crash."""

import builtins
import importlib.metadata
import shutil
import sys
import types
from collections import namedtuple

import psutil
import pytest

from gfm_lab import __version__, cli, device
from gfm_lab import doctor as module

TOPICS = [
    "Python",
    "torch",
    "transformers",
    "device",
    "scan",
    "mamba-ssm",
    "data",
    "notebooks",
    "memory",
    "disk",
]


@pytest.fixture(autouse=True)
def sound_data(monkeypatch):
    """Two sound tables, whatever lies in data/: what verify_all finds there is tested with gfm_lab.data."""
    set_data(monkeypatch, lambda: {"ecoli-k12": None, "lac-mpra": None})


def set_data(monkeypatch, verify_all):
    module = types.ModuleType("gfm_lab.data")
    if verify_all is not None:
        module.verify_all = verify_all
    monkeypatch.setitem(sys.modules, "gfm_lab.data", module)


def doctor(capsys):
    """Exit code and {topic: (state, text, todo)} of one run, its screen size checked."""
    code = cli.main(["doctor"])
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert out.isascii() and len(lines) <= 24 and max(map(len, lines)) <= 100
    assert lines[0] == f"gfm-lab {__version__} doctor"
    findings, topic = {}, None
    for line in lines[1:-1]:
        if line.strip().startswith("-> "):
            state, text, _ = findings[topic]
            todo = line.strip()[3:]
            assert not todo.endswith("..."), "what to do must fit on its line"
            findings[topic] = (state, text, todo)
        else:
            state, topic, text = line.split(None, 2)
            findings[topic] = (state, text, "")
    assert list(findings) == TOPICS
    broken = [t for t, (state, _, _) in findings.items() if state == "BROKEN"]
    assert code == (1 if broken else 0)
    assert all(findings[t][2] for t in broken), "a broken line says what to do"
    assert lines[-1].startswith(f"{len(broken)} broken" if broken else "Everything")
    return code, findings


def broken(findings):
    return [topic for topic, (state, _, _) in findings.items() if state == "BROKEN"]


def test_sound_machine(capsys):
    import torch
    import transformers

    code, findings = doctor(capsys)
    assert code == 0 and broken(findings) == []
    assert findings["Python"][:2] == ("ok", ".".join(map(str, sys.version_info[:3])))
    assert findings["torch"][1].startswith(torch.__version__)
    assert findings["transformers"][1] == transformers.__version__
    assert f"{torch.get_num_threads()} threads" in findings["device"][1]
    assert findings["data"][:2] == ("ok", "2 tables, every checksum right")
    assert "jupyterlab" in findings["notebooks"][1]


@pytest.mark.parametrize("package", ["torch", "transformers"])
def test_missing_library(capsys, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)  # import then raises ModuleNotFoundError
    code, findings = doctor(capsys)
    assert code == 1
    assert broken(findings) == (["torch", "device"] if package == "torch" else ["transformers"])
    assert "ModuleNotFoundError" in findings[package][1] and "make lab" in findings[package][2]
    assert findings["mamba-ssm"][0] == (
        "ok" if package != "torch" and device.mamba_ssm_status()[0] else "note"
    )


def test_library_that_fails_with_something_else_than_import_error(capsys, monkeypatch):
    real = builtins.__import__

    def failing(name, *args, **kwargs):
        if name == "torch":
            raise OSError("libtorch.so: cannot open shared object file\nand a second line")
        return real(name, *args, **kwargs)

    real_module = module.importlib.import_module
    monkeypatch.setattr(builtins, "__import__", failing)
    monkeypatch.setattr(
        module.importlib,
        "import_module",
        lambda name: failing(name) if name == "torch" else real_module(name),
    )
    code, findings = doctor(capsys)
    assert code == 1 and broken(findings) == ["torch", "device"]
    assert "OSError: libtorch.so" in findings["torch"][1] and "second line" not in findings["torch"][1]


def test_library_out_of_range(capsys, monkeypatch):
    import transformers

    monkeypatch.setattr(transformers, "__version__", "4.2.0")
    _, findings = doctor(capsys)
    assert broken(findings) == ["transformers"]
    assert (
        "4.2.0, but the course needs" in findings["transformers"][1] and ">=5" in findings["transformers"][1]
    )


def test_old_python(capsys, monkeypatch):
    version = namedtuple("version", "major minor micro releaselevel serial")
    monkeypatch.setattr(module.sys, "version_info", version(3, 9, 1, "final", 0))
    assert module._python().state == "BROKEN" and "3.9.1 is too old" in module._python().text
    monkeypatch.setattr(module.sys, "version_info", version(3, 10, 0, "final", 0))
    assert module._python() == module.Finding("ok", "Python", "3.10.0")


def test_device_asked_for(capsys, monkeypatch):
    import torch

    monkeypatch.setenv("GFM_LAB_DEVICE", "cpu")
    code, findings = doctor(capsys)
    assert code == 0 and findings["device"][1].startswith("CPU (by GFM_LAB_DEVICE): ")
    monkeypatch.setenv("GFM_LAB_DEVICE", "cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    code, findings = doctor(capsys)
    assert code == 1 and broken(findings) == ["device"]
    assert "'cuda' was asked for" in findings["device"][1] and "GFM_LAB_DEVICE" in findings["device"][2]


def test_mps_that_computes_wrong_is_explained(capsys, monkeypatch):
    import torch

    reason = "gradient (second FFN) is off by 3.1e-02 (1e-03 allowed)"
    monkeypatch.delenv("GFM_LAB_DEVICE", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(device, "mps_status", lambda: (False, reason))
    code, findings = doctor(capsys)
    assert code == 0 and findings["device"][0] == "note" and findings["device"][1].startswith("CPU: ")
    assert findings["device"][2].endswith(reason)


def fails():
    raise RuntimeError("manifest.json is not JSON")


@pytest.mark.parametrize(
    "verify_all, says",
    [
        (lambda: {"ecoli-k12": None, "lac-mpra": "sha256 differs"}, "lac-mpra: sha256 differs"),
        (lambda: {f"table-{i}": "missing " + "x" * 90 for i in range(9)}, "(and 8 more of 9)"),
        (dict, "no tables"),
        (fails, "RuntimeError: manifest.json is not JSON"),
        (None, "cannot be verified (ImportError"),
    ],
)
def test_data_missing_altered_or_uncheckable(capsys, monkeypatch, verify_all, says):
    set_data(monkeypatch, verify_all)
    code, findings = doctor(capsys)
    assert code == 1 and broken(findings) == ["data"] and says in findings["data"][1]


def test_notebook_tools(capsys, monkeypatch):
    real = importlib.metadata.version
    absent: set[str] = set()

    def version(name):
        if name in absent:
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(module.importlib.metadata, "version", version)
    absent.add("nbval")
    code, findings = doctor(capsys)
    assert code == 0 and findings["notebooks"][0] == "note" and "nbval" in findings["notebooks"][1]
    absent.add("jupyterlab")
    code, findings = doctor(capsys)
    assert code == 1 and broken(findings) == ["notebooks"]


def test_little_memory_and_disk_are_notes(capsys, monkeypatch):
    memory = namedtuple("memory", "available total")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory(1 << 29, 4 << 30))
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1 << 30, (1 << 30) - 1000, 1000))
    code, findings = doctor(capsys)
    assert code == 0
    assert (
        findings["memory"][0] == findings["disk"][0] == "note"
        and findings["memory"][2]
        and findings["disk"][2]
    )


@pytest.mark.parametrize(
    ("path", "kind", "state", "text"),
    [
        ("compiled", "cpu", "ok", "compiled loops (numba"),
        ("chunked", "cpu", "note", "plain torch, right but slow on a CPU"),
        ("chunked", "cuda", "note", "plain torch, right but slow"),
        ("mamba-ssm", "cuda", "ok", "kernels of mamba-ssm"),
    ],
)
def test_which_scan_is_used(capsys, monkeypatch, path, kind, state, text):
    import torch

    from gfm_lab.mixers import mamba

    monkeypatch.setattr(mamba, "scan_path", lambda device: path)
    monkeypatch.setattr(device, "pick_device", lambda *_: torch.device(kind))
    found = module._scan()
    assert found.state == state and text in found.text
    assert ("pip install numba" in found.todo) == (path == "chunked" and kind == "cpu")


def test_the_scan_of_this_machine(capsys):
    """What the doctor says is what selective_scan does."""
    from gfm_lab.mixers.mamba import scan_path

    _, findings = doctor(capsys)
    expected = {"compiled": "compiled loops", "chunked": "plain torch", "mamba-ssm": "mamba-ssm"}
    assert expected[scan_path(device.pick_device())] in findings["scan"][1]


def test_everything_broken_still_fits_one_screen(capsys, monkeypatch):
    def crash(*args, **kwargs):
        raise RuntimeError("é" * 300)

    for name in (
        "_python",
        "_torch",
        "_transformers",
        "_device",
        "_scan",
        "_mamba",
        "_data",
        "_notebooks",
        "_memory",
        "_disk",
    ):
        monkeypatch.setattr(module, name, crash)
    lines = []
    monkeypatch.setattr(builtins, "print", lambda *args: lines.append(" ".join(args)))
    code = module.doctor()
    monkeypatch.undo()
    assert code == 1 and len(lines) <= 24 and max(map(len, lines)) <= 100
    assert lines[-1].startswith("10 broken")
