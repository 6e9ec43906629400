"""The package's front door: every public name is there, and importing it registers what the Auto classes need."""

import importlib
import subprocess
import sys

import pytest

import gfm_lab


@pytest.mark.parametrize("name", sorted(set(gfm_lab.__all__) - {"__version__"}))
def test_every_public_name_is_documented_and_comes_from_its_module(name):
    thing = getattr(gfm_lab, name)
    assert thing is getattr(importlib.import_module(gfm_lab._EXPORTS[name]), name)
    assert thing.__doc__
    assert len(thing.__doc__.split()) >= 5


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'load_date'"):
        gfm_lab.load_date  # noqa: B018


def test_importing_gfm_lab_registers_models_and_tokenizers_with_the_auto_classes(tmp_path):
    config = gfm_lab.GenomicConfig(
        vocab_size=16, hidden_size=16, num_hidden_layers=1, mixer_options={"heads": 2}
    )
    gfm_lab.GenomicForMaskedLM(config).save_pretrained(tmp_path)
    gfm_lab.NucleotideTokenizer().save_pretrained(tmp_path)
    code = (
        "import sys, gfm_lab\n"
        "from transformers import AutoModelForMaskedLM, AutoTokenizer\n"
        "model, tok = (c.from_pretrained(sys.argv[1]) for c in (AutoModelForMaskedLM, AutoTokenizer))\n"
        "print(type(model).__name__, type(tok).__name__)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["GenomicForMaskedLM", "NucleotideTokenizer"]


def test_a_broken_transformers_breaks_names_not_the_import():
    code = (
        "import sys\nsys.modules['transformers'] = None\nimport gfm_lab\n"
        "print(gfm_lab.reverse_complement('ATG'), len(gfm_lab.data_names()) > 5)\n"
        "try:\n    gfm_lab.KmerTokenizer\nexcept ImportError as error:\n    print('transformers' in str(error))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["CAT", "True", "True"]
