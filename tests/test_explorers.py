"""The interactive pieces: what they show is what the package's own functions say, live and static alike."""

import itertools
import re
import sys
import xml.etree.ElementTree as ET

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import gfm_lab
from gfm_lab import BPETokenizer, KmerTokenizer, MarkovModel, NucleotideTokenizer, explorers, plots
from gfm_lab.explorers import genes, masks, tokens, writing
from gfm_lab.explorers.explorer import one_thread
from gfm_lab.generation import generate, sampling_probabilities
from gfm_lab.objectives import IGNORED, MaskedLMCollator
from gfm_lab.tokenization import kmers

DNA = st.text("ACGT", min_size=1, max_size=42)
quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(autouse=True)
def style():
    plots.use_style()
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def genome():
    return gfm_lab.load_data("ecoli-k12")


@pytest.fixture(scope="module")
def markov(genome):
    return MarkovModel(3).fit(genome.split("train")[:200_000])


@pytest.fixture(scope="module")
def opened(markov):
    """Every explorer once; tests that move widgets set all values themselves."""
    plots.use_style()
    return {
        "tokenizer": explorers.tokenizer(),
        "mixers": explorers.mixers(),
        "masking": explorers.masking(markov=markov),
        "sampling": explorers.sampling(markov=markov),
    }


NAMES = ("tokenizer", "mixers", "masking", "sampling")
every = pytest.mark.parametrize("name", NAMES)

# Settings worth trying for each: one line differs from the default in several controls.
CASES = {
    "tokenizer": [
        {"change": "insert", "k": 6, "stride": 6},
        {"scheme": "single nucleotides", "source": "human chr20", "start": 5},
        {"scheme": "BPE 1,024, E. coli", "change": "delete", "at": 41},
        {"scheme": "DNABERT-6", "source": "what I type", "dna": "ACG"},
        {"source": "what I type", "dna": "ACGNNRacgt", "unknown": "split", "k": 3},
        {"source": "what I type", "dna": "A<C&G>$T$", "unknown": "split", "scheme": "single nucleotides"},
    ],
    "mixers": [
        {"gene": "lacZ", "position": -36},
        {"position": 60, "head": 0, "hyena_channel": 128, "mamba_channel": 256, "mamba_layer": 4},
        {"position": 0, "hyena_channel": 0, "mamba_channel": 0, "attention_layer": 6},
    ],
    "masking": [
        {"tokens": "overlapping 6-mers", "pattern": "contiguous", "rate": 0.4, "together": True},
        {"tokens": "overlapping 3-mers", "seed": 9},
        {"rate": 0.5, "shown": "always [MASK]", "which": 60, "start": 400_000},
    ],
    "sampling": [
        {"temperature": 0.0},
        {"top_k": 2, "top_p": 0.3, "prompt": "acg", "seed": 4},
        {"temperature": 2.0, "prompt": "A" * 40},
    ],
}


# ---- What all have in common ----


@every
def test_live_and_static_show_the_same_drawing(opened, name):
    """The SVG and the figure hold the same boxes, letters and lines; the SVG is well formed and says what it shows."""
    for case in [{}, *CASES[name]]:
        view = opened[name].view(**case)
        svg = ET.fromstring(view.picture.svg(view.alt))
        assert svg.attrib["role"] == "img" and svg.attrib["aria-label"] == view.alt
        count = {
            tag: len(svg.findall(f"{{http://www.w3.org/2000/svg}}{tag}"))
            for tag in ("rect", "text", "polyline")
        }
        (axes,) = view.picture.figure().axes
        assert count["rect"] == len(axes.patches) + 1  # the sheet
        assert count["text"] == len(axes.texts)
        assert count["polyline"] == len(axes.lines)
        letters = [t.text for t in svg.findall("{http://www.w3.org/2000/svg}text")]
        assert letters == [t.get_text().replace(r"\$", "$") or None for t in axes.texts]


@every
def test_nothing_is_drawn_outside_the_picture(opened, name):
    for case in [{}, *CASES[name]]:
        picture = opened[name].view(**case).picture
        figure = picture.figure()
        drawn = figure.canvas.get_renderer()
        for text in figure.axes[0].texts:
            where = text.get_window_extent(drawn)
            assert where.x0 >= 0 and where.x1 <= picture.width + 1, text.get_text()
            assert where.y0 >= 0 and where.y1 <= picture.height + 1, text.get_text()
        plt.close(figure)
        for kind, mark in picture.marks:
            if kind == "box":
                assert mark["x"] >= -1 and mark["x"] + mark["w"] <= picture.width + 1, mark
                assert mark["y"] >= -1 and mark["y"] + mark["h"] <= picture.height + 1, mark
                assert mark["w"] >= 0 and mark["h"] >= -1e-6, mark
            elif kind == "text":
                assert 0 <= mark["x"] <= picture.width and 0 <= mark["y"] <= picture.height, mark


@every
def test_static_twin_has_a_description_and_its_picture(opened, name, monkeypatch):
    displayed = []
    monkeypatch.setattr("IPython.display.display", lambda *args, **kwargs: displayed.append((args, kwargs)))
    opened[name].static(**CASES[name][0])
    (bundle,), options = displayed[0]
    alt = options["metadata"]["image/png"]["alt"]
    assert bundle["image/png"] and len(alt) > 80
    assert all(
        sentence in alt for sentence in opened[name].view(**CASES[name][0]).summary if "  " not in sentence
    )
    assert not plt.get_fignums()


@every
def test_widgets_show_what_the_settings_say(opened, name):
    """Set every control, one after the other: the page is the one that `html` gives for these values."""
    explorer = opened[name]
    assert {key: w.description for key, w in explorer.live.items()} == {
        key: control.label for key, control in explorer.controls.items()
    }
    for case in CASES[name]:
        for key, value in explorer.settings(**case).items():
            if not explorer.live[key].disabled:
                explorer.live[key].value = value
        values = {key: widget.value for key, widget in explorer.live.items()}
        assert {key: values[key] for key in case if not explorer.live[key].disabled} == {
            key: value for key, value in case.items() if not explorer.live[key].disabled
        }
        assert explorer.shown == explorer.html(**values)


@every
def test_settings_out_of_bounds_are_named(opened, name):
    explorer = opened[name]
    with pytest.raises(ValueError, match=r"no control 'nothing'; there are"):
        explorer.view(nothing=1)
    for key, control in explorer.controls.items():
        wrong = {"choice": "no such", "whole": int(control.high) + 1, "number": -9.5, "text": 7, "tick": 1}
        with pytest.raises(ValueError, match=re.escape(control.label)):
            explorer.view(**{key: wrong[control.kind]})


@every
def test_without_ipywidgets_a_message_and_the_twin(name, opened, monkeypatch, capsys):
    explorer = opened[name]
    fresh = explorers.Explorer(explorer.title, [*explorer.controls.values()], explorer._look)
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    with pytest.raises(ImportError, match=r"pip install ipywidgets.*static"):
        fresh.widget()
    fresh._ipython_display_()
    assert "pip install ipywidgets" in capsys.readouterr().out
    assert fresh.figure().axes


def test_threads_are_given_back():
    before = torch.get_num_threads()
    with pytest.raises(RuntimeError), one_thread():
        assert torch.get_num_threads() == 1
        raise RuntimeError
    assert torch.get_num_threads() == before


# ---- Tokenizer ----


@pytest.fixture(scope="module")
def bpe(genome):
    return BPETokenizer.train([genome.split("train")[:60_000]], vocab_size=200)


@quick
@given(dna=DNA, k=st.integers(1, 8), data=st.data())
def test_shown_tokens_are_the_tokenizers(dna, k, data):
    stride = data.draw(st.integers(1, k))
    tok = KmerTokenizer(k, stride)
    cut = tokens.cut(tok, dna)
    assert cut.ids == tok.encode_array(dna).tolist()
    words = kmers(dna, k, stride)
    assert cut.tokens[: len(words)] == words
    assert all(dna[a:b] == token for token, (a, b) in zip(cut.tokens, cut.spans, strict=True))


@quick
@given(dna=DNA)
def test_tokens_without_overlap_spell_the_dna(bpe, dna):
    for tok in (bpe, NucleotideTokenizer(), KmerTokenizer.nucleotide_transformer()):
        cut = tokens.cut(tok, dna)
        assert "".join(cut.tokens) == dna
        assert cut.ids == tok.encode_array(dna).tolist()


@quick
@given(dna=DNA, data=st.data())
def test_edits_change_one_base(dna, data):
    at, base = data.draw(st.integers(0, len(dna) - 1)), data.draw(st.sampled_from("ACGT"))
    assert tokens.edited(dna, "none", at, base) == dna
    assert tokens.edited(tokens.edited(dna, "insert", at, base), "delete", at, base) == dna
    replaced = tokens.edited(dna, "replace", at, base)
    assert [i for i in range(len(dna)) if dna[i] != replaced[i]] == ([at] if dna[at] != base else [])


def test_edits_say_what_is_wrong():
    with pytest.raises(ValueError, match="no base 3"):
        tokens.edited("ACG", "delete", 3, "A")
    with pytest.raises(ValueError, match="'replace'"):
        tokens.edited("ACG", "turn", 0, "A")


@quick
@given(before=st.lists(st.integers(0, 1), max_size=6), after=st.lists(st.integers(0, 1), max_size=6))
@example([0], [0, 0])  # start and end must not share a token
@example([1, 0, 0, 1], [1, 0, 1])
def test_changed_tokens_are_all_that_is_not_shared(before, after):
    old, new = tokens.changed_tokens(before, after)
    assert before[: old.start] == after[: new.start]
    assert before[old.stop :] == after[new.stop :]
    assert (len(old) == len(new) == 0) == (before == after)
    if old and new:  # longest: neither end can be taken further
        assert before[old.start] != after[new.start] and before[old.stop - 1] != after[new.stop - 1]


def test_one_base_changes_as_many_tokens_as_notebook_01_says(genome):
    dna = genome.split("test")[1000:1042]
    for change in ("replace", "insert"):
        new = tokens.edited(dna, change, 18, "A" if dna[18] != "A" else "C")
        counts = {}
        for name, tok in {
            "bases": NucleotideTokenizer(),
            "overlapping": KmerTokenizer(6),
            "side by side": KmerTokenizer(6, 6),
        }.items():
            counts[name] = [
                len(r)
                for r in tokens.changed_tokens(tok.encode_array(dna).tolist(), tok.encode_array(new).tolist())
            ]
        assert counts["bases"][1] == 1
        assert counts["overlapping"][0] <= 6 and counts["overlapping"][1] <= 7
        # From base 18 on all 4 words of 6 are new, and the base left over is a token of its own.
        assert counts["side by side"] == ([1, 1] if change == "replace" else [4, 5])


def test_bad_input_shows_the_tokenizers_own_message(opened):
    explorer = opened["tokenizer"]
    live = explorer.live
    live["source"].value, live["scheme"].value, live["unknown"].value = "what I type", "k-mers", "error"
    for dna, complaint in (("ACG5T", "'5' at position 3"), ("ACGRT", "'R' at position 3"), ("ACGU", "RNA?")):
        live["dna"].value = dna
        assert complaint in explorer.shown.replace("&#x27;", "'")
        assert 'role="alert"' in explorer.shown and "Traceback" not in explorer.shown
        with pytest.raises(ValueError) as error:
            KmerTokenizer(live["k"].value)(dna)
        assert str(error.value).split(".")[0] in explorer.shown.replace("&#x27;", "'")
    live["dna"].value = "<b>ACG"
    assert "character &#x27;&lt;&#x27; at position 0" in explorer.shown
    live["dna"].value = ""
    assert "type some bases" in explorer.shown
    live["dna"].value = "A" * 43
    assert "room for 42 bases, not for 43" in explorer.shown
    live["dna"].value = "ACGT"
    assert "<svg" in explorer.shown and live["at"].max == 3
    live["source"].value = "E. coli"
    assert live["dna"].disabled and len(live["dna"].value) == 42 and live["at"].max == 41


def test_stride_never_exceeds_k(opened):
    live = opened["tokenizer"].live
    live["source"].value, live["scheme"].value = "E. coli", "k-mers"
    live["k"].value = 6
    live["stride"].value = 6
    live["k"].value = 4
    assert live["stride"].value == live["stride"].max == 4
    assert "4-mers, stride 4" in opened["tokenizer"].shown


def test_tokenizers_of_ones_own_can_be_chosen(bpe):
    explorer = explorers.tokenizer({"mine": bpe})
    view = explorer.view(scheme="mine")
    assert view.summary[0].startswith(f"mine, {len(bpe):,} entries")
    shown = [m["string"] for kind, m in view.picture.marks if kind == "text"]
    ids = tokens.cut(bpe, explorer.controls["dna"].value).ids
    assert [s for s in shown if s in map(str, ids)][-len(ids) :] == [str(i) for i in ids]


# ---- Mixers ----


@pytest.fixture(scope="module")
def stretch(genome):
    return genes.gene_start(genome, "groS")[0]


@pytest.mark.parametrize("checkpoint", ["ecoli-attention-mlm", "ecoli-hyena-ar", "ecoli-mamba-ar"])
def test_weights_times_values_are_the_layers_output(checkpoint, stretch):
    """In every layer: what is drawn, multiplied out, is what the mixer computes."""
    model, tokenizer = gfm_lab.load_model(checkpoint)
    with one_thread():
        for layer, x in zip(
            model.body.layers, genes.normed_inputs(model, tokenizer.encode_array(stretch)), strict=True
        ):
            mixer, length = layer.mixer, x.shape[1]
            if "attention" in checkpoint:
                rows = genes.attention_rows(mixer, x)
                values = mixer.qkv(x)[0].chunk(3, -1)[2].reshape(length, mixer.heads, -1).double().numpy()
                y = np.einsum("hts,shd->thd", rows.weights, values).reshape(length, -1)
                assert np.allclose(rows.weights.sum(-1), 1, atol=1e-5)
                assert np.allclose(rows.row(7, -1), (rows.row(7, 0) + rows.row(7, 1)) / 2)
            else:
                make = genes.hyena_rows if "hyena" in checkpoint else genes.mamba_rows
                rows, values = make(mixer, x)
                every_row = np.stack(
                    [[rows.row(t, c) for t in range(length)] for c in (0, len(values) // 2, len(values) - 1)]
                )
                assert np.all(np.triu(every_row, 1) == 0), "left to right: nothing after t"
                sizes = np.sqrt(np.mean([rows.row(5, c) ** 2 for c in range(len(values))], axis=0))
                assert np.allclose(rows.row(5, -1), sizes)
                table = np.stack([[rows.row(t, c) for c in range(len(values))] for t in range(length)])
                y = np.einsum("tcs,cs->tc", table, values)
            out = mixer.out(torch.from_numpy(y).float())
            assert torch.allclose(out, mixer(x)[0], atol=2e-4, rtol=1e-3)


def test_genes_begin_where_the_table_says(genome):
    for name in genes.GENES:
        text, split = genes.gene_start(genome, name)
        assert len(text) == 96 and text[36:39] == "ATG"
        assert split == ("train" if name == "lacZ" else "test")
    row = genome.genes.set_index("gene").loc["groS"]
    assert genes.gene_start(genome, "groS")[0][36:] == genome.region(row.start, row.start + 60)
    with pytest.raises(ValueError, match="no gene 'nothing'"):
        genes.gene_start(genome, "nothing")


def test_a_control_moves_its_own_panel_alone(opened):
    explorer = opened["mixers"]

    def panels(**case):
        """The marks of each panel, by the titles' places."""
        marks = explorer.view(**case).picture.marks
        tops = [m["y"] for kind, m in marks if kind == "text" and m["bold"] and m["size"] == 13]
        place = lambda kind, m: m["points"][0][1] if kind == "line" else m["y"]  # noqa: E731
        own = [(kind, m) for kind, m in marks if not (kind == "line" and m["dashed"])]
        edges = [*tops, 1e9]
        return [
            [m for kind, m in own if a - 12 <= place(kind, m) < b - 12] for a, b in itertools.pairwise(edges)
        ]

    first = panels()
    assert len(first) == 3
    for case, moved in (
        ({"attention_layer": 4}, 0),
        ({"head": 1}, 0),
        ({"hyena_layer": 1}, 1),
        ({"hyena_channel": 9}, 1),
        ({"mamba_layer": 1}, 2),
        ({"mamba_channel": 9}, 2),
    ):
        now = panels(**case)
        assert [a != b for a, b in zip(first, now, strict=True)] == [i == moved for i in range(3)], case


def test_the_filter_shifts_and_delta_stays(stretch):
    """What notebook 07 asks the learner to see."""
    model, tokenizer = gfm_lab.load_model("ecoli-hyena-ar")
    other = stretch[::-1]
    with one_thread():
        taps = [
            genes.hyena_rows(
                model.body.layers[1].mixer, genes.normed_inputs(model, tokenizer.encode_array(s))[1]
            )[0]
            for s in (stretch, other)
        ]
    assert np.array_equal(taps[0].filter(5), taps[1].filter(5)), "no letter changes the filter"
    weights = [rows.row(40, 4) for rows in taps]
    assert not np.allclose(*weights), "the gates make the weights depend on the letters"


def test_a_head_looks_nine_bases_away_ahead_of_the_gene_and_in_it(genome):
    """What notebook 07 says of layer 3, head 2: most of its weight, at any position with nine bases on both sides."""
    model, tokenizer = gfm_lab.load_model("ecoli-attention-mlm")
    for name in genes.GENES:
        text, _ = genes.gene_start(genome, name)
        with one_thread():
            x = genes.normed_inputs(model, tokenizer.encode_array(text))[2]
            rows = genes.attention_rows(model.body.layers[2].mixer, x)
        for places in (range(12, 36), range(36, 84)):
            nine = [rows.row(t, 1)[[t - 9, t + 9]].sum() for t in places]
            assert np.mean(nine) > 0.7, (name, places)


# ---- Masking ----


@quick
@given(
    dna=st.text("ACGT", min_size=8, max_size=60),
    k=st.sampled_from([1, 3, 6]),
    rate=st.floats(0.05, 0.6),
    seed=st.integers(0, 99),
    contiguous=st.booleans(),
    together=st.booleans(),
)
def test_masks_are_the_collators(dna, k, rate, seed, contiguous, together):
    tok = NucleotideTokenizer() if k == 1 else KmerTokenizer.dnabert(k)
    pattern = "contiguous" if contiguous and k > 1 else "independent"
    made = masks.masked(tok, k, dna, rate, pattern, (0.8, 0.1, 0.1), together, seed)
    collate = MaskedLMCollator(tok, rate, pattern, together=together, seed=seed)
    batch = collate([{"input_ids": tok.encode_array(dna), "index": 0}])
    assert np.array_equal(made.shown, batch["input_ids"][0]) and np.array_equal(
        made.labels, batch["labels"][0]
    )
    assert np.array_equal(made.ids, tok.encode_array(dna))
    for base in range(len(dna)):  # the definition, one base at a time
        words = [i for i in range(len(made.ids)) if i <= base < i + k]
        assert made.hidden[base] == all(made.labels[i] != IGNORED for i in words)
        told = [i for i in words if made.labels[i] != IGNORED and made.shown[i] == made.ids[i]]
        assert made.leaked[base] == (made.hidden[base] and bool(told))


def test_guesses_are_the_models_and_the_markov_models(genome, markov):
    model, tokenizer = gfm_lab.load_model("ecoli-attention-mlm")
    dna, hidden = genome.split("test")[:128], np.zeros(128, bool)
    hidden[[40, 41, 90]] = True
    guess = masks.guesses(model, tokenizer, markov, dna, hidden)
    ids = torch.from_numpy(tokenizer.encode_array(dna).astype(np.int64))[None]
    ids[0, hidden] = tokenizer.mask_token_id
    with torch.inference_mode():
        expected = model(input_ids=ids).logits[0, hidden][:, 5:9].softmax(-1).numpy()
    assert np.allclose(guess.model[hidden], expected, atol=1e-5)
    assert np.array_equal(guess.markov[hidden], markov.masked_probabilities(dna, hidden)[hidden])
    assert np.isnan(guess.model[~hidden]).all() and np.isnan(guess.markov[~hidden]).all()


def test_what_training_shows_does_not_move_the_labels_nor_the_guesses(opened):
    explorer = opened["masking"]
    first, other = explorer.view(), explorer.view(shown="always [MASK]")
    assert first.summary[0] != other.summary[0] and first.summary[1:] == other.summary[1:]
    assert explorer.view(seed=8).summary[1:] != first.summary[1:]
    assert explorer.view(which=2).summary[:-1] == first.summary[:-1]
    assert explorer.view(which=2).summary[-1] != first.summary[-1]


def test_contiguous_masks_want_overlapping_words(opened):
    explorer = opened["masking"]
    explorer.live["tokens"].value = "nucleotides"
    explorer.live["pattern"].value = "contiguous"
    assert 'role="alert"' in explorer.shown and "do not overlap" in explorer.shown
    explorer.live["tokens"].value = "overlapping 6-mers"
    assert "Bases that no unchosen word spells" in explorer.shown
    explorer.live["pattern"].value = "independent"


def test_model_and_tokenizer_come_together():
    model, _ = object(), None
    for make in (explorers.masking, explorers.sampling):
        with pytest.raises(ValueError, match="together"):
            make(model=model)


# ---- Sampling ----


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    prompt=st.text("ACGTacgt", min_size=1, max_size=30),
    temperature=st.sampled_from([0.0, 0.5, 1.0, 2.0]),
    top_k=st.integers(1, 4),
    top_p=st.sampled_from([0.05, 0.6, 1.0]),
)
def test_draws_are_the_packages(markov, prompt, temperature, top_k, top_p):
    model, tokenizer = gfm_lab.load_model("ecoli-conv-ar")
    options = dict(temperature=temperature, top_k=top_k, top_p=top_p)
    made = writing.draws(model, tokenizer, markov, prompt, **options, seed=2, length=5)
    with torch.inference_mode():
        scores = model(input_ids=torch.tensor(tokenizer(prompt)["input_ids"])[None]).logits[0, -1, 5:9]
    assert np.allclose(made.scores, scores.numpy(), atol=1e-4)
    assert np.allclose(made.before, torch.softmax(scores.double(), -1).numpy(), atol=1e-4)
    assert np.array_equal(made.after, sampling_probabilities(made.scores, **options))
    assert made.text == generate(model, tokenizer, 5, prompt=prompt, seed=2, **options)[0]
    assert made.after["ACGT".index(made.text[0])] > 0
    for base, p in zip("ACGT", made.markov, strict=True):
        assert p == pytest.approx(markov.probabilities(prompt + base)[-1]["ACGT".index(base)])


def test_settings_of_sampling_move_what_they_should(opened, markov):
    model, tokenizer = gfm_lab.load_model("ecoli-conv-ar")
    draw = lambda **o: writing.draws(model, tokenizer, markov, "ATGAAACGC", **o)  # noqa: E731
    first, cold, other = draw(), draw(temperature=0.5), draw(seed=1)
    assert np.array_equal(first.before, cold.before) and cold.after.max() > first.after.max()
    assert np.array_equal(first.after, other.after) and first.text != other.text
    assert np.array_equal(first.before, first.after)
    assert (draw(top_k=2).after > 0).sum() == 2
    assert draw(temperature=0.0).text == draw(temperature=0.0, seed=7).text


def test_prompts_that_are_no_dna_get_a_message(opened):
    explorer = opened["sampling"]
    for prompt, complaint in (
        ("", "at least one base"),
        ("ATN", "letter 3"),
        ("AT5", "letter 3 of the prompt is '5'"),
        ("A T", "letter 2 of the prompt is ' '"),
        ("A" * 41, "room for 40"),
    ):
        explorer.live["prompt"].value = prompt
        assert complaint in explorer.shown.replace("&#x27;", "'") and 'role="alert"' in explorer.shown
    explorer.live["prompt"].value = "ATG"
    assert "<svg" in explorer.shown
