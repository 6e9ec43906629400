"""Sampling: the distribution is the one asked for, the state changes nothing but speed, the seed decides all."""

import numpy as np
import pytest
import torch
import transformers
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gfm_lab.generation import generate, sampling_probabilities
from gfm_lab.model import GenomicConfig, GenomicForCausalLM, GenomicForMaskedLM, GenomicModel
from gfm_lab.sequence import SequenceError
from gfm_lab.tokenization import KmerTokenizer, NucleotideTokenizer

torch.set_num_threads(1)
TOKENIZER = NucleotideTokenizer()
WITH_CONTROLS = NucleotideTokenizer(controls=("ecoli", "fly"))  # ids 10 and 11
MIXERS = {
    "attention": {"heads": 2},
    "sliding_window": {"heads": 2, "radius": 5},
    "convolution": {"kernel": 3, "dilation": [1, 4]},
    "hyena": {"max_length": 64, "filter_width": 16},
    "mamba": {"state_size": 4},
}


def make(mixer="attention", kind=GenomicForCausalLM, seed=0, **fields):
    torch.manual_seed(seed)
    tall = dict(
        vocab_size=len(TOKENIZER) + 2, hidden_size=16, num_hidden_layers=2, max_position_embeddings=None
    )
    fields = tall | dict(positions="none", causal=True, mixer=mixer, mixer_options=MIXERS[mixer]) | fields
    model = kind(GenomicConfig(**fields)).double()
    with torch.no_grad():  # a new model is nearly uniform, and then sampling hides mistakes
        for parameter in model.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
    return model.eval()


def next_base(model, ids):
    """(4,) probabilities of the next base, from one pass over all ids, without a state."""
    with torch.no_grad():
        return torch.softmax(model(input_ids=torch.tensor([ids])).logits[0, -1, 5:9], -1).numpy()


# ---- The distribution ----


def test_temperature_is_a_softmax_and_zero_is_greedy():
    scores = np.log([0.5, 0.25, 0.125, 0.125])
    np.testing.assert_allclose(sampling_probabilities(scores), [0.5, 0.25, 0.125, 0.125])
    np.testing.assert_allclose(sampling_probabilities(scores, 0.5), np.array([16, 4, 1, 1]) / 22)
    assert sampling_probabilities(scores, 0).tolist() == [1, 0, 0, 0]
    assert sampling_probabilities([1.0, 1.0, 0.0, 0.0], 0).tolist() == [1, 0, 0, 0]
    np.testing.assert_allclose(sampling_probabilities(scores, 1e9), 0.25, atol=1e-8)


def test_top_k_and_top_p_by_hand():
    scores = np.log([0.1, 0.5, 0.15, 0.25])
    np.testing.assert_allclose(sampling_probabilities(scores, top_k=2), [0, 2 / 3, 0, 1 / 3])
    np.testing.assert_allclose(sampling_probabilities(scores, top_p=0.5), [0, 1, 0, 0])
    np.testing.assert_allclose(sampling_probabilities(scores, top_p=0.51), [0, 2 / 3, 0, 1 / 3])
    np.testing.assert_allclose(sampling_probabilities(scores, top_p=1.0), np.exp(scores))
    np.testing.assert_allclose(sampling_probabilities(scores, top_p=1e-9), [0, 1, 0, 0])
    # Top-k first, then top-p among what is left: 0.5 / 0.75 = 0.67 reaches 0.6.
    np.testing.assert_allclose(sampling_probabilities(scores, top_k=2, top_p=0.6), [0, 1, 0, 0])


@settings(max_examples=60, deadline=None)
@given(
    scores=st.lists(st.integers(-9, 9), min_size=4, max_size=4, unique=True),
    temperature=st.floats(0.2, 5),
    top_k=st.none() | st.integers(1, 4),
    top_p=st.none() | st.floats(0.05, 1),
)
def test_the_distribution_is_that_of_transformers(scores, temperature, top_k, top_p):
    x = torch.tensor([scores], dtype=torch.float64) / 2
    warped = transformers.TemperatureLogitsWarper(temperature)(None, x)
    warped = warped if top_k is None else transformers.TopKLogitsWarper(top_k)(None, warped)
    if top_p is not None:
        # At a sum that equals top_p to the last digit, rounding decides: no test.
        sums = torch.softmax(warped, -1).sort(descending=True).values.cumsum(-1)
        assume(((sums - top_p).abs() > 1e-6).all() and top_p < 1)
        warped = transformers.TopPLogitsWarper(top_p)(None, warped)
    expected = torch.softmax(warped, -1)[0].numpy()
    np.testing.assert_allclose(
        sampling_probabilities(np.divide(scores, 2), temperature, top_k, top_p), expected, atol=1e-9
    )


def test_drawn_bases_follow_the_models_probabilities():
    model = make()
    drawn = generate(model, TOKENIZER, 1, prompt="ACGGT", n=4_000, batch_size=4_000, temperature=2.0)
    counts = np.array([drawn.count(base) for base in "ACGT"])
    expected = (
        4_000
        * next_base(model.double(), [5, 6, 7, 7, 8]) ** 0.5
        / (next_base(model, [5, 6, 7, 7, 8]) ** 0.5).sum()
    )
    assert ((counts - expected) ** 2 / expected).sum() < 16.27  # chi-square, 3 degrees of freedom, p = 0.001


# ---- Writing ----


@pytest.mark.parametrize("mixer", MIXERS)
def test_the_state_changes_nothing(mixer):
    """Greedy and sampled bases equal those chosen by reading the whole text anew at each step."""
    model, length = make(mixer, kmer_sum=3), 30
    greedy = generate(model, TOKENIZER, length, prompt="ACGTTG", temperature=0)[0]
    ids = TOKENIZER("ACGTTG")["input_ids"]
    for base in greedy:
        p = next_base(model, ids)
        assert p["ACGT".index(base)] >= p.max() - 1e-9
        ids.append(5 + "ACGT".index(base))

    first, second = generate(model, TOKENIZER, length, prompt="ACGTTG", n=2, seed=3)
    for row, sequence in enumerate((first, second)):
        chance, ids = np.random.default_rng((3, row)).random(length), TOKENIZER("ACGTTG")["input_ids"]
        for t, base in enumerate(sequence):
            assert base == "ACGT"[int((np.cumsum(next_base(model, ids))[:3] <= chance[t]).sum())]
            ids.append(5 + "ACGT".index(base))
    assert first != second and len(first) == length


@pytest.mark.parametrize("mixer", MIXERS)
def test_the_same_seed_gives_the_same_dna_in_any_batch(mixer):
    model = make(mixer)
    one = generate(model, TOKENIZER, 20, n=5, seed=1, prompt="ac")
    assert one == generate(model, TOKENIZER, 20, n=5, seed=1, prompt="AC", batch_size=2)
    assert one[:3] == generate(model, TOKENIZER, 20, n=3, seed=1, prompt="AC", batch_size=1)
    longer = generate(model, TOKENIZER, 33, n=5, seed=1, prompt="AC", batch_size=3)
    assert [s[:20] for s in longer] == one and {len(s) for s in longer} == {33}
    assert len(set(one)) == 5 and one != generate(model, TOKENIZER, 20, n=5, seed=2, prompt="AC")
    assert set("".join(one)) <= set("ACGT")


def test_global_random_numbers_and_the_models_mode_are_left_alone():
    model = make(dropout=0.5).train()
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    drawn = generate(model, TOKENIZER, 5)
    assert torch.equal(torch.rand(3), expected) and model.training
    assert drawn == generate(model.eval(), TOKENIZER, 5)  # no dropout while writing


def test_special_tokens_and_n_are_never_drawn():
    model = make()
    with torch.no_grad():  # they would be drawn nearly always
        model.head.decoder.weight[[0, 1, 4, 9]] = 0
        model.body.norm.bias.add_(3)
        model.head.decoder.weight[9] = 5
    written = generate(model, TOKENIZER, 200, prompt="A")[0]
    assert len(written) == 200 and set(written) <= set("ACGT")


def test_without_a_prompt_the_first_base_is_drawn_evenly():
    model = make()
    first = generate(model, TOKENIZER, 1, n=4_000, batch_size=4_000)
    counts = np.array([first.count(base) for base in "ACGT"])
    assert ((counts - 1_000) ** 2 / 1_000).sum() < 16.27
    # And the second one depends on it.
    second = generate(model, TOKENIZER, 2, n=1, temperature=0)[0]
    p = next_base(model, [5 + "ACGT".index(second[0])])
    assert second[1] == "ACGT"[p.argmax()]


def test_what_stands_before_the_prompt():
    """The tokenizer's own first token, then the control token, then the prompt; nothing after it."""
    model = make(vocab_size=20)
    plain = NucleotideTokenizer.hyenadna()
    greedy = generate(model, plain, 1, prompt="GAT", temperature=0)[0]
    with torch.no_grad():
        scores = model(input_ids=torch.tensor([[0, 9, 7, 10]])).logits[0, -1, 7:11]  # [CLS] G A T
    assert greedy == "ACGT"[int(scores.argmax())]

    tokenizer = WITH_CONTROLS
    drawn = {c: generate(model, tokenizer, 12, n=8, prompt="GAT", control=c) for c in (None, "ecoli", "fly")}
    assert drawn["ecoli"] != drawn["fly"] != drawn[None]
    with torch.no_grad():
        scores = model(input_ids=torch.tensor([[11, 7]])).logits[0, -1, 5:9]  # [fly] G
    greedy = generate(model, tokenizer, 1, prompt="G", control="fly", temperature=0)[0]
    assert greedy == "ACGT"[int(scores.argmax())]


def test_a_model_of_transformers_writes_too():
    torch.manual_seed(0)
    sizes = dict(vocab_size=10, n_positions=32, n_embd=16, n_layer=2, n_head=2)
    model = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(**sizes, bos_token_id=2, eos_token_id=3)
    ).eval()
    greedy = generate(model, TOKENIZER, 28, n=3, prompt="ACGT", temperature=0, batch_size=2)
    ids = TOKENIZER("ACGT")["input_ids"]
    for base in greedy[0]:
        p = next_base(model, ids)
        assert p["ACGT".index(base)] >= p.max() - 1e-6
        ids.append(5 + "ACGT".index(base))
    assert len(set(greedy)) == 1
    with pytest.raises(ValueError, match=r"at most 32 tokens.*reads 33"):
        generate(model, TOKENIZER, 30, prompt="ACGT")


# ---- What cannot be written ----


@pytest.mark.parametrize(
    "wrong, says",
    [
        (dict(length=0), "length is 0"),
        (dict(length=2.5), "length is 2.5"),
        (dict(n=0), "n is 0"),
        (dict(batch_size=0), "batch_size is 0"),
        (dict(seed=-1), "seed is -1"),
        (dict(temperature=-0.1), "temperature is -0.1"),
        (dict(temperature=float("nan")), "temperature is nan"),
        (dict(temperature=float("inf")), "temperature is inf"),
        (dict(top_k=0), "top_k is 0"),
        (dict(top_k=5), "top_k is 5.*from 1 to 4"),
        (dict(top_p=0.0), "top_p is 0.0"),
        (dict(top_p=1.2), "top_p is 1.2"),
        (dict(control="ecoli"), "no control token 'ecoli'.*it has none"),
        (dict(prompt="ACNA"), None),
    ],
)
def test_settings_out_of_range(wrong, says):
    given = dict(length=3) | wrong
    if says is None:  # N has a token: it may stand in a prompt
        assert len(generate(make(), TOKENIZER, given.pop("length"), **given)[0]) == 3
        return
    with pytest.raises(ValueError, match=says):
        generate(make(), TOKENIZER, given.pop("length"), **given)


def test_bad_prompt_names_the_letter_and_its_position():
    with pytest.raises(SequenceError, match="position 3: found 'J'"):
        generate(make(), TOKENIZER, 3, prompt="ACJT")


def test_unknown_control_lists_the_known_ones():
    with pytest.raises(ValueError, match="'mouse': it has ecoli, fly"):
        generate(make(), WITH_CONTROLS, 3, control="mouse")


def test_models_and_tokenizers_that_cannot_write():
    for kind, causal in ((GenomicForMaskedLM, False), (GenomicModel, True)):
        with pytest.raises(ValueError, match=f"{kind.__name__} does not predict the next base"):
            generate(make(kind=kind, causal=causal), TOKENIZER, 3)
    with pytest.raises(ValueError, match="one token for each base, which KmerTokenizer"):
        generate(make(vocab_size=80), KmerTokenizer(3), 3)


def test_a_broken_model_is_an_error_and_not_dna():
    model = make()
    with torch.no_grad():
        model.body.norm.weight.fill_(float("nan"))
    with pytest.raises(ValueError, match="not finite"):
        generate(model, TOKENIZER, 3, prompt="A")


def test_limits_are_told_before_anything_is_written():
    """The last base is written but not read: prompt + length - 1 tokens have to fit."""
    hyena = make("hyena")
    assert len(generate(hyena, TOKENIZER, 61, prompt="ACGT")[0]) == 61
    with pytest.raises(ValueError, match=r"at most 64 tokens \(max_length of Hyena\).*reads 65"):
        generate(hyena, TOKENIZER, 62, prompt="ACGT")
    learned = make(positions="learned", max_position_embeddings=20, position_offset=2)
    assert len(generate(learned, TOKENIZER, 15, prompt="ACGT")[0]) == 15
    with pytest.raises(ValueError, match=r"at most 18 tokens \(max_position_embeddings\).*reads 19"):
        generate(learned, TOKENIZER, 16, prompt="ACGT")
    # A mixer without positions has no such limit, whatever the configuration's default says.
    assert len(generate(make("convolution", max_position_embeddings=20), TOKENIZER, 40)[0]) == 40


@pytest.mark.parametrize("mixer", ["convolution", "mamba", "sliding_window"])
def test_constant_state(mixer):
    """What is kept after 60 bases is as large as after 30."""
    model, sizes = make(mixer), []
    for length in (30, 60):
        with torch.no_grad():
            state = model(input_ids=torch.randint(5, 9, (1, length)), use_cache=True).past_key_values
        sizes.append(sum(v.numel() for part in state for v in part.values() if isinstance(v, torch.Tensor)))
    assert sizes[0] == sizes[1]
