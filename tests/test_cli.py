"""The commands of gfm-lab: their files read back and compared with the package's own functions, and bad input.

The shipped tables are played by small cuts of them (a folder with a manifest of its own), the shipped checkpoint by
models of one layer.
"""

import gzip
import hashlib
import io
import itertools
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from gfm_lab import __version__, cli, comparison, data, evaluation, generation
from gfm_lab.checkpoints import load_model
from gfm_lab.commands import arguments, files, finetune, pretrain, recipes, shared
from gfm_lab.model import GenomicConfig, GenomicForCausalLM, GenomicForMaskedLM
from gfm_lab.sequence import SequenceError, read_fasta
from gfm_lab.tokenization import KmerTokenizer, NucleotideTokenizer

ROWS = {
    "lac-mpra": 40,
    "human-splice-sites": 30,
    "species-panel": 3,
    "human-promoters": 6,
    "fly-promoters": 30,
}


def packed(text):
    """A gzip file that is the same on every machine, and its entry in the manifest."""
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", mtime=0) as file:
        file.write(text.encode())
    sums = (hashlib.sha256(content).hexdigest() for content in (out.getvalue(), text.encode()))
    return out.getvalue(), dict(zip(("sha256", "content_sha256"), sums, strict=True))


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with data/: 30 kb of E. coli and some rows of each table, every split and class among them."""
    home = tmp_path_factory.mktemp("home")
    tables = json.loads((data.data_dir() / "manifest.json").read_text())["tables"]
    kept = {}
    for name in ("ecoli-k12", *ROWS):
        loaded, about = data.load_data(name), dict(tables[name])
        (home / "data" / name).mkdir(parents=True)
        if name == "ecoli-k12":
            content, entry = packed(f">{about['record']}\n{loaded.sequence[:30_000]}\n")
            file, columns = "genome.fa.gz", {}
            about |= {"splits": {"train": [0, 22_000], "valid": [22_000, 25_000], "test": [25_000, 30_000]}}
        else:
            by = ["split", *(["kind", "site"] if "site" in loaded.frame else [loaded.frame.columns[0]] * 0)]
            by += ["label"] if "label" in loaded.frame and "site" not in loaded.frame else []
            frame = loaded.frame.groupby(by).head(ROWS[name])[[*about["columns"]]]
            content, entry = packed(frame.to_csv(sep="\t", index=False, lineterminator="\n"))
            file, columns = "table.tsv.gz", about["columns"]
        (home / "data" / name / file).write_bytes(content)
        kept[name] = about | {"files": {file: entry}, "columns": columns}
    (home / "data" / "manifest.json").write_text(json.dumps({"format": 1, "tables": kept}))
    return home


@pytest.fixture(autouse=True)
def workplace(home, monkeypatch, request):
    """Run in `home`, with small baselines, and one thread: two test processes share the machine."""
    monkeypatch.chdir(home)
    monkeypatch.setenv("GFM_LAB_DATA", str(home / "data"))
    monkeypatch.setenv("GFM_LAB_DEVICE", "cpu")
    monkeypatch.setattr(comparison, "REACH", 2)
    monkeypatch.setattr(comparison, "MASKED_ORDERS", (1, 2))
    monkeypatch.setattr(comparison, "CAUSAL_ORDERS", (1, 2))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def tiny(kind, tokenizer, **changes):
    torch.manual_seed(1)
    config = dict(vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=2, positions="rotary")
    config |= dict(max_position_embeddings=None, mixer_options={"heads": 2}, pad_token_id=0, mask_token_id=4)
    return kind(GenomicConfig(**config, **changes)).eval()


@pytest.fixture(scope="module")
def models(home):
    """Saved checkpoints: masked, causal and masked over 6-mers with [CLS] and [SEP]."""
    found = {}
    for name, model, tokenizer in (
        ("masked", tiny(GenomicForMaskedLM, NucleotideTokenizer()), NucleotideTokenizer()),
        ("causal", tiny(GenomicForCausalLM, NucleotideTokenizer(), causal=True), NucleotideTokenizer()),
        ("kmers", tiny(GenomicForMaskedLM, KmerTokenizer.dnabert(3)), KmerTokenizer.dnabert(3)),
    ):
        model.save_pretrained(home / name)
        tokenizer.save_pretrained(home / name)
        found[name] = str(home / name)
    return found


def run(*words, code=0):
    """gfm-lab with these words, in this process."""
    given = shlex.split(" ".join(map(str, words)))
    assert cli.main(given) == code


def fails(capsys, *words, says, code=2):
    """It ends with this code and one sentence on standard error, without a traceback."""
    capsys.readouterr()
    try:
        found = cli.main(shlex.split(" ".join(map(str, words))))
    except SystemExit as ended:  # argparse
        found = ended.code
    err = capsys.readouterr().err
    last = err.strip().splitlines()[-1]
    assert found == code and re.search(says, last), err
    assert "Traceback" not in err and last.startswith(f"gfm-lab {words[0].split()[0]}: ")
    return last


TINY = "--layers 1 --width 16 --heads 2 --kmer-sum 2 --window 32 --steps 3 --batch-size 4 --test-bases 4500 --quiet "
TINY += "--single-bases 60"


# ---- The command itself ----


def test_version_help_and_unknown_command(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0 and capsys.readouterr().out.strip() == f"gfm-lab {__version__}"
    for wrong in ([], ["heal"]):
        with pytest.raises(SystemExit) as ended:
            cli.main(wrong)
        assert ended.value.code == 2 and "usage: gfm-lab" in capsys.readouterr().err


def test_as_a_module_without_torch():
    program = (
        "import runpy, sys\n"
        "sys.modules.update(dict.fromkeys(('torch', 'transformers', 'numpy', 'pandas')))  # importing them fails\n"
        "sys.argv = ['gfm-lab', 'pretrain', '--help']\n"
        "runpy.run_module('gfm_lab.cli', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0 and "  gfm-lab pretrain\n" in done.stdout, done.stderr


def help_of(capsys, command):
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    return capsys.readouterr().out


@pytest.mark.parametrize("command", arguments.EXAMPLES)
def test_help_shows_examples_as_they_are(capsys, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "80")
    text = help_of(capsys, command)
    assert [line.strip() for line in text.splitlines() if line.startswith("  gfm-lab ")] == [
        *arguments.EXAMPLES[command]
    ]
    if command == "pretrain":  # defaults are those of the recipe
        for name, value in recipes.RECIPES["default"].items():
            option = "--" + name.replace("_", "-")
            told = re.search(rf"\n  {option} .*?\(default:\s+(\S+?)\)", text, re.S)
            assert told is None or told[1] == str(value), option
            assert told or f"\n  {option} " not in text, f"{option} does not say its default"


@pytest.mark.parametrize(
    "command, number", [(c, n) for c, lines in arguments.EXAMPLES.items() for n in range(len(lines))]
)
def test_examples_run(capsys, models, tmp_path, command, number):
    line = arguments.EXAMPLES[command][number]
    name, redirected, _ = line.removeprefix("gfm-lab ").partition(" > ")
    given = {
        "pretrain": f"{TINY} --output {tmp_path}/run",
        "finetune": f"--epochs 1 --limit 24 --output {tmp_path}/run",
    }
    given |= dict(
        embed=f"--output {tmp_path}/out.npz", score=f"--output {tmp_path}/out.tsv" if not redirected else ""
    )
    if command == "generate":
        given[command] = f"--model {models['causal']} --length 40"
        given[command] += "" if redirected else f" --output {tmp_path}/out.fa"
    elif command != "pretrain":
        given[command] += f" --model {models['masked']}"
        given[command] += " --limit 4 --window 80" if command != "finetune" else ""
    run(name, given[command])
    out = capsys.readouterr().out
    if command in ("pretrain", "finetune"):
        assert (tmp_path / "run" / "model.safetensors").exists()
        assert "95 %" in out
    elif redirected and command == "generate":
        assert re.search(r">generated_0 .*\nATGAAACGC[ACGT]{40}\n", out)
    elif redirected:
        assert pd.read_csv(io.StringIO(out), sep="\t", comment="#")["scored"].gt(0).all()
    else:
        assert str(tmp_path / "out") in out and [*tmp_path.glob("out.*")]


@pytest.mark.parametrize(
    "words, says",
    [
        ("pretrain --step 3", "unrecognized arguments: --step"),
        ("pretrain --steps zero", "argument --steps: 'zero' is not a whole number"),
        ("pretrain --steps 0", "argument --steps: 0 is too small"),
        ("pretrain --valid-fraction 5", "'5' is not a share between 0 and 1"),
        ("embed --data lac-mpra", "the following arguments are required: --output"),
        ("score", "one of the arguments --data --fasta --table is required"),
    ],
)
def test_arguments_that_are_wrong(capsys, words, says):
    with pytest.raises(SystemExit) as ended:
        cli.main(words.split())
    assert ended.value.code == 2 and says in capsys.readouterr().err


def test_unknown_option_is_guessed(capsys):
    with pytest.raises(SystemExit):
        cli.main(shlex.split("score --data lac-mpra --protocoll single"))
    assert "did you mean --protocol?" in capsys.readouterr().err


def test_debug_shows_the_traceback_and_device_is_checked(capsys, models):
    with pytest.raises(ValueError, match="lac-mpra"):
        run("score --data lac-mpre --debug --model", models["masked"])
    fails(
        capsys,
        "score --data lac-mpra --device tpu --model",
        models["masked"],
        says="there is no device 'tpu'",
    )


def test_errors_that_are_not_the_users(capsys, monkeypatch, models):
    def crash(*args, **kwargs):
        raise KeyError("odd")

    monkeypatch.setattr(evaluation, "bits_per_masked_base", crash)
    fails(capsys, "score --data lac-mpra --model", models["masked"], says="KeyError: 'odd' .--debug", code=1)


# ---- pretrain ----


@pytest.fixture(scope="module")
def trained(home, tmp_path_factory):
    """One run of `gfm-lab pretrain`, its folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        patch.setenv("GFM_LAB_DATA", str(home / "data"))
        patch.setenv("GFM_LAB_DEVICE", "cpu")
        for name, value in (("REACH", 2), ("MASKED_ORDERS", (1, 2))):
            patch.setattr(comparison, name, value)
        run("pretrain", TINY)
    return home / "runs" / "ecoli-k12-masked"


def test_pretrain_table_is_that_of_the_package(trained):
    from gfm_lab.baselines import MarkovModel

    table = pd.read_csv(trained / "test.tsv", sep="\t", comment="#")
    assert table["protocol"].unique().tolist() == ["joint", "single"]
    model = GenomicForMaskedLM.from_pretrained(trained)
    genome = data.load_data("ecoli-k12")
    text = genome.split("test")[:4500]
    score = evaluation.bits_per_masked_base(model, NucleotideTokenizer(), text, "joint", 0.15, 0, 32)
    joint = table[table["protocol"] == "joint"].set_index("model")
    mine = joint.loc["this model"]
    assert mine["bits"] == pytest.approx(score.value, abs=1e-5)
    assert (mine["low"], mine["high"]) == pytest.approx((score.low, score.high), abs=1e-5)
    order = int(re.search(r"Markov, order (\d)", " ".join(joint.index))[1])
    mask = evaluation.masked_mask(3000, 0.15, 0)
    markov = MarkovModel(order).fit(
        genome.split("train"), genome.split("valid"), protocol="joint", masked=mask
    )
    expected = evaluation.score_baseline(markov, text, like=score)
    row = joint.loc[f"Markov, order {order}, exact conditional"]
    assert row["bits"] == pytest.approx(expected.value, abs=1e-5) and row["bases"] == mine["bases"]
    assert joint.loc["four equal letters", "bits"] == 2
    assert joint.loc["base frequencies", "bits"] == pytest.approx(2, abs=0.1)
    best = joint.loc[mine["against"]]
    assert best["bits"] == joint.drop(["this model", "four equal letters"])["bits"].min()
    assert mine["difference"] == pytest.approx(mine["bits"] - best["bits"], abs=1e-5)
    assert mine["difference_low"] <= mine["difference"] <= mine["difference_high"]
    single = table[(table["protocol"] == "single") & (table["model"] == "this model")]
    assert single["bases"].item() == 60
    head = [line for line in (trained / "test.tsv").read_text().splitlines() if line.startswith("#")]
    assert "25,000-27,000" in head[0] or "25,000-30,000" in head[0]
    assert any("protocol (b)" in line for line in head) and any("order 1 " in line for line in head)


def test_pretrain_leaves_a_run(trained):
    about = json.loads((trained / "run.json").read_text())
    assert about["finished"] and about["about"]["settings"]["steps"] == 3
    assert about["about"]["settings"]["seed"] == 0
    assert (trained / "loss.png").read_bytes()[:4] == (trained / "test.png").read_bytes()[:4] == b"\x89PNG"
    assert load_file(trained / "model.safetensors")
    assert not [*trained.glob("*.part")] and len((trained / "log.jsonl").read_text().splitlines()) >= 3


def test_a_folder_with_a_run_is_refused_unless_resumed(capsys, trained):
    before = (trained / "model.safetensors").read_bytes()
    fails(capsys, "pretrain", TINY, says="already holds a finished run.*add --resume")
    fails(capsys, "pretrain", TINY, "--seed 7 --resume", says="differs.*seed was 0, now 7")
    run("pretrain", TINY, "--resume")
    assert (trained / "model.safetensors").read_bytes() == before
    assert "this model" in capsys.readouterr().out


def test_ctrl_c_says_how_to_go_on(capsys, monkeypatch, tmp_path):
    from gfm_lab import training

    def stopped(*args, **kwargs):
        raise KeyboardInterrupt("stopped at step 1 of 3")

    monkeypatch.setattr(training, "pretrain", stopped)
    run("pretrain", TINY, f"--output '{tmp_path}/a run'", code=130)
    err = capsys.readouterr().err
    again = re.search(r"with: gfm-lab (.*)", err)[1]
    assert "stopped at step 1 of 3" in err
    assert shlex.split(again)[-3:] == ["--output", f"{tmp_path}/a run", "--resume"]


def test_a_loss_that_is_not_finite_ends_with_1(capsys, monkeypatch, tmp_path):
    from gfm_lab import training

    def nan(*args, **kwargs):
        raise FloatingPointError("training stopped at step 2: loss nan; start with a lower learning_rate")

    monkeypatch.setattr(training, "pretrain", nan)
    fails(
        capsys, "pretrain", TINY, f"--output {tmp_path}/r", says="step 2: loss nan.*--learning-rate", code=1
    )


def test_next_token_init_and_preset(capsys, models, tmp_path):
    run("pretrain", TINY, "--objective next", f"--output {tmp_path}/a")
    table = pd.read_csv(tmp_path / "a" / "test.tsv", sep="\t", comment="#")
    assert set(table["protocol"]) == {"causal"} and not table["model"].str.contains("two-sided").any()
    assert GenomicForCausalLM.from_pretrained(tmp_path / "a").config.kmer_sum == 2

    options = TINY.replace("--layers 1 --width 16 --heads 2 --kmer-sum 2 ", "")
    run("pretrain", options, f"--init {models['masked']} --learning-rate 0 --output {tmp_path}/b")
    same, other = (load_file(Path(f) / "model.safetensors") for f in (models["masked"], tmp_path / "b"))
    assert all(torch.equal(same[name], other[name]) for name in same), "learning rate 0 changes nothing"
    message = "--init brings its own model: leave out --layers, --width"
    fails(capsys, "pretrain", TINY, f"--init {models['masked']} --output {tmp_path}/c", says=message)
    message = "predicts the masked tokens: leave out --objective"
    fails(
        capsys, "pretrain --objective next --init", models["masked"], f"--output {tmp_path}/c", says=message
    )
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("name, causal", [("gpt-dna", True), ("nucleotide-transformer-v2-50m", False)])
def test_presets_with_nucleotide_tokens(name, causal):
    words = f"pretrain --preset {name} --layers 2 --width 32 --heads 4 --window 16"
    args = arguments.parser().parse_args(words.split())
    model, tokenizer = pretrain.build(args, recipes.recipe(**vars(args)))
    assert model.config.causal == causal, "its own objective, unless --objective says another"
    assert model.config.num_hidden_layers == 2 and model.config.vocab_size == len(tokenizer)
    assert model.config.mask_token_id == tokenizer.mask_token_id
    ids = torch.tensor(tokenizer("ACGTTGCAAC")["input_ids"])[None]
    assert torch.isfinite(model(ids).logits).all()
    other = arguments.parser().parse_args([*words.split(), "--objective", "masked" if causal else "next"])
    assert pretrain.build(other, recipes.recipe(**vars(other)))[0].config.causal != causal
    with pytest.raises(ValueError, match="--window 900 is longer than the 512 positions"):
        args = arguments.parser().parse_args(
            shlex.split("pretrain --preset dnabert-6 --layers 1 --width 24 --window 900")
        )
        pretrain.build(args, recipes.recipe(**vars(args)))


def test_recipes():
    assert recipes.recipe() == recipes.RECIPES["default"]
    changed = recipes.recipe(steps=7, layers=None, output="x")
    assert changed == recipes.RECIPES["default"] | {"steps": 7}
    for name in recipes.RECIPES:
        args = arguments.parser().parse_args(["pretrain", "--recipe", name])
        settings = recipes.recipe(name, **vars(args))
        model, _ = pretrain.build(args, settings)
        assert model.config.num_hidden_layers == settings["layers"]
        assert set(settings) <= {*pretrain.TRAINING, *recipes.RECIPES["default"]}, (
            "a setting that nothing reads"
        )
    with pytest.raises(ValueError, match="there is no recipe 'fast'"):
        recipes.recipe("fast")


# ---- Regions ----


def fasta(path, **records):
    path.write_text("".join(f">{name}\n{sequence}\n" for name, sequence in records.items()))
    return str(path)


def test_regions_of_a_fasta(tmp_path):
    rng = np.random.default_rng(0)
    sequences = {name: "".join(rng.choice([*"ACGT"], n)) for name, n in (("one", 700), ("two", 300))}
    path = fasta(tmp_path / "a.fa", **sequences)

    def shown(**options):
        parts = files.regions(fasta=path, **options)
        for part in parts:
            for stretch in part:
                assert stretch.sequence == sequences[stretch.source][stretch.start : stretch.stop]
        covered = sorted((s.source, s.start, s.stop) for part in parts for s in part)
        for a, b in itertools.pairwise(covered):
            assert a[0] != b[0] or a[2] == b[1], "every base is in one part, and in one only"
        assert sum(stop - start for _, start, stop in covered) == 1000
        return [[stretch.name for stretch in part] for part in parts]

    assert shown() == [["one:0-700", "two:0-150"], ["two:150-200"], ["two:200-300"]]
    assert shown(valid_fraction=0.3, test_fraction=0.2) == [
        ["one:0-500"],
        ["one:500-700", "two:0-100"],
        ["two:100-300"],
    ]
    assert shown(test_region=["one"]) == [["two:0-250"], ["two:250-300"], ["one:0-700"]]
    assert shown(test_region=["one:100-200"], valid_region=["one:300-400", "two"]) == [
        ["one:0-100", "one:200-300", "one:400-700"],
        ["one:300-400", "two:0-300"],
        ["one:100-200"],
    ]
    assert shown(valid_region=["two:250-300"])[2] == ["two:150-250"]


@pytest.mark.parametrize(
    "options, says",
    [
        (
            "--test-region one:0-50 --valid-region one:40-80",
            "one:40-80 overlaps another validation or test region",
        ),
        ("--test-region three", "'three': there is no such record.*Records: one, two"),
        ("--test-region three:0-9", "there is no record 'three'"),
        ("--test-region one:50-9000", "reaches outside: there is one:0-700"),
        ("--test-region one:50-50", "is empty or reaches outside"),
        ("--test-region one --valid-region two", "no base is left for training"),
        ("--window 900", "shorter than a window of 900 bases"),
    ],
)
def test_regions_that_cannot_be(capsys, tmp_path, options, says):
    path = fasta(tmp_path / "a.fa", one="ACGGTTCATC" * 70, two="TTGACCATGA" * 30)
    fails(capsys, "pretrain", TINY, f"--fasta {path} --output {tmp_path}/r", options, says=says)


@pytest.mark.parametrize(
    "text, says",
    [
        (">a\nACGT\n>b\nACXT\n", r"bad.fa, record 'b', position 3, line 4: found 'X'"),
        (">a\nNNNNNNNN\n", r"bad.fa, record 'a': all 8 letters are N"),
        ("", "the file is empty"),
    ],
)
def test_fasta_that_cannot_be_used(capsys, models, tmp_path, text, says):
    path = tmp_path / "bad.fa"
    path.write_text(text)
    fails(capsys, "pretrain", TINY, f"--fasta {path} --output {tmp_path}/r", says=says)
    fails(capsys, f"score --fasta {path} --model {models['masked']}", says=says)
    fails(capsys, f"embed --fasta {path} --model {models['masked']} --output {tmp_path}/o.npz", says=says)
    assert [file.name for file in tmp_path.iterdir()] == ["bad.fa"], "nothing is left behind"


def test_runs_of_n_are_read_over(tmp_path):
    rng = np.random.default_rng(0)
    first, second = ("".join(rng.choice([*"ACGT"], 2000)) for _ in range(2))
    path = fasta(tmp_path / "n.fa", a=first + "N" * 300 + second.lower())
    run("pretrain", TINY, f"--fasta {path} --output {tmp_path}/r")
    assert (tmp_path / "r" / "test.tsv").exists()


# ---- embed ----


def hidden(model, tokenizer, sequence, layer=-1):
    batch = tokenizer(sequence, return_tensors="pt")
    with torch.inference_mode():
        out = model.body(batch["input_ids"], output_hidden_states=True).hidden_states[layer][0]
    return out.numpy()


@pytest.mark.parametrize("pooling", ["mean", "max", "first", "last"])
def test_embed_is_the_pooled_body(models, tmp_path, pooling):
    rng = np.random.default_rng(3)
    sequences = {f"s{n}": "".join(rng.choice([*"ACGT"], n)) for n in (5, 40, 17, 40, 23)}
    path = fasta(tmp_path / "a.fa", **sequences)
    out = tmp_path / "sub" / "a.npz"
    options = f"--model {models['kmers']} --pooling {pooling} --layer 1 --batch-size 2 --precision float32"
    run(f"embed --fasta {path} --output {out} --window 100", options)
    found = np.load(out)
    assert found["ids"].tolist() == [*sequences] and found["lengths"].tolist() == [
        len(s) for s in sequences.values()
    ]
    model, tokenizer = GenomicForMaskedLM.from_pretrained(models["kmers"]), KmerTokenizer.dnabert(3)
    for vector, sequence in zip(found["vectors"], sequences.values(), strict=True):
        h = hidden(model, tokenizer, sequence, 1)  # with [CLS] and [SEP] at the ends
        inner = h[1:-1]
        expected = dict(mean=inner.mean(0), max=inner.max(0), first=h[0], last=h[-1])[pooling]
        np.testing.assert_allclose(vector, expected, atol=1e-5)
    about = json.loads(str(found["settings"]))
    assert about["pooling"] == pooling and about["layer"] == 1 and about["window"] == 100
    assert found["vectors"].dtype == np.float32


def test_embed_reads_long_sequences_in_pieces(models, tmp_path):
    rng = np.random.default_rng(3)
    sequence = "".join(rng.choice([*"ACGT"], 75))
    path = fasta(tmp_path / "a.fa", long=sequence, short="ACGTA")
    model, tokenizer = GenomicForMaskedLM.from_pretrained(models["masked"]), NucleotideTokenizer()
    parts = [hidden(model, tokenizer, sequence[a : a + 32]) for a in (0, 32, 64)]
    expected = dict(mean=np.concatenate(parts).mean(0), max=np.concatenate(parts).max(0))
    expected |= dict(first=parts[0][0], last=parts[-1][-1])
    for pooling, vector in expected.items():
        out = tmp_path / f"{pooling}.npz"
        run(
            f"embed --fasta {path} --output {out} --window 32 --batch-size 2 --precision float32",
            f"--pooling {pooling} --model {models['masked']}",
        )
        np.testing.assert_allclose(np.load(out)["vectors"][0], vector, atol=1e-5)


def test_the_window_is_that_of_training(trained, tmp_path):
    args = arguments.parser().parse_args(f"score --data lac-mpra --model {trained}".split())
    model, tokenizer, _ = shared.ready(args)
    assert shared.window_of(args, model, tokenizer) == 32


def test_embed_refuses(capsys, models, tmp_path):
    out = tmp_path / "o.npz"
    here = f"embed --data lac-mpra --limit 2 --model {models['masked']}"
    run(here, f"--output {out}")
    before = out.read_bytes()
    fails(
        capsys,
        here,
        f"--output {out}",
        says="exists already: choose another --output, or replace it with --force",
    )
    assert out.read_bytes() == before
    run(here, f"--output {out} --layer 0 --force")
    assert out.read_bytes() != before
    fails(capsys, here, f"--output {tmp_path}/o.txt", says="stored as .npz")
    fails(capsys, here, f"--output {tmp_path}/p.npz --layer 3", says="has 0 .the embedding. to 2")
    fails(
        capsys, f"embed --data lac-mpra --pooling first --model {models['causal']} --output {tmp_path}/p.npz",
        says="seen nothing but itself",
    )  # fmt: skip
    short = fasta(tmp_path / "short.fa", fine="ACGTTG", tiny="AC")
    fails(
        capsys, f"embed --fasta {short} --model {models['kmers']} --output {tmp_path}/q.npz",
        says="record 'tiny': 2 bases give no token",
    )  # fmt: skip
    bad = fasta(tmp_path / "n.fa", fine="ACGTTG", odd="ACGNNA")
    fails(
        capsys,
        f"embed --fasta {bad} --model {models['masked']} --output {tmp_path}/r.npz",
        says="^gfm-lab embed: odd: ",
    )
    assert sorted(f.name for f in tmp_path.iterdir()) == ["n.fa", "o.npz", "short.fa"]


# ---- score ----


def test_score_masked_is_the_packages(models, tmp_path):
    out = tmp_path / "s.tsv"
    run(f"score --data lac-mpra --split test --limit 3 --model {models['masked']} --output {out} --window 50")
    table = pd.read_csv(out, sep="\t", comment="#")
    rows = data.load_data("lac-mpra").frame
    rows = rows[rows["split"] == "test"].head(3)
    assert table["name"].tolist() == [f"lac-mpra:{i}" for i in rows.index]
    model, tokenizer = GenomicForMaskedLM.from_pretrained(models["masked"]), NucleotideTokenizer()
    for row, sequence in zip(table.itertuples(), rows["sequence"], strict=True):
        expected = evaluation.bits_per_masked_base(model, tokenizer, sequence, window=50, sample=None)
        assert row.bits_per_masked_base == pytest.approx(expected.value, rel=1e-5)
        assert row.pseudo_log_likelihood == pytest.approx(-expected.value * 75 * np.log(2), rel=1e-5)
        assert row.length == row.scored == 75
    assert "protocol single" in out.read_text().splitlines()[0]


def test_score_joint_and_causal(capsys, models, tmp_path):
    rng = np.random.default_rng(0)
    sequences = {f"s{i}": "".join(rng.choice([*"ACGT"], 90)) for i in range(2)}
    path = fasta(tmp_path / "a.fa", **sequences)
    run(f"score --fasta {path} --model {models['masked']} --protocol joint --seed 5 --window 64")
    text = capsys.readouterr().out
    table = pd.read_csv(io.StringIO(text), sep="\t", comment="#")
    model, tokenizer = GenomicForMaskedLM.from_pretrained(models["masked"]), NucleotideTokenizer()
    for number, sequence in enumerate(sequences.values()):
        expected = evaluation.bits_per_masked_base(model, tokenizer, sequence, "joint", 0.15, 5 + number, 64)
        assert table["bits_per_masked_base"][number] == pytest.approx(expected.value, rel=1e-5)
        assert table["scored"][number] == evaluation.masked_mask(90, 0.15, 5 + number).sum()
    assert "protocol joint" in text and "pseudo_log_likelihood" not in table, "15 % of it is no likelihood"

    run(f"score --fasta {path} --model {models['causal']} --window 64")
    text = capsys.readouterr().out
    table = pd.read_csv(io.StringIO(text), sep="\t", comment="#")
    model = GenomicForCausalLM.from_pretrained(models["causal"])
    expected = evaluation.bits_per_base(model, tokenizer, sequences["s1"], 64)
    assert table["bits_per_base"][1] == pytest.approx(expected.value, rel=1e-5) and table["scored"][1] == 89
    assert "protocol causal" in text and "bits_per_masked_base" not in table
    fails(
        capsys,
        f"score --fasta {path} --model {models['causal']} --protocol single",
        says="--protocol is for masked models",
    )
    fails(capsys, f"score --fasta {path} --model {models['kmers']}", says="one token for each base")


def test_a_genome_is_scored_by_region(capsys, models):
    run(f"score --data ecoli-k12 --split valid --protocol joint --model {models['masked']}")
    table = pd.read_csv(io.StringIO(capsys.readouterr().out), sep="\t", comment="#")
    assert table["name"].tolist() == ["U00096.3:22000-25000"] and table["length"].tolist() == [3000]


# ---- Tables ----


@pytest.mark.parametrize(
    "text, says",
    [
        ("seq\tlabel\nACGT\t1\n", "has no column 'sequence'.*found seq, label"),
        ("sequence,label\nACGT,1\n", "it has commas: save it with tabs"),
        ("sequence\tlabel\nACGT\t1\nAC-T\t0\n", "position 3, line 3: found '-'"),
        ("sequence\tlabel\nACGT\t1\n\t0\n", "line 3: the sequence is empty"),
        ("sequence\tlabel\n", "a header and no rows"),
        ("", "cannot be read as a table"),
        ("sequence\tlabel\nNNNN\t1\n", "all 4 letters are N"),
    ],
)
def test_tables_that_cannot_be_read(capsys, models, tmp_path, text, says):
    (tmp_path / "t.tsv").write_text(text)
    fails(capsys, f"score --table {tmp_path}/t.tsv --model {models['masked']}", says=says)


def test_rows_are_chosen_and_named(tmp_path, capsys, models):
    (tmp_path / "t.tsv").write_text("id\tkind\tsequence\nx\ta\tacgt\ny\tb\tGGGG\nz\tc\tTTTT\n")
    found = files.read_records(table=str(tmp_path / "t.tsv"), where=["kind=a,c"])
    assert found == [("x", "ACGT"), ("z", "TTTT")]
    with pytest.raises(ValueError, match="no row with kind=d; its values are a, b, c"):
        files.read_records(table=str(tmp_path / "t.tsv"), where=["kind=d"])
    with pytest.raises(ValueError, match="has no column 'sort'"):
        files.read_records(table=str(tmp_path / "t.tsv"), where=["sort=d"])
    with pytest.raises(ValueError, match="write COLUMN=VALUE"):
        files.read_records(table=str(tmp_path / "t.tsv"), where=["kind"])
    fails(
        capsys,
        f"score --data {tmp_path}/t.tsv --model {models['masked']}",
        says="is a file: give it with --fasta or --table",
    )
    fails(capsys, f"score --table {tmp_path}/no.tsv --model {models['masked']}", says="no such file")
    fails(capsys, f"finetune --data ecoli-k12 --model {models['masked']}", says="is a genome, not a table")
    fails(capsys, "pretrain --data lac-mpra", says="a table of labelled sequences; pretrain reads genomes")


def test_files_are_whole_or_absent(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("old")
    with pytest.raises(RuntimeError), files.writing(path) as file:
        file.write("half")
        raise RuntimeError
    assert path.read_text() == "old" and [*tmp_path.iterdir()] == [path]
    with pytest.raises(SequenceError), files.writing(tmp_path / "b") as file:
        raise SequenceError("no")
    assert [*tmp_path.iterdir()] == [path]
    with pytest.raises(IsADirectoryError, match="is a folder"):
        files.refuse_existing(tmp_path, force=True)


# ---- finetune ----


@pytest.fixture(scope="module")
def motif(home):
    """A table of my own: class yes holds TATAAT, value y counts its copies; 20 rows share a locus with another."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(150):
        copies = int(rng.integers(0, 4))
        pieces = [*rng.choice([*"ACGT"], 30)] + ["TATAAT"] * copies
        rng.shuffle(pieces)
        split = "train" if i < 90 else "valid" if i < 120 else "test"
        rows.append(
            (f"r{i}", "yes" if copies else "no", f"{copies + 0.25}", f"l{i // 3}", split, "".join(pieces))
        )
    frame = pd.DataFrame(rows, columns=["id", "motif", "strength", "locus", "split", "sequence"])
    frame.to_csv(home / "motif.tsv", sep="\t", index=False)
    return frame


def metrics_of(folder):
    table = pd.read_csv(folder / "result.tsv", sep="\t", comment="#")
    assert (table["low"] <= table["value"]).all() and (table["value"] <= table["high"]).all()
    return table.set_index(["split", "model", "metric"])["value"]


def test_finetune_classes(capsys, models, motif, tmp_path):
    from sklearn.metrics import average_precision_score, roc_auc_score

    options = f"--label motif --epochs 2 --output {tmp_path}/r --model {models['masked']} --quiet --precision float32"
    run("finetune --table motif.tsv", options)
    out = capsys.readouterr().out
    values = metrics_of(tmp_path / "r")
    table = pd.read_csv(tmp_path / "r" / "predictions.tsv", sep="\t")
    for column, expected in (("name", "id"), ("motif", "motif"), ("split", "split")):
        assert table[column].tolist() == motif[expected][90:].tolist()
    probabilities = [column for column in table if column.startswith("P(yes) ")]
    assert len(probabilities) == 2, "the model and k-mer counts; lengths differ, so no bases by place"
    for column in probabilities:
        for split in ("valid", "test"):
            part = table[table["split"] == split]
            name = column.removeprefix("P(yes) ")
            truth = part["motif"] == "yes"
            assert values[split, name, "AUROC"] == pytest.approx(roc_auc_score(truth, part[column]), abs=1e-4)
            assert values[split, name, "AUPRC"] == pytest.approx(
                average_precision_score(truth, part[column]), abs=1e-4
            )
    assert values["test", "logistic, k-mer counts", "AUROC"] > 0.9, "TATAAT is easy to count"

    # The saved model gives the predictions written beside it, and a probe left the body as it was.
    model, tokenizer = load_model(tmp_path / "r")
    sequence = motif["sequence"][149]
    with torch.inference_mode():
        p = model(**tokenizer(sequence, return_tensors="pt")).logits.softmax(-1)[0, 1].item()
    assert table[probabilities[0]].iloc[-1] == pytest.approx(p, abs=1e-4)
    before, after = (load_file(Path(f) / "model.safetensors") for f in (models["masked"], tmp_path / "r"))
    assert all(torch.equal(before[name], after[name]) for name in before if name.startswith("body.layers"))
    assert "bootstrap over whole groups (column locus)" in out
    fails(capsys, "finetune --table motif.tsv", options, says="already holds a finished run")


def test_finetune_values_without_a_valid_split(capsys, models, motif, tmp_path):
    from scipy.stats import spearmanr

    motif.assign(split=motif["split"].replace("valid", "train"), y=motif["strength"]).to_csv(
        tmp_path / "v.tsv", sep="\t", index=False
    )
    options = f"--epochs 1 --method full --output {tmp_path}/r --model {models['causal']} --quiet --limit 25"
    run(f"finetune --table {tmp_path}/v.tsv --label y", options)
    assert "no split valid: a tenth of train, drawn by locus with seed 0, serves" in capsys.readouterr().err
    table = pd.read_csv(tmp_path / "r" / "predictions.tsv", sep="\t")
    valid = table[table["split"] == "valid"]
    assert set(valid["name"]) <= set(motif["id"][:120]) and len(valid) == 12, (
        "whole loci of three rows, a tenth of 40"
    )
    test = table[table["split"] == "test"]
    assert len(test) == 25
    values = metrics_of(tmp_path / "r")
    rho = spearmanr(test["y"], test["ridge, k-mer counts"]).statistic
    assert values["test", "ridge, k-mer counts", "Spearman"] == pytest.approx(rho, abs=1e-4)


def test_labels():
    values, names = finetune._labels(pd.Series(["0.5", "2"]), "score")
    assert values.tolist() == [0.5, 2] and names is None
    assert finetune._labels(pd.Series([1, 2]), "y")[1] is None, "a column y holds values"
    for column, numbers, expected in (
        (["b", "a", "b"], [1, 0, 1], ["a", "b"]),
        (["10", "9"], [1, 0], ["9", "10"]),
        ([1, 0, 1], [1, 0, 1], ["0", "1"]),
    ):
        values, names = finetune._labels(pd.Series(column), "label")
        assert values.tolist() == numbers and names == expected
    for column, name, says in (
        (["0.1", "x"], "y", "column 'y', row 2: 'x' is no finite number"),
        (["0.1", ""], "y", "row 2: '' is no finite number"),
        (["a", "a"], "label", "every row has label 'a'"),
        ([f"a{i}" for i in range(200)], "label", "200 classes in 200 rows"),
    ):
        with pytest.raises(ValueError, match=says):
            finetune._labels(pd.Series(column), name)


def test_finetune_refuses_and_warns(capsys, models, motif, tmp_path):
    def written(**columns):
        motif.assign(**columns).drop(columns=[c for c, v in columns.items() if v is None]).to_csv(
            tmp_path / "t.tsv", sep="\t", index=False
        )
        options = f"--label motif --epochs 1 --quiet --model {models['masked']} --limit 20"
        return f"finetune --table {tmp_path}/t.tsv {options}"

    out = f"--output {tmp_path}/r"
    fails(capsys, written(), out, "--label size", says="has no column 'size'; it has name, motif")
    fails(capsys, written(), out, "--group gene", says="has no column 'gene'")
    fails(capsys, written(split=None), out, says="has no column 'split'")
    fails(capsys, written(split="train"), out, says="no row of t.tsv is of split 'test'; there are train")
    first = ["no"] * 120 + motif["motif"][120:].tolist()
    fails(capsys, written(motif=first), out, says="no training row has label 'yes'")
    same = motif["sequence"].tolist()
    same[95] = same[0]
    fails(
        capsys, written(sequence=same), out, "--limit 999", says="stand in train and in valid.*--allow-shared"
    )
    run(written(sequence=same), out, "--limit 999 --allow-shared --no-baseline")
    assert (
        "2 rows have a sequence that stands in more than one split"
        in (tmp_path / "r" / "result.tsv").read_text()
    )


# ---- generate ----


def test_generate_writes_the_packages_sequences(capsys, models, tmp_path):
    words = f"generate --model {models['causal']} --length 70 --number 3 --prompt acgt --temperature 0.7 --top-k 3"
    run(words, f"--top-p 0.9 --seed 5 --output {tmp_path}/new.fa")
    assert "3 sequences of 70 new bases" in capsys.readouterr().out
    expected = generation.generate(
        *load_model(models["causal"]), 70, prompt="ACGT", n=3, temperature=0.7, top_k=3, top_p=0.9, seed=5
    )
    records = [*read_fasta(tmp_path / "new.fa")]
    assert [r.sequence for r in records] == ["ACGT" + sequence for sequence in expected]
    assert [r.name for r in records] == ["generated_0", "generated_1", "generated_2"]
    assert all(
        told in records[0].description for told in ("seed=5", "temperature=0.7", "top_k=3", "prompt_bases=4")
    )
    run(words, "--top-p 0.9 --seed 5")  # to standard output: the same
    assert "".join(re.findall(r"^[ACGT]+$", capsys.readouterr().out, re.M)) == "".join(
        r.sequence for r in records
    )


@pytest.mark.parametrize(
    "options, says",
    [
        ("--model {masked}", "GenomicForMaskedLM does not predict the next base"),
        ("--model {causal} --control ecoli", "no control token 'ecoli'"),
        ("--model {causal} --top-p 2", "top_p is 2.0"),
        ("--model {causal} --top-k 9", "top_k is 9"),
        ("--model {causal} --prompt ACXG", "position 3: found 'X'"),
        ("--model {causal} --temperature hot", "'hot' is not a number"),
        ("--model {causal} --length 0", "0 is too small"),
        ("--model {causal} --output {causal}", "is a folder"),
        ("--model nowhere", "there is no checkpoint and no folder 'nowhere'"),
    ],
)
def test_generate_refuses(capsys, models, options, says):
    fails(capsys, "generate", options.format(**models), says=says)
