# %% [markdown]
# # 10 · Autoregressive modelling: how does HyenaDNA write DNA?
#
# **The question.** GPT, HyenaDNA and Evo all learn one thing: given the DNA so far, which base comes next? Whoever can answer that can also *write*: draw a base, append it, ask again. How is such a model trained without ever seeing the answer? Is it better than counting words? And is what it writes DNA?
#
# **You will be able to**
# - explain the causal mask and teacher forcing, and shift labels by one, exactly once;
# - turn a loss into bits per base and perplexity, beside the best Markov model;
# - train a model in under a minute that beats that Markov model on held-out DNA;
# - sample with temperature and top-k, and say what each does;
# - judge generated DNA: each statistic beside real DNA and beside Markov DNA;
# - say what a model has to remember while it writes.
#
# | your time | run time | needs |
# |---|---|---|
# | about 80 minutes | under 90 seconds on 2 cores, under 2 GB | notebooks 03 and 04; cross-entropy |
#
# New words: [glossary](../docs/glossary.md).

# %% tags=["setup", "nbval-ignore-output"]
import math
import tempfile
import time
from importlib.metadata import version

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
import transformers

import gfm_lab
from gfm_lab import NucleotideTokenizer, checks, load_data, plots

transformers.logging.disable_progress_bar()  # of reading files
transformers.logging.set_verbosity_error()
plots.use_style()
torch.set_num_threads(1)
check = checks.start("10_autoregressive_modeling")
genome = load_data("ecoli-k12")
train, valid, test = (genome.split(part) for part in ("train", "valid", "test"))
for package in ("gfm-lab", "torch", "transformers"):
    print(f"{package:14s}{version(package)}")

# %% [markdown]
# The stretches of *E. coli* are those of notebook 09: we train on the first 85 %, choose on the next 5 %, and state results on the last 10 %, read on the forward strand.
#
# ## The idea: guess the next base
#
# Cut the text anywhere: what stands on the left is the question, the next base is the answer. A stretch of L bases holds L − 1 such questions, and nobody had to label anything. The **causal mask** makes one pass answer all of them: each position may look left, never right.

# %% tags=["figure"]
stretch = "ATGACCATG"
figure, (left, right) = plt.subplots(1, 2, figsize=(12, 3.9), width_ratios=[1.5, 1])
for y, label in ((2.0, "the model reads"), (0.0, "it has to say")):
    left.text(-0.4, y + 0.4, label, ha="right", va="center", weight="bold")
for i, base in enumerate(stretch):
    for y, letter in ((2.0, base), (0.0, stretch[i + 1 : i + 2])):
        color = plots.NUCLEOTIDE_COLORS.get(letter, plots.FAINT)
        left.add_patch(plt.Rectangle((i + 0.05, y), 0.9, 0.8, facecolor=color))
        left.text(
            i + 0.5, y + 0.4, letter, ha="center", va="center", color="white", weight="bold"
        )
    if i + 1 < len(stretch):
        left.annotate(
            "",
            (i + 0.5, 0.85),
            (i + 0.5, 1.95),
            arrowprops={"arrowstyle": "->", "color": plots.INK},
        )
        left.plot([i + 0.62, i + 1.4], [0.95, 1.9], color="#BBBBBB", linestyle=":", linewidth=1)
left.set(xlim=(-4.4, 9.2), ylim=(-0.3, 3.1), title="the answer is the text, one step on")
left.axis("off")
sees = np.tril(np.ones((9, 9)))
right.imshow(sees, cmap="Blues", vmin=0, vmax=1.6)
right.set_xticks(range(9), stretch)
right.set_yticks(range(9), stretch)
right.set(xlabel="may look at", ylabel="position", title="the causal mask")
right.grid(False)
plots.show(
    figure,
    """
    Left: nine bases that the model reads; below each one the base it has to say, which is the
    next base of the text. The last position has no answer. Right: the causal mask, a triangle:
    each position may look at itself and at positions before it.
""",
)

# %% [markdown]
# ## By hand
#
# The smallest language model is a table of 16 numbers: how often does each base follow each other one?

# %%
from gfm_lab.baselines import codes_of
from gfm_lab.composition import kmer_counts

pairs = kmer_counts(train, 2).reshape(4, 4)
follows = pairs / pairs.sum(axis=1, keepdims=True)
pd.DataFrame(follows, index=[*"ACGT"], columns=[*"ACGT"]).round(3)

# %% [markdown]
# Rows: the base that stands there; columns: the next one. `TA` and `AG` are rarer than chance, as in most bacteria. With this table every base of a text has a probability, and a cost in **bits**, $-\log_2 p$: 2 bits where nothing is known, fewer where the next base was likely.

# %%
word = "ATGACCATG"
codes = codes_of(word).astype(int)
costs = []
for t in range(len(word) - 1):
    p = follows[codes[t], codes[t + 1]]
    costs.append(-math.log2(p))
    print(f"{word[: t + 1]:8s} -> {word[t + 1]}   p = {p:.3f}   {costs[-1]:.2f} bits")
print(f"mean {np.mean(costs):.3f} bits per base, perplexity {2 ** np.mean(costs):.2f}")

# %% [markdown]
# By the chain rule the probability of a whole text is the product of these, so bits add up. **Perplexity** is $2^{\text{bits}}$: the number of equally likely bases that the model wavers between. It starts at 4.
#
# Look at the left column. In every line the model is given the *true* text so far, whatever it would have said itself. That is **teacher forcing**. It is what makes training parallel: no line has to wait for another.
#
# Now the same with tensors, as every model does it. The scores at position t are for the base at t + 1. So we drop the last position's scores (there is no answer) and the first base (nothing predicts it):

# %%
ids = torch.tensor(codes)[None]  # (1, L)
logits = torch.tensor(np.log(follows))[ids]  # (1, L, 4): position t scores base t + 1
nats = F.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
assert abs(nats.item() / math.log(2) - np.mean(costs)) < 1e-6
print(f"{nats:.4f} nats = {nats / math.log(2):.4f} bits per base")

# %% [markdown]
# ### Exercise 1 · bits and perplexity
#
# Write it for a batch. `logits` (B, L, V) and `ids` (B, L) come from any causal model; where `mask` (B, L) is False there is padding, on the right, whose tokens are not to be scored. Return bits per base and perplexity, two numbers.
#
# <details><summary>Hint 1</summary><code>logits[:, :-1]</code> belongs to <code>ids[:, 1:]</code>, and so does <code>mask[:, 1:]</code>.</details>
# <details><summary>Hint 2</summary>Index logits and labels with the boolean mask, take one cross-entropy over what is left, and divide by ln 2.</details>


# %% tags=["exercise"]
def my_bits(logits, ids, mask):
    """(bits per base, perplexity) of the real bases of a batch."""
    # BEGIN SOLUTION
    real = mask[:, 1:]
    nats = F.cross_entropy(logits[:, :-1][real], ids[:, 1:][real])
    bits = nats.item() / math.log(2)
    return bits, 2**bits
    # END SOLUTION


check.my_bits(my_bits)

# %% [markdown]
# ### The shift, once
#
# Models of `transformers`, and ours, shift inside: you pass `labels=input_ids`, unshifted. We check it on a small untrained model.

# %%
from gfm_lab import GenomicConfig, GenomicForCausalLM

tokenizer = NucleotideTokenizer()
torch.manual_seed(0)
sizes = dict(vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, positions="none")
tiny = GenomicForCausalLM(
    GenomicConfig(**sizes, max_position_embeddings=None, causal=True)
).eval()
ids = torch.tensor(tokenizer(train[:64])["input_ids"])[None]
out = tiny(input_ids=ids, labels=ids)
by_hand = F.cross_entropy(out.logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
assert torch.allclose(out.loss, by_hand)
print(f"loss of the model {out.loss:.4f}, by hand {by_hand:.4f} nats")

# %% [markdown]
# And is it causal? We change one base and see which scores move. This is the test to run on every new model: one that peeks to the right has a wonderful loss and has learned to copy.

# %%
other = ids.clone()
other[0, 40] = 5 + (ids[0, 40] - 4) % 4  # another base
moved = (tiny(input_ids=other).logits - out.logits)[0].abs().amax(-1) > 1e-6
print("base 40 changed; scores that moved: from position", int(moved.nonzero()[0]), "on")
assert not moved[:40].any() and moved[40]

# %% [markdown]
# ### Exercise 2 · predict
#
# Three numbers before we go on. (i) A causal model over *overlapping* 6-mers (stride 1) has understood only that neighbours overlap, and nothing about DNA. Its loss, in nats per token? (ii) The same for words side by side (stride 6), where it knows nothing at all? (iii) The perplexity per base at 1.93 bits? Two decimals.
#
# <details><summary>Hint 1</summary>The next overlapping word begins with the last five letters of this one. How many words are left?</details>
# <details><summary>Hint 2</summary>Not knowing which of n equally likely words comes next costs ln n nats.</details>

# %% tags=["exercise"]
# BEGIN SOLUTION
my_prediction = (1.39, 8.32, 3.81)
# END SOLUTION
check.prediction(my_prediction)

# %% [markdown]
# So a loss means nothing without its unit. Overlapping words give nothing away here, other than under masks (notebook 09): of the next word only one base is new. But they need thousands of scores for a choice among four.
#
# ## What there is to beat
#
# Counting longer words. An order-k Markov model has read, for every k bases, what followed them; rare words lean on shorter ones (back-off), by as much as the *validation* stretch likes. We count on the forward strand alone, and on both.

# %%
from gfm_lab import MarkovModel

counted, rows = {}, {}
for order in (1, 3, 6, 8, 10):
    counted[order] = MarkovModel(order).fit(train, valid)
    rows[f"order {order}"] = [counted[order].bits_per_base(part) for part in (valid, test)]
forward = MarkovModel(6).fit(train, valid, both_strands=False)
rows["order 6, forward strand alone"] = [forward.bits_per_base(part) for part in (valid, test)]
best = min(counted, key=lambda order: rows[f"order {order}"][0])
print(f"order {best} is best on the validation stretch; bits per base:")
pd.DataFrame(rows, index=["valid", "test"]).T.round(4)

# %% [markdown]
# Two strands are twice the data, and help. **Order 6 stands at 1.933: that is the mark to pass.** Longer words are rare, and only by leaning on shorter ones does counting make a little of them. From 2 bits all this looks like nothing. But a bacterial genome is nearly incompressible, and such numbers live between 1.8 and 2.
#
# ## GPT's way
#
# As in the lecture, with the classes of `transformers` alone: `AutoTokenizer` and `AutoModelForCausalLM`. We have no pretrained weights to download, so `from_config` in place of `from_pretrained`. The rest is the same.

# %%
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config

with tempfile.TemporaryDirectory() as folder:
    tokenizer.save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
torch.manual_seed(0)
sizes = dict(n_embd=64, n_layer=2, n_head=2, n_positions=128, bos_token_id=2, eos_token_id=3)
gpt = AutoModelForCausalLM.from_config(GPT2Config(vocab_size=len(tokenizer), **sizes))
print(type(tokenizer).__name__, type(gpt).__name__, f"{gpt.num_parameters():,} parameters")

# %% [markdown]
# `DataCollatorForLanguageModeling(mlm=False)` makes the labels: a copy of the ids, −100 at padding. **It does not shift, the model does.**

# %%
from transformers import DataCollatorForLanguageModeling, Trainer, TrainingArguments
from transformers.trainer_callback import PrinterCallback


def random_windows(size, count, seed=0):
    """Random stretches of the training DNA as examples for the Trainer."""
    starts = np.random.default_rng(seed).integers(len(train) - size, size=count)
    return [{"input_ids": tokenizer.encode_array(train[s : s + size])} for s in starts]


collate = DataCollatorForLanguageModeling(tokenizer, mlm=False)
batch = collate(random_windows(12, 2))
assert torch.equal(batch["labels"], batch["input_ids"])
print(batch["labels"][0].tolist())

# %% tags=["nbval-ignore-output"]
with tempfile.TemporaryDirectory() as folder:
    arguments = TrainingArguments(
        folder, max_steps=80, per_device_train_batch_size=16, learning_rate=3e-3,
        warmup_steps=10, lr_scheduler_type="cosine", logging_steps=20, seed=0, use_cpu=True,
        save_strategy="no", report_to="none", disable_tqdm=True,
    )  # fmt: skip
    trainer = Trainer(
        gpt, arguments, data_collator=collate, train_dataset=random_windows(128, 1280)
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
log = [e["loss"] / math.log(2) for e in trainer.state.log_history if "loss" in e]
print("bits per base, every 20 steps:", np.round(log, 3))
assert log[-1] < 2.05

# %% [markdown]
# The recipe works, and in these seconds the loss falls to just below 2 bits and stays there: a small GPT has learned little more than which letters are frequent. To find words of six letters with attention takes it much longer. What would help it is known from notebook 02: show it the words.
#
# ## HyenaDNA's way
#
# HyenaDNA (Nguyen and colleagues, 2023) has the same objective, and chose otherwise at the other sites: one token a nucleotide, no table of positions, and in place of attention **long implicit convolutions** with gates (notebook 04), whose cost hardly grows faster than the sequence. So it could train on a million bases at once.

# %%
from gfm_lab import diff, preset

print(diff("gpt-dna", "hyenadna-tiny-1k"))

# %% [markdown]
# ### Exercise 3 · spot it
#
# A lecture slide lists HyenaDNA under *Transformer decoders*, next to GPT. Which half of that is right? Look at the parts of both models below, then fill in the four fields with True or False.
#
# <details><summary>Hint 1</summary>A decoder-only model is one body with a causal direction that predicts the next token. A Transformer (Vaswani and colleagues, 2017) is built on attention.</details>
# <details><summary>Hint 2</summary>Attention weighs pairs of positions by what stands there, and while it writes keeps keys and values of all of them. Does the second list have a part that does that?</details>

# %%

for name in ("gpt-dna", "hyenadna-tiny-1k"):
    with torch.device("meta"):  # no memory: we only look at the parts
        parts = GenomicForCausalLM(preset(name))
    mixer = parts.body.layers[0].mixer
    inside = [f"{n}: {type(part).__name__}" for n, part in mixer.named_children()]
    print(
        f"{name}: causal={parts.config.causal}, mixer {type(mixer).__name__} ({', '.join(inside)})"
    )

# %% tags=["exercise"]
# BEGIN SOLUTION
my_filing = {
    "decoder-only": True,
    "Transformer": False,
    "predicts the next token": True,
    "keeps keys and values while it writes": False,
}
# END SOLUTION
check.filing(my_filing)

# %% [markdown]
# It is an easy slip to make: papers call both "decoder-only", the block has the same outline (norm, mixer, add; norm, feed-forward, add), and only the mixer differs. The objective is what they share, and this notebook is about the objective.
#
# ## A live run
#
# Now one that wins in seconds. It is HyenaDNA's idea in a small size: nucleotides, no attention, gated causal convolutions, here short ones with growing gaps (notebook 04), so that 512 bases are in reach. And the embedding shows the words: `kmer_sum=6` adds to each base the 1-mer ... 6-mer that *ends* there, so a causal model may see it.

# %%
from gfm_lab.mixers import receptive_field

layers = dict(kernel=7, dilation=[1, 4, 16, 64])
config = GenomicConfig(
    vocab_size=len(tokenizer), hidden_size=128, num_hidden_layers=4, kmer_sum=6, causal=True,
    mixer="convolution", mixer_options=layers, ffn="none", norm="rms",
    positions="none", max_position_embeddings=None,
)  # fmt: skip
torch.manual_seed(0)
ours = GenomicForCausalLM(config)
print(f"{ours.num_parameters():,} parameters; {receptive_field(**layers)} bases in reach")

# %% [markdown]
# The loop is the one of notebook p2, written out: random windows, every second one from the other strand, AdamW with a high learning rate that rises and falls. On processors that are fast in 16 bits the sums are done in 16 bits. (Width, learning rate and windows were tried out on the validation stretch alone; we did not search for the best.)

# %%
from gfm_lab.device import autocast

everything = torch.from_numpy(tokenizer.encode_array(train)).long()
complement = torch.from_numpy(tokenizer.complement_ids)
generator = torch.Generator().manual_seed(0)


def draw(rows=16, size=256):
    """A batch of random windows (rows, size), the second half of them read on the other strand."""
    starts = torch.randint(len(everything) - size, (rows, 1), generator=generator)
    windows = everything[starts + torch.arange(size)]
    windows[rows // 2 :] = complement[windows[rows // 2 :].flip(1)]
    return windows


# %% tags=["nbval-ignore-output"]
steps, peak, losses = 150, 3e-3, []
optimizer = torch.optim.AdamW(ours.parameters(), betas=(0.9, 0.95), weight_decay=0.01)
start = time.perf_counter()
for step in range(steps):
    rise, fall = min(1, (step + 1) / 10), (1 + math.cos(math.pi * step / steps)) / 2
    optimizer.param_groups[0]["lr"] = peak * rise * max(0.01, fall)
    ids = draw()
    with autocast():
        loss = ours(input_ids=ids, labels=ids).loss
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(ours.parameters(), 1.0)
    optimizer.step()
    losses.append(loss.item() / math.log(2))
seconds, read = time.perf_counter() - start, steps * ids.numel()
print(f"{seconds:.0f} s for {read:,} bases; last 20 steps: {np.mean(losses[-20:]):.3f} bits")

# %% [markdown]
# ### The race
#
# Training loss is no result. We score twenty pieces of 5,000 bases, evenly spread over the *test* stretch and joined by N, which nobody reads across; Markov models on the very same bases. Each base is scored once, by `bits_per_base`: windows of 512 that overlap by half, so that a base has at least 256 before it. The number to read is the paired difference with its interval.

# %% tags=["nbval-ignore-output"]
from gfm_lab.evaluation import bits_per_base, difference, score_baseline

pieces = [test[start : start + 5000] for start in range(0, len(test) - 5000, 23_000)][:20]
sample = "N".join(pieces)
scores = {"ours": bits_per_base(ours.eval(), tokenizer, sample, window=512)}
scores["GPT, just now"] = bits_per_base(gpt, tokenizer, sample, window=128)
for order in dict.fromkeys((1, 6, best)):
    scores[f"Markov, order {order}"] = score_baseline(counted[order], sample, like=scores["ours"])


# %%
def race(scores, first="ours"):
    """Bits, perplexity and the paired difference from `first`, with 95 % intervals."""
    rows = {}
    for name, score in scores.items():
        same = np.array_equal(score.positions, scores[first].positions) and name != first
        gap = difference(scores[first], score) if same else None
        text = f"{gap.value:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}]" if gap else ""
        rows[name] = [f"{score.value:.4f}", f"{score.perplexity:.3f}", text]
    columns = ["bits per base", "perplexity", f"{first} minus this"]
    return pd.DataFrame(rows, index=columns).T


# %% tags=["nbval-ignore-output"]
assert difference(scores["ours"], scores["Markov, order 6"]).high < 0
race(scores)

# %% [markdown]
# Below zero, interval and all: less than a sixth of one pass over the genome beats what counting words of seven letters gets out of *all* of it, on both strands. (In the run shown, order 10 as well.) The convolutions begin to add what no short word has: the reading frame, and the composition of the neighbourhood.
#
# One seed, one small model, one genome. The interval is over windows of the DNA; it says how far the result depends on which windows are tested, and nothing about another training run.
#
# One question to ask of any genome: is the test stretch really unseen?

# %%
from gfm_lab.splits import shared_kmer_mask

share = shared_kmer_mask(sample, train, k=31).mean()
print(f"{share:.1%} of our test bases lie in 31-mers that the training stretch has too")

# %% [markdown]
# Repeats would help a model that can remember; a Markov model of order 6 cannot. A few bases are no matter for our small model, which has had no time to memorise.
#
# ### Two kinds of bits
#
# Notebook 09 had a model at about 1.8 bits per masked base. Is it better than this one? **The two numbers must not be compared.** A masked base is guessed from both sides, an autoregressive one from the left alone. The first is an easier question: the Markov model's own masked bits are lower than its causal bits, and it has learned nothing in between.

# %%
both_sides = counted[6].masked_bits(test[:20_000]).mean()  # one base hidden at a time
left_only = counted[6].bits_per_base(test[:20_000])
print("the same Markov model of order 6, the same 20,000 bases:")
print(f"from the left {left_only:.3f} bits, from both sides {both_sides:.3f} bits")

# %% [markdown]
# Autoregressive bits have one property that masked bits lack: they add up to $-\log_2$ of the probability of the whole text. An autoregressive model is a *distribution over DNA*, and from a distribution one can draw.
#
# ### Exercise 4 · a bug to find
#
# A colleague writes her own loss for a small model and "shifts the labels, as one should". Training runs, the loss falls a little below 2 bits, and stops there. What does her model learn to predict? Her code, and what it costs a model that is trained right:


# %%
def broken(model, ids):
    """Mean nats per base of a batch ids (B, L)."""
    return model(input_ids=ids[:, :-1], labels=ids[:, 1:]).loss


# %% tags=["nbval-ignore-output"]
ids = draw(rows=32)
with torch.inference_mode():
    right = ours(input_ids=ids, labels=ids).loss / math.log(2)
    wrong = broken(ours, ids) / math.log(2)
print(f"unshifted labels {right:.3f} bits, her labels {wrong:.3f} bits")
assert wrong > right + 0.1

# %% [markdown]
# Write it without the bug. `mask` (B, L) is False at padding, which has no label.
#
# <details><summary>Hint 1</summary>Who shifts? Count the shifts between input and label in her version.</details>
# <details><summary>Hint 2</summary>Pass the ids themselves as labels, with −100 wherever the mask is False: <code>ids.masked_fill(~mask, -100)</code>.</details>


# %% tags=["exercise"]
def my_loss(model, ids, mask):
    """Mean nats per base: each real base from those before it."""
    # BEGIN SOLUTION
    labels = ids.masked_fill(~mask, -100)
    return model(input_ids=ids, attention_mask=mask.long(), labels=labels).loss
    # END SOLUTION


check.my_loss(my_loss)

# %% [markdown]
# ## Writing
#
# Ask for the next base, draw one, append it, ask again. Between scores and draw stand three settings. **Temperature** T divides the scores: $p_i \propto e^{s_i/T}$. At 1 we draw from the model's own distribution; below, likely bases become likelier; at 0 the likeliest is taken always, which is called *greedy*. **Top-k** keeps the k likeliest choices, **top-p** the fewest that sum to p.

# %% tags=["nbval-ignore-output"]
from gfm_lab.generation import generate, sampling_probabilities

with torch.inference_mode():
    seen = torch.tensor(tokenizer(test[1000:1200])["input_ids"])[None]
    scores_of_next = ours(input_ids=seen).logits[0, -1, 5:9].numpy()
settings = {"T = 1": {}, "T = 0.5": {"temperature": 0.5}, "T = 2": {"temperature": 2.0}}
settings |= {"T = 0": {"temperature": 0}, "top-k 2": {"top_k": 2}, "top-p 0.6": {"top_p": 0.6}}
rows = {name: sampling_probabilities(scores_of_next, **s) for name, s in settings.items()}
pd.DataFrame(rows, index=[*"ACGT"]).T.round(3)

# %% [markdown]
# ### Exercise 5 · sampling
#
# Write it for one row of scores: temperature above 0, and top-k. Return probabilities in the order of the scores.
#
# <details><summary>Hint 1</summary>Divide by the temperature, subtract the largest score (so that nothing overflows), exponentiate, divide by the sum.</details>
# <details><summary>Hint 2</summary>The k-th largest score is <code>np.sort(scores)[-top_k]</code>. Set what is below it to probability 0 <em>before</em> dividing by the sum.</details>


# %% tags=["exercise"]
def my_probabilities(scores, temperature=1.0, top_k=None):
    """Scores (V,) -> the probabilities that the next base is drawn with, (V,)."""
    # BEGIN SOLUTION
    scaled = np.asarray(scores, dtype=float) / temperature
    p = np.exp(scaled - scaled.max())
    if top_k is not None:
        p[scaled < np.sort(scaled)[-top_k]] = 0
    return p / p.sum()
    # END SOLUTION


check.my_probabilities(my_probabilities)

# %% [markdown]
# The package's `generate` does this base by base, many sequences at a time, and only ever draws A, C, G or T. The same seed gives the same DNA. We begin with the first bases of a gene.

# %% tags=["nbval-ignore-output"]
for temperature in (0, 0.5, 1.0, 2.0):
    text = generate(ours, tokenizer, 240, prompt="ATGAAACGCATT", temperature=temperature)[0]
    bits = counted[6].bits_per_base(text)
    print(f"T = {temperature:<4} {text[:64]} ...  {bits:.2f} bits under Markov 6")

# %% [markdown]
# Greedy DNA soon runs in circles of a few words. The bits under a Markov model rise with the temperature; for real DNA they are 1.93. Cool DNA keeps to likely words, hot DNA is near noise. (240 bases are few, so that these bits vary by some hundredths.) For text people like T below 1, which drops blunders. A genome is not made of its likeliest words: to resemble it one draws at T = 1, and then the model is judged, not the knob.
#
# ### Turn the knobs
#
# The shipped model `ecoli-conv-ar`, trained for longer than ours, writes 40 bases at every move. **Try:** *Temperature* 0: what repeats, and how long is it? Then 1 with *Top-k* 2, and some *Seeds*. Which setting writes DNA with as many bits as real stretches have?

# %% tags=["nbval-ignore-output"]
from gfm_lab import explorers

knobs = explorers.sampling(*gfm_lab.load_model("ecoli-conv-ar"), markov=counted[6])
knobs

# %% tags=["figure", "nbval-ignore-output"]
knobs.static(temperature=0.5)

# %% [markdown]
# At 0 it writes `GCCAGC` again and again. Taking unlikely bases away takes the bits down: with top-k 2 most seeds fall below nine in ten real stretches. At 1, with all four bases, most are among them.
#
# ## Is it DNA?
#
# We write sixteen sequences of 2,000 bases with our model, and with the checkpoint that ships with the course, trained for longer by the same recipe.

# %% tags=["nbval-ignore-output"]
shipped = [
    name
    for name in gfm_lab.checkpoint_names()
    if name.startswith("ecoli-") and name.endswith("-ar")
]
writers = {"ours, seconds of training": (ours, tokenizer)}
if shipped:
    name = "ecoli-conv-ar" if "ecoli-conv-ar" in shipped else shipped[0]
    writers[name] = gfm_lab.load_model(name)
start, written = time.perf_counter(), {}
for name, (model, its_tokenizer) in writers.items():
    written[name] = generate(model, its_tokenizer, 2000, n=16, seed=1)
total = sum(len(text) for texts in written.values() for text in texts)
print(
    f"{', '.join(writers)}: {total:,} bases, {total / (time.perf_counter() - start):,.0f} a second"
)

# %% [markdown]
# No statistic means anything alone. Two real pieces of DNA differ too, and short ones differ more. And what can counting words alone write? So each row of the next table has as many sequences of the same length: sixteen real pieces of the test stretch, ours, and sixteen that Markov models wrote. All distances are from the *rest* of the test stretch, so the row "real" says how far apart two parts of one genome are.

# %% tags=["nbval-ignore-output"]
from gfm_lab.evaluation import compare_dna

markov = {"Markov, order 6": counted[6], f"Markov, order {best}": counted[best]}
table = compare_dna(written, test, train, markov, resamples=200)
shown = table.round(1).where(table.abs() > 3, table.round(3)).astype(str)
text = shown["value"] + " [" + shown["low"] + ", " + shown["high"] + "]"
value = table["value"]
assert value["period 3 (mbit)", "real"] > 5 * value["period 3 (mbit)", "Markov, order 6"]
text.unstack("statistic")[[*dict.fromkeys(i[0] for i in text.index)]].T

# %% [markdown]
# Read it line by line, each against *real* and *Markov*.
#
# - **G + C, words of six, dinucleotides.** Everybody stands about where real DNA does, Markov DNA too: it was made from words. And the real pieces differ among each other most, for a genome is not the same everywhere. Passing these tests shows little.
# - **Period 3.** What a base tells of one 12 to 30 bases on is larger at multiples of 3, because genes are read in threes. A Markov model of order 6 forgets after six bases: it has none of it. Seconds of training have begun to see it; the shipped model is level with real DNA.
# - **Codons and open reading frames.** In random DNA a stop comes after some twenty codons. Real DNA is full of long frames, with codons of its own taste. The shipped model writes such frames; Markov DNA, and our model of seconds, do not.
# - **The longest match with the training DNA** of sequences of this length is about as long in Markov DNA, where it is chance. A model that copied would show hundreds. (In real DNA repeats do.)

# %%
from gfm_lab.composition import expected_match, mutual_information

print(
    f"longest match by chance, rule of thumb: {expected_match(2000, len(train), 1.93):.0f} bases"
)

# %% tags=["figure", "nbval-ignore-output"]
from gfm_lab.composition import markov_dna

lags = range(1, 31)
shown = {"real, test stretch": [test[:300_000]]}
shown |= {"Markov, order 6": markov_dna(counted[6], 2000, 16)} | written
figure, axes = plt.subplots(1, 2, figsize=(13, 4))
for (name, texts), color in zip(shown.items(), [plots.INK, "#999999", *plots.PALETTE]):
    axes[0].plot(
        lags, 1000 * mutual_information(texts, lags), marker=".", color=color, label=name
    )
axes[0].set(yscale="log", ylim=(0.05, 60))
axes[0].set(
    xlabel="bases apart", ylabel="mutual information, mbit", title="how far a base reaches"
)
axes[0].legend(fontsize=9)
orfs = value["in ORFs of 300 bases and more (%)"]
ends = table.loc["in ORFs of 300 bases and more (%)"]
rows = np.arange(len(orfs))[::-1]
axes[1].errorbar(
    orfs,
    rows,
    xerr=[orfs - ends["low"], ends["high"] - orfs],
    fmt="o",
    color=plots.PALETTE[0],
    capsize=3,
)
axes[1].set_yticks(rows, orfs.index)
axes[1].set(xlabel="% of bases in open reading frames of 300 and more", xlim=(0, 100))
plots.show(
    figure,
    """
    Left: mutual information of two bases against their distance, logarithmic. Real DNA keeps a
    sawtooth with period 3 out to 30 bases; DNA of the Markov model falls to the noise of chance
    after seven; DNA of the trained models keeps some of the sawtooth. Right: share of bases in
    long open reading frames, with intervals: high in real DNA, low in Markov DNA, the trained
    models in between.
""",
)

# %% [markdown]
# In bits the rows differ by a few hundredths. In what is written, those hundredths are a reading frame that is kept. (Sixteen sequences, one seed each: the intervals are over sequences, not over training runs.)
#
# ### Exercise 6 · an interpretation
#
# A press release: "Our model writes bacterial DNA. Its G + C content, 6-mers and codon usage cannot be told from those of *E. coli*, and the sequences are new: none was copied from the training genome. We have generated functional genes." What do you write to the author? Three or four sentences, then compare with the rubric.
#
# <details><summary>Hint 1</summary>Which of these would DNA of a Markov model pass as well?</details>
# <details><summary>Hint 2</summary>What would have to be measured to say "functional", and where?</details>

# %% tags=["exercise"]
# BEGIN SOLUTION
my_letter = """
G + C and 6-mers are met by a Markov model that counts words, so they need that baseline, and the
distance between two real pieces of the same length, beside them. Codon usage in long open frames
is a better test, but frames and codons are composition too: they say nothing of what a protein
would do. Not copied is worth something only next to the longest match that chance gives. Function
has to be measured, by expressing the sequences in cells beside controls such as shuffled codons;
until then these are sequences with the statistics of genes.
"""
# END SOLUTION
check.interpretation(my_letter)

# %% [markdown]
# ## On demand: one species or another
#
# A **control token** in front of the text says what kind of DNA follows. In training it stands before every window, as its label; while writing we choose it. `species-mamba-ar` has learned ten species in this way. If control works, DNA written as species x lies nearest to real DNA of species x, more often than the one in ten of chance.

# %% tags=["nbval-ignore-output"]
from gfm_lab.composition import spectrum_distance
from gfm_lab.training import SPECIES

if "species-mamba-ar" in gfm_lab.checkpoint_names():
    model, its_tokenizer = gfm_lab.load_model("species-mamba-ar")
    panel = load_data("species-panel").split("test").frame
    real = {
        control: panel.loc[panel["species"] == name, "sequence"]
        for name, control in SPECIES.items()
    }
    mine = {c: generate(model, its_tokenizer, 200, n=20, control=c) for c in real}
    distance = pd.DataFrame(
        {c: {r: spectrum_distance(mine[c], real[r], 3) for r in real} for c in mine}
    )
    nearest = distance.idxmin()
    print(
        f"nearest to the real DNA of its own species: {(nearest == nearest.index).sum()} of {len(nearest)}"
    )
else:
    print("species-mamba-ar is not among the checkpoints of this installation: nothing to show")

# %% [markdown]
# ## A state that grows, or does not
#
# To write base t + 1 a model needs what it made of the t before. What does it have to keep?
#
# - **Attention** keeps keys and values of every base: the *KV cache*. It grows with the text, and so does the work for each base.
# - A **convolution** keeps the last values in its reach, **Mamba** one state: constants.
# - **Hyena**'s filter is as long as the text. It keeps everything and computes everything again, for each base.
#
# We measure it: bytes of the state after reading L bases, for four models of two layers and width 64.

# %%
mixers = {
    "attention": {"heads": 4},
    "hyena": {"max_length": 4096},
    "convolution": {"kernel": 7, "dilation": 16},
    "mamba": {},
}


def state_after(model, length):
    """The state after reading `length` bases."""
    ids = torch.full((1, length), 5)
    with torch.inference_mode():
        return model(input_ids=ids, use_cache=True).past_key_values


# %% tags=["nbval-ignore-output"]
lengths = [256, 512, 1024, 2048, 4096]
size, step_time = {}, {}
for mixer, options in mixers.items():
    sizes = dict(
        vocab_size=10, hidden_size=64, num_hidden_layers=2, positions="none", causal=True
    )
    config = GenomicConfig(
        **sizes, max_position_embeddings=None, mixer=mixer, mixer_options=options
    )
    model = GenomicForCausalLM(config).eval()
    for length in lengths:
        state, times = state_after(model, length - 5), []
        for _ in range(5):
            start = time.process_time()
            with torch.inference_mode():
                model(input_ids=torch.tensor([[6]]), past_key_values=state, use_cache=True)
            times.append(1000 * (time.process_time() - start))
        kept = [v for part in state for v in part.values() if isinstance(v, torch.Tensor)]
        size[length, mixer] = sum(v.numel() * v.element_size() for v in kept)
        step_time[length, mixer] = min(times)
size, step_time = pd.Series(size).unstack(), pd.Series(step_time).unstack()
assert size.loc[4096, "attention"] == 16 * size.loc[256, "attention"]
for mixer in ("convolution", "mamba"):
    assert size.loc[4096, mixer] == size.loc[256, mixer]

# %% tags=["figure", "nbval-ignore-output"]
figure, axes = plt.subplots(1, 2, figsize=(12, 4))
for axis, frame, label in (
    (axes[0], size / 1024, "state, KiB"),
    (axes[1], step_time, "one more base, ms of processor time"),
):
    for mixer, color in zip(mixers, plots.PALETTE):
        axis.plot(frame.index, frame[mixer], marker="o", color=color, label=mixer)
    axis.set(xscale="log", yscale="log", xlabel="bases read", ylabel=label)
    axis.set_xticks(lengths, [f"{n:,}" for n in lengths])
    axis.minorticks_off()
axes[0].legend()
plots.show(
    figure,
    """
    Left: bytes of the state against bases read, both logarithmic. Attention's and Hyena's grow
    in proportion to the text; the convolution's and Mamba's are flat. Right: time for one more
    base on this machine: Hyena's grows with the text, those of convolution and Mamba stay.
""",
)

# %% [markdown]
# In proportion that is the whole story of long generation. For a genome of four million bases, the two layers of this small attention would keep more than four gigabytes, while Mamba's state stays at some twenty kilobytes. That is no free lunch either: what does not fit into the state is forgotten (notebook 05).
#
# ## Take-aways
#
# - An autoregressive model gives every next base a probability. Teacher forcing and a causal mask let one pass answer all positions. Labels are the ids; the shift happens once, inside the model.
# - Bits per base, perplexity $2^{\text{bits}}$, and the Markov model beside them, on the same held-out bases, with the interval of the difference. Never next to masked bits.
# - HyenaDNA is decoder-only and no Transformer: the objective is GPT's, the mixer is not.
# - Temperature 1 draws from the model itself. Greedy DNA repeats itself.
# - Generated DNA is judged beside real *and* Markov DNA. Words are easy; the reading frame is not; function is for the laboratory to say.
# - While writing, attention keeps everything, Mamba and convolutions a constant, and Hyena computes everything again.
#
# ## Quiz

# %%
check.questions("quiz")

# %% tags=["exercise"]
# BEGIN SOLUTION
quiz_answers = "bccaca"
# END SOLUTION
check.quiz(quiz_answers)

# %% [markdown]
# ## Where we are

# %%
plots.show(
    plots.anatomy(5),
    """
    The five sites of a genomic model, from tokenizer to objective. This notebook's site,
    number 5, the objective, is filled in; next token is the second of its two options.
""",
)

# %% [markdown]
# ## Further reading
#
# - Shannon (1951), on guessing the next letter, and bits. [doi:10.1002/j.1538-7305.1951.tb01366.x](https://doi.org/10.1002/j.1538-7305.1951.tb01366.x)
# - Nguyen and colleagues (2023), *HyenaDNA*. [doi:10.48550/arXiv.2306.15794](https://doi.org/10.48550/arXiv.2306.15794)
# - Vaswani and colleagues (2017), the Transformer and its causal mask. [doi:10.48550/arXiv.1706.03762](https://doi.org/10.48550/arXiv.1706.03762)
# - Holtzman and colleagues (2019), why greedy text repeats itself; top-p. [doi:10.48550/arXiv.1904.09751](https://doi.org/10.48550/arXiv.1904.09751)
# - Keskar and colleagues (2019), control tokens. [doi:10.48550/arXiv.1909.05858](https://doi.org/10.48550/arXiv.1909.05858)
# - Grosse and colleagues (2000), mutual information and the period of coding DNA. [doi:10.1103/PhysRevE.61.5624](https://doi.org/10.1103/PhysRevE.61.5624)
# - Nguyen and colleagues (2024), *Evo*: generation at the scale of genomes, with tests in the laboratory. [doi:10.1126/science.ado9336](https://doi.org/10.1126/science.ado9336)
#
# Next: notebook 11 takes a trained model to a question of its own.
