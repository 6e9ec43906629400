# %% [markdown]
# # 09 · Masked language modelling: how does DNABERT learn?
#
# **The question.** DNABERT, DNABERT-2, Nucleotide Transformer and Caduceus all learn from DNA without labels, in one way: hide some of it, and guess what was there. What exactly is hidden? When does a falling loss mean that something was learned, and when not? And what does a model know of a genome that it has never seen?
#
# **You will be able to**
# - mask tokens by hand, and say what each part of 80/10/10 is for;
# - train a BERT on 6-mers with the classes of `transformers`, and a model of your own with the same `Trainer`;
# - explain why overlapping k-mers give the answer away, and measure how much of it;
# - turn a loss into bits per masked base, name its protocol, and put an honest baseline beside it;
# - test what a masked model knows about genes.
#
# | your time | run time | needs |
# |---|---|---|
# | about 90 minutes | under 90 seconds on 2 cores, under 2 GB | notebooks 01 and 03; cross-entropy |
#
# New words: [glossary](../docs/glossary.md).

# %% tags=["setup", "nbval-ignore-output"]
import math
import tempfile
from importlib.metadata import version

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
import transformers

import gfm_lab
from gfm_lab import KmerTokenizer, NucleotideTokenizer, checks, load_data, plots
from gfm_lab.objectives import MaskedLMCollator, mask_tokens

transformers.logging.disable_progress_bar()  # of reading files
plots.use_style()
torch.set_num_threads(1)
check = checks.start("09_masked_language_modeling")
genome = load_data("ecoli-k12")
train, valid, test = (genome.split(part) for part in ("train", "valid", "test"))
for package in ("gfm-lab", "torch", "transformers"):
    print(f"{package:14s}{version(package)}")

# %% [markdown]
# The genome of *E. coli* is cut into three stretches: we train on the first 85 %, choose on the next 5 %, and state results on the last 10 %. Baselines see the same stretches.
#
# ## The idea: fill in the blanks
#
# We take a stretch of DNA, choose some of its tokens, and hide them. The model reads what is left, *on both sides*, and says for each chosen token what it was. Everything else has no **label** (−100 by convention) and no part in the loss.

# %% tags=["figure"]
stretch = "TTGACATAATCGTATAATGCGC"
chosen = {4: "?", 10: "?", 14: "G", 18: "?", 20: "G"}
figure, axis = plt.subplots(figsize=(11, 3.3))
for y, label in ((2.2, "DNA"), (1.1, "the model sees"), (0.0, "labels")):
    axis.text(-0.4, y + 0.4, label, ha="right", va="center", weight="bold")
    for i, base in enumerate(stretch):
        shown = {2.2: base, 1.1: chosen.get(i, base), 0.0: base if i in chosen else ""}[y]
        color = plots.NUCLEOTIDE_COLORS.get(shown, "#BBBBBB") if shown else plots.FAINT
        framed = plots.INK if y < 2 and i in chosen else "none"
        axis.add_patch(
            plt.Rectangle(
                (i + 0.05, y), 0.9, 0.8, facecolor=color, edgecolor=framed, linewidth=1.6
            )
        )
        axis.text(i + 0.5, y + 0.4, shown, ha="center", va="center", color="white", weight="bold")
for i, kind in ((4, "[MASK]"), (10, "[MASK]"), (14, "another"), (18, "[MASK]"), (20, "the same")):
    axis.text(i + 0.5, -0.35, kind, ha="center", va="center", fontsize=10)
axis.set(xlim=(-4.6, 22.2), ylim=(-0.7, 3.2))
axis.axis("off")
plots.show(
    figure,
    """
    Masked language modelling. Top: 22 bases of DNA. Middle: what the model sees; of five
    chosen bases, framed, three are hidden, one is replaced by another base and one is left as
    it is. Bottom: the labels, the five original bases; the other places have none.
""",
)

# %% [markdown]
# ## By hand
#
# One rule with three random numbers for each token does it all. The first number chooses (below the *rate*, 0.15). The second decides what is shown instead: below 0.8 `[MASK]`, below 0.9 a random token, else the token itself. The third picks the random one, by chance the same.

# %%
tokenizer = NucleotideTokenizer()
ids = tokenizer.encode_array("TATAATGCGCATTACG").astype(int)
uniform = np.random.default_rng(29).random((3, len(ids)))
table = pd.DataFrame({"token": tokenizer.convert_ids_to_tokens(ids.tolist()), "id": ids})
table[["chooses", "shows", "picks"]] = uniform.T.round(2)
table.T

# %% [markdown]
# Read along the row *chooses*: 0.05, 0.13, 0.02 and 0.02 are below 0.15, at places 0, 4, 5 and 8. Under them, 0.84 says "a random token", 0.94 "the same", 0.32 and 0.76 "`[MASK]`". The random token is number int(0.73 × 4) = 2 of A, C, G, T. So the model sees `GATAA[MASK]GC[MASK]CATTACG`. The package's `mask_tokens` applies the rule to the same numbers:

# %%
by_hand = ["G", "A", "T", "A", "A", "[MASK]", "G", "C", "[MASK]", *"CATTACG"]
words = np.array([5, 6, 7, 8])  # A, C, G, T: what may replace a token
shown, labels = mask_tokens(
    ids[None], np.ones((1, len(ids)), bool), uniform[:, None], mask_token_id=4, replacements=words
)
assert tokenizer.convert_ids_to_tokens(shown[0].tolist()) == by_hand
print("shown ", by_hand)
print("labels", labels[0].tolist())

# %% [markdown]
# The loss is the usual cross-entropy, averaged over the labels. Suppose a model knew nothing but that A, C, G and T are equally frequent: each label then costs $-\ln \tfrac14$ = 1.39 **nats** (natural logarithm), or 2 **bits**.

# %%
know_nothing = torch.full((len(ids), 10), -math.inf)
know_nothing[:, 5:9] = math.log(0.25)
costs = [-math.log(0.25) for label in labels[0] if label != -100]
loss = F.cross_entropy(know_nothing, torch.tensor(labels[0]), ignore_index=-100)
assert abs(loss.item() - sum(costs) / len(costs)) < 1e-6
print(f"{loss:.3f} nats = {loss / math.log(2):.3f} bits for each masked base")

# %% [markdown]
# ### Exercise 1 · mask tokens
#
# Write the rule for one sequence: `ids` (L,), `maskable` (L,) with False at special tokens and padding, `uniform` (3, L) as above. Return what the model sees and the labels, both (L,). Another token is `words[int(u * len(words))]` for the third number u.
#
# <details><summary>Hint 1</summary>Begin with a boolean array: <code>chosen = maskable &amp; (uniform[0] &lt; rate)</code>. The labels are <code>ids</code> where it is True, −100 elsewhere.</details>
# <details><summary>Hint 2</summary>Copy <code>ids</code>, then write into the copy twice: where chosen and <code>uniform[1] &lt; 0.8</code>, and where chosen and 0.8 &le; <code>uniform[1] &lt; 0.9</code>. The last tenth needs no line.</details>


# %% tags=["exercise"]
def my_mask(ids, maskable, uniform, mask_id, words, rate=0.15):
    """What the model sees and the labels, by the rule of three numbers a token."""
    # BEGIN SOLUTION
    chosen = maskable & (uniform[0] < rate)
    hidden = chosen & (uniform[1] < 0.8)
    other = chosen & (uniform[1] >= 0.8) & (uniform[1] < 0.9)
    shown = ids.copy()
    shown[hidden] = mask_id
    shown[other] = words[(uniform[2][other] * len(words)).astype(int)]
    return shown, np.where(chosen, ids, -100)
    # END SOLUTION


check.my_mask(my_mask)

# %% [markdown]
# ### Why 15 %, and why 80/10/10
#
# The *rate* is a trade. Each masked token is a lesson, so more of them teach more per pass; each is also taken from the context of the others. 15 % is BERT's choice, and nothing about DNA. Further down we measure what context is worth.
#
# `[MASK]` never occurs in DNA that we will score or embed later. A model trained with `[MASK]` alone never has to say anything about a base that it can see. So a tenth of the chosen tokens is shown as it is, and a tenth is wrong: any visible token might be asked for, and might be a lie. We can say exactly how much a perfect model should trust what it sees, and we will test it.
#
# Both kinds of collator, `transformers`' own and ours, turn a list of examples into such a batch. We count on 200,000 bases.

# %%
from transformers import DataCollatorForLanguageModeling

examples = [{"input_ids": tokenizer.encode_array(valid[:200_000]).tolist()}]
rows = {}
for name, collate in (
    ("transformers", DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15, seed=0)),
    ("gfm_lab", MaskedLMCollator(tokenizer, seed=0)),
):
    batch = collate(examples)
    chosen = batch["labels"] != -100
    shown, labels = batch["input_ids"][chosen], batch["labels"][chosen]
    other = shown[(shown != tokenizer.mask_token_id) & (shown != labels)]
    counts = [chosen.sum(), (shown == tokenizer.mask_token_id).sum(), len(other)]
    counts += [(shown == labels).sum(), ((other < 5) | (other > 8)).sum()]
    rows[name] = [counts[0] / len(batch["labels"][0]), *(n / counts[0] for n in counts[1:])]
columns = ["chosen", "of these [MASK]", "another", "the same", "no base at all"]
pd.DataFrame(rows, index=columns).T.astype(float).map("{:.1%}".format)

# %% [markdown]
# (A random base is the same base once in four times, so "the same" is more than a tenth.) One difference matters. `transformers` draws the other token from the *whole* vocabulary. Of our 10 entries six are special tokens or N: one replacement in ten is `[MASK]` after all, and half are `[CLS]`, `[PAD]` and the like, lies that a model sees through at once. Ours draws from A, C, G and T. (Among DNABERT's 4,101 entries five special ones are no matter.)
#
# ## DNABERT's recipe
#
# Now the lecture's classes, all from `transformers`. Each has one place in our anatomy:
#
# | class | site | what it does |
# |---|---|---|
# | `BertTokenizer` | 1 | looks words up in a table |
# | `BertConfig` | 2, 3 | sizes: vocabulary, width, layers, heads |
# | `BertForMaskedLM` | 2, 3, 4 | embeddings, encoder, and the head that scores all words |
# | `DataCollatorForLanguageModeling` | 5 | masks a batch |
# | `Trainer`, `TrainingArguments` | – | batches, AdamW, learning rate, logs, devices |
#
# `BertTokenizer` splits at blanks and knows nothing of DNA, so that somebody has to write the k-mers out. `KmerTokenizer.dnabert(6)` gives the same ids from the bare sequence. And a trap: by default BERT's tokenizer writes everything in lower case first.

# %%
from transformers import BertTokenizer

six = KmerTokenizer.dnabert(6)
text = " ".join(six.tokenize("ATGACCATGATTACG"))
by_bert = BertTokenizer(vocab=six.get_vocab(), do_lower_case=False)(text)["input_ids"]
assert by_bert == six("ATGACCATGATTACG")["input_ids"]
print(text, "->", by_bert)
print("lower case by default:", BertTokenizer(vocab=six.get_vocab())(text)["input_ids"])

# %% [markdown]
# The second line is `[UNK]`, id 1, for every word, and nothing complains. Print ids before you train.
#
# The rest of the recipe. `fit` is everything `Trainer` needs; we will use it for every model of this notebook.

# %%
from transformers import BertConfig, BertForMaskedLM, Trainer, TrainingArguments
from transformers.trainer_callback import PrinterCallback


def fit(model, collate, examples, steps, batch, learning_rate=3e-3, schedule="cosine"):
    """Train on the processor; the loss every 20 steps, as transformers' Trainer logs it."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder, max_steps=steps, per_device_train_batch_size=batch,
            learning_rate=learning_rate, warmup_steps=20, lr_scheduler_type=schedule,
            logging_steps=20, save_strategy="no", seed=0, use_cpu=True,
            report_to="none", disable_tqdm=True, remove_unused_columns=False,
        )  # fmt: skip
        trainer = Trainer(model, arguments, data_collator=collate, train_dataset=examples)
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return pd.Series({e["step"]: e["loss"] for e in trainer.state.log_history if "loss" in e})


# %%
def random_windows(tokenizer, sequence, tokens, count, seed=0):
    """Random stretches of `sequence`, as examples of `tokens` tokens with [CLS] and [SEP]."""
    size = tokens - 2 + tokenizer.k - 1
    starts = np.random.default_rng(seed).integers(len(sequence) - size, size=count)
    pieces = [sequence[start : start + size] for start in starts]
    return [{"input_ids": tokenizer.encode_array(p, add_special_tokens=True)} for p in pieces]


def small_bert(tokenizer, tokens, spread=0.02):
    """BERT with 2 layers and width 64. (DNABERT: 12 and 768, 512 tokens.)"""
    torch.manual_seed(0)
    sizes = dict(hidden_size=64, num_hidden_layers=2, num_attention_heads=2)
    sizes |= dict(intermediate_size=128, max_position_embeddings=tokens)
    dropout = dict(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    config = BertConfig(vocab_size=len(tokenizer), initializer_range=spread, **sizes, **dropout)
    return BertForMaskedLM(config)


# %% tags=["nbval-ignore-output"]
bert = small_bert(six, tokens=64)
collate = DataCollatorForLanguageModeling(six, mlm_probability=0.15)
log = fit(bert, collate, random_windows(six, train, 64, count=1300), steps=80, batch=16)
print(f"{sum(p.numel() for p in bert.parameters()):,} parameters; loss in nats per masked word:")
print(log.round(2).to_dict())
assert log.iloc[-1] < log.iloc[0] - 0.1

# %% [markdown]
# The loss falls, and the recipe works. From where to where? A model that knows nothing pays ln 4,096 = 8.32 nats for a word. One that knows only how *frequent* each word is pays the entropy of the frequencies.

# %%
counts = np.bincount(six.encode_array(train), minlength=len(six))[5:]
frequency = counts / counts.sum()
usual = -(frequency * np.log(frequency)).sum()
print(f"ln 4096 = {math.log(4096):.2f} nats, word frequencies {usual:.2f} nats")

# %% [markdown]
# In some seconds our small BERT has begun to learn how frequent words are. For a long time that is all that a larger one learns, too. Then the loss falls again, and deep. What is learned *there*?
#
# ## The neighbours give it away
#
# Overlapping 6-mers spell every base six times. If one word is masked, the word before it has its first five letters, and the word after it the last five.

# %%
sequence = "ATGACCATGATTACGGATTCACTGGCCGTCGTTTTACAACGTCGTGACTGGG"
example = {"input_ids": six(sequence)["input_ids"], "index": 0}
only_mask = (1.0, 0.0, 0.0)
batch = MaskedLMCollator(six, replace=only_mask, seed=36)([example])
seen = batch["input_ids"][0].tolist()
print((batch["labels"] != -100).sum().item(), "of", len(seen) - 2, "words are masked:")
print(" ".join(six.convert_ids_to_tokens(seen[1:18])), "...")
print("DNA             ", sequence)
print("decode(the rest)", six.decode(seen, skip_special_tokens=True))

# %% [markdown]
# No model was asked. `decode` just reads what the visible words spell, and nothing is missing. Guessing the masked words by **copying** costs nothing: a base that a visible neighbour spells costs 0 nats, any other ln 4. We count that for any pattern of masks, on words of any length.


# %%
def copying(labels, k):
    """Share of bases that no visible word spells, and the loss of copying in nats per masked word."""
    sliding = np.lib.stride_tricks.sliding_window_view
    chosen = np.asarray(labels) != -100  # (sequences, words)
    visible = np.pad(~chosen, ((0, 0), (k - 1, k - 1)))
    hidden = ~sliding(visible, k, axis=1).any(-1)  # (sequences, bases)
    in_word = sliding(hidden, k, axis=1).sum(-1)  # hidden bases of each word
    return hidden.mean(), math.log(4) * in_word[chosen].mean()


words_of_valid = six.encode_array(valid)
batch = MaskedLMCollator(six)([{"input_ids": words_of_valid}])
hidden, nats = copying(batch["labels"], k=6)
print(
    f"hidden bases {hidden:.3%}; copying {nats:.3f} nats per masked word, frequencies {usual:.2f}"
)

# %% [markdown]
# That is the loss that a 6-mer model falls to when it has found the neighbours: near zero, from 8.2, with **no knowledge of DNA**. It would do as well on random letters. A loss that falls shows that *something* was learned; only a baseline says what.
#
# ## Contiguous masking
#
# To hide a base, all words that spell it have to go. DNABERT draws *centres*, with probability 0.025, and takes a run of six words for each. That hides one base, from everybody. So `DataCollatorForLanguageModeling` alone is not DNABERT's recipe: its authors changed what is masked, and `pattern="contiguous"` is their way.

# %% tags=["figure"]
from gfm_lab.objectives import run_offsets

figure, axes = plt.subplots(1, 2, figsize=(12.5, 4.3))
piece = "ATGACCATGATTAC"
for axis, title, masked in (
    (axes[0], "one word masked", [4]),
    (axes[1], "a run of six", [4 + o for o in run_offsets(6)]),
):
    spelled = {i for w in range(9) if w not in masked for i in range(w, w + 6)}
    bases = "".join(base if i in spelled else "?" for i, base in enumerate(piece))
    plots.sequence_strip(axis, bases, y=0)
    for word in range(9):
        for i in range(6):
            axis.text(
                word + i + 0.5, -0.75 - 0.7 * word, "·" if word in masked else piece[word + i],
                ha="center", va="center", family="monospace", fontsize=11,
            )  # fmt: skip
        color = "#F6C7A6" if word in masked else plots.FAINT
        axis.add_patch(
            plt.Rectangle((word + 0.05, -1.05 - 0.7 * word), 5.9, 0.6, facecolor=color, zorder=0)
        )
    axis.set(title=title, xlim=(-0.2, 14.2), ylim=(-7, 1.1))
    axis.axis("off")
plots.show(
    figure,
    """
    Nine overlapping 6-mers under 14 bases. Left: one word, orange, is masked; its neighbours
    still spell all its bases. Right: a run of six words is masked; the one base that all six
    share is spelled by nobody, a grey question mark; all other bases are still readable.
""",
)

# %% [markdown]
# And then 80/10/10 is drawn, for each word on its own. Do you see what that does to a run?
#
# ### Exercise 2 · predict
#
# Three numbers before we measure them, for overlapping words and DNABERT's 80/10/10 drawn for each word. (i) For k = 6, how many words have to be masked to hide one base? (ii) Of the bases whose words were *all* chosen, which share still stands in at least one word that is shown unchanged? (iii) The same for k = 3. Shares to two decimals.
#
# <details><summary>Hint 1</summary>A chosen word is left unchanged with probability 0.1. The draws are independent.</details>
# <details><summary>Hint 2</summary>The base stays hidden only if none of its k words is left unchanged: with probability 0.9 for each.</details>

# %% tags=["exercise"]
# BEGIN SOLUTION
my_prediction = (6, 0.47, 0.27)
# END SOLUTION
check.prediction(my_prediction)

# %% [markdown]
# We measure it on the 232,082 bases of the validation stretch: of the bases whose six words were all chosen, the share of which some word is unchanged. `together=True` draws 80/10/10 once for each run.


# %%
def readable(batch, k):
    """Of the bases all of whose words were chosen, the share that an unchanged word still spells."""
    sliding = np.lib.stride_tricks.sliding_window_view
    labels, shown = batch["labels"].numpy(), batch["input_ids"].numpy()
    covered = sliding(labels != -100, k, axis=1).all(-1)
    unchanged = sliding((shown == labels) & (labels != -100), k, axis=1).any(-1)
    return covered.mean(), (covered & unchanged).sum() / max(1, covered.sum())


# %%
kinds = {
    "independent": {},
    "contiguous": {"pattern": "contiguous"},
    "contiguous, together": {"pattern": "contiguous", "together": True},
}
rows = {}
for name, options in kinds.items():
    batch = MaskedLMCollator(six, **options)([{"input_ids": words_of_valid}])
    masked = (batch["labels"] != -100).float().mean().item()
    covered, leak = readable(batch, k=6)
    nats = copying(batch["labels"], k=6)[1]
    rows[name] = [f"{masked:.1%}", f"{covered:.2%}", f"{leak:.0%}" if covered > 0.001 else "–"]
    rows[name].append(f"{nats:.2f}")
columns = ["words masked", "bases covered", "of these readable", "copying, nats per word"]
pd.DataFrame(rows, index=columns).T

# %% [markdown]
# Independent masking covers no base at all. Contiguous masking covers 3 % of them, *not* 15 %: six words go for one base. And in the published recipe about half of these can still be read, in the one word of six that was left as it is. Drawn once for each run, it is a tenth.
#
# (The last column is what copying costs when all chosen words are shown as `[MASK]`.)
#
# ### Watch it happen
#
# With 64 words instead of 4,096, the long wait shortens to seconds: 3-mers, windows of 10 words, a wider random start, the same `fit`, the two patterns of masks.

# %% tags=["nbval-ignore-output"]
three = KmerTokenizer.dnabert(3)
examples = random_windows(three, train, 12, count=24_000)
held_out = random_windows(three, valid, 12, count=1000, seed=1)
logs, floors = {}, {}
for pattern in ("independent", "contiguous"):
    model = small_bert(three, tokens=12, spread=0.1)
    collate = MaskedLMCollator(three, pattern=pattern)
    options = {"learning_rate": 4e-3, "schedule": "constant_with_warmup"}
    logs[pattern] = fit(model, collate, examples, steps=300, batch=80, **options)
    floors[pattern] = copying(collate(held_out)["labels"][:, 1:-1], k=3)[1]
    print(f"{pattern:12s}{logs[pattern].iloc[-1]:.2f} nats; copying {floors[pattern]:.2f}")
assert logs["independent"].iloc[-1] < 2 < 3 < logs["contiguous"].iloc[-1]

# %% [markdown]
# The same model, the same data, the same number of steps. For 6-mers seconds are too short, so these runs were made ahead (`benchmarks/masking.py`): the same recipe for 5,000 steps, windows of 30 words.

# %% tags=["nbval-ignore-output"]
import json

from gfm_lab.data import shipped_dir

ahead = json.loads((shipped_dir("results") / "masking.json").read_text(encoding="utf-8"))
print(f"{ahead['steps']:,} steps, seed {ahead['seed']}, validation, nats per masked word:")
columns = ["pattern", "valid_nats_per_word", "valid_copying", "valid_frequencies"]
pd.DataFrame(ahead["runs"])[columns].set_index("pattern").round(2)

# %% tags=["figure", "nbval-ignore-output"]
figure, axes = plt.subplots(1, 2, figsize=(12, 4))
colors = dict(zip(logs, plots.PALETTE))
for pattern, log in logs.items():
    axes[0].plot(log.index, log, color=colors[pattern], label=f"{pattern} masks")
    axes[0].axhline(floors[pattern], color=colors[pattern], linestyle=":")
for run in ahead["runs"]:
    steps, losses = zip(*run["train_nats_per_word"])
    axes[1].plot(steps, losses, color=colors[run["pattern"]])
    axes[1].axhline(run["valid_copying"], color=colors[run["pattern"]], linestyle=":")
axes[1].axhline(usual, color="#888888", linestyle="--")
axes[1].text(ahead["steps"], usual + 0.12, "word frequencies", ha="right", color="#666666")
axes[0].set(title="3-mers, just now", xlabel="step", ylabel="nats per masked word", ylim=(0, 4.6))
axes[1].set(title="6-mers, made ahead", xlabel="step", ylim=(0, 9))
axes[0].legend(loc="center left", bbox_to_anchor=(0, 0.62))
plots.show(
    figure,
    """
    Training loss against steps for 3-mers (left, live) and 6-mers (right, made ahead), under
    independent and contiguous masks. With independent masks the loss, after a plateau at the
    word frequencies, falls steeply towards the loss of copying from neighbours, a dotted line
    near zero. With contiguous masks it stays near the plateau in the same number of steps.
""",
)

# %% [markdown]
# Both panels say the same. Where neighbours can be copied, the loss leaves the word frequencies and heads for the dotted line. Where they cannot, the same model has in the same time learned how frequent words are, and nothing else. That is no fault of contiguous masks: the task is harder because it can no longer be won without knowing DNA. (Why does the orange curve lie below the word frequencies on the right, and its validation loss in the table does not? In training a tenth of the chosen words can be seen. And in short windows copying is not quite free, because few words spell the bases at the ends.)
#
# ## Nats, bits, and what they are counted per
#
# A loss of 1.3 nats from a nucleotide model and one of 8.0 nats from a 6-mer model cannot be compared. The first is per base, the second per word of six bases, of which with overlap most are known. To compare, we count **bits per masked base**: nats divided by ln 2, divided by how many bases of a token are really hidden.
#
# ### Exercise 3 · bits per masked base
#
# From a loss in nats per masked token and the mean number of *hidden* bases in such a token, give bits per masked base. A nucleotide hides 1; a 6-mer of words side by side, 6; a 6-mer in a run of six overlapping ones, 1.
#
# <details><summary>Hint 1</summary>One bit is ln 2 = 0.693 nats, so the number in bits is larger than that in nats.</details>
# <details><summary>Hint 2</summary>Two checks: ln 4 nats for 1 base are 2 bits; ln 4096 nats for 6 bases are 2 bits for each.</details>


# %% tags=["exercise"]
def my_bits(nats_per_token, hidden_bases):
    """Bits per masked base."""
    # BEGIN SOLUTION
    return nats_per_token / math.log(2) / hidden_bases
    # END SOLUTION


check.my_bits(my_bits)

# %% [markdown]
# Two bits is the ceiling of ignorance. There are two **protocols**, and their numbers must never stand in one column, nor beside the bits of a next-token model:
#
# - **(a) single**: one base is hidden, all others are visible;
# - **(b) joint**: 15 % are hidden together, and some neighbours are missing.
#
# The baselines are counted words. A *Markov model* of order 8 knows how often each base follows each eight; by Bayes' rule the same counts give the probability of a hidden base given all that is visible, exactly. The *two-sided back-off* counts what stands between k bases on the left and k on the right. How far rare words lean on shorter ones is chosen on the validation stretch, for each protocol.

# %%
from gfm_lab.baselines import MarkovModel, TwoSidedBackoff
from gfm_lab.evaluation import bits_per_masked_base, difference, masked_mask, score_baseline

hidden = masked_mask(len(valid), rate=0.15)
markov = MarkovModel(order=8).fit(train, valid, protocol="joint", masked=hidden)
p = markov.masked_probabilities("ATGACCATGATTACGG")  # (16, 4), each base hidden alone
print("A C G T given the rest, bases 7 to 10 of ATGACCATGATTACGG:")
print(p[6:10].round(2))

# %% [markdown]
# ## Ours, beside it
#
# One nucleotide a token: a masked base is hidden, and no neighbour spells it. The body is `GenomicForMaskedLM` with attention and rotary positions. Its embedding adds to each base the k-mers that *end just before it* and *begin just after it* (`kmer_flanks`), so that words are there to be read and the masked base is not. Collator and `Trainer` as before; every second window is the other strand.

# %% tags=["nbval-ignore-output"]
from gfm_lab import GenomicConfig, GenomicForMaskedLM, reverse_complement

torch.manual_seed(0)
sizes = dict(vocab_size=len(tokenizer), hidden_size=64, num_hidden_layers=2)
sizes |= dict(intermediate_size=128, mixer="attention", mixer_options={"heads": 4})
config = GenomicConfig(**sizes, positions="rotary", kmer_sum=6, kmer_flanks=True)
ours = GenomicForMaskedLM(config)
starts = np.random.default_rng(0).integers(len(train) - 128, size=3200)
pieces = [train[start : start + 128] for start in starts]
pieces[1::2] = [reverse_complement(piece) for piece in pieces[1::2]]
examples = [{"input_ids": tokenizer.encode_array(piece)} for piece in pieces]
log = fit(ours, MaskedLMCollator(tokenizer), examples, steps=100, batch=32) / math.log(2)
print("bits per masked base, as trained:", log.round(2).to_dict())
assert log.iloc[-1] < 2.0

# %% tags=["nbval-ignore-output"]
stretch = valid[:40_000]
score = bits_per_masked_base(ours, tokenizer, stretch, protocol="joint", window=128)
counted = {order: MarkovModel(order).fit(train) for order in (0, 2)} | {8: markov}
rows = {"ours, seconds of training": score}
rows |= {
    f"Markov order {order}": score_baseline(baseline, stretch, like=score)
    for order, baseline in counted.items()
}
assert rows["Markov order 8"].value < score.value < 2.0
columns = ["bits", "from", "to", "accuracy"]
table = {name: [s.value, s.low, s.high, s.accuracy] for name, s in rows.items()}
pd.DataFrame(table, index=columns).T.round(3)

# %% [markdown]
# Protocol (b), 40,000 bases of the validation stretch, 95 % intervals from resampled windows. Seconds of training put us between letters and words: ahead of base frequencies, about level with counted words of three letters, well behind those of nine. That is a teaching scale, and the honest thing to say of it.
#
# Look at the log again. Its last losses are *below* the score of the table, although it is the same model. Which number is right?
#
# ### Exercise 4 · two bugs to find
#
# One reason is that in training a fifth of the chosen bases can be seen: 80/10/10 is for training, and in an evaluation every chosen base is hidden. The function below hides them, and is still wrong, twice. It tells the author of our small model of far fewer "bits per masked base" than the table above has.


# %%
def broken(logits, ids, chosen):
    """logits (B, L, V) of a model that saw [MASK] where chosen; ids (B, L) the DNA."""
    loss = F.cross_entropy(logits.flatten(0, 1), ids.flatten())
    return (loss * math.log(2)).item()


# %%
def logits_of(model, ids, chosen):
    """What the model says of ids (B, L) when the chosen places are hidden."""
    hidden = ids.masked_fill(chosen, tokenizer.mask_token_id)
    with torch.inference_mode():
        return torch.cat([model.eval()(input_ids=part).logits for part in hidden.split(32)])


# %% tags=["nbval-ignore-output"]
ids = torch.tensor(tokenizer.encode_array(valid[: 128 * 64])).long().view(64, 128)
chosen = torch.rand(ids.shape, generator=torch.Generator().manual_seed(0)) < 0.15
logits = logits_of(ours, ids, chosen)
read = logits.argmax(-1)[~chosen] == ids[~chosen]
print(f"broken: {broken(logits, ids, chosen):.2f} bits")
print(f"visible bases that it reads back right: {read.float().mean():.0%}")
assert broken(logits, ids, chosen) < 1.2

# %% [markdown]
# Write it without the two bugs: bits per masked base, over the chosen places alone.
#
# <details><summary>Hint 1</summary>A visible base is easier to guess than a hidden one, and 85 % of the bases are visible. Over which places does this average go?</details>
# <details><summary>Hint 2</summary>Index both with the boolean array: <code>logits[chosen]</code> is (n, V). And is a number in bits larger or smaller than the same in nats?</details>


# %% tags=["exercise"]
def my_repaired(logits, ids, chosen):
    """Bits per masked base of logits (B, L, V) for the DNA ids (B, L), hidden where chosen."""
    # BEGIN SOLUTION
    loss = F.cross_entropy(logits[chosen], ids[chosen])
    return (loss / math.log(2)).item()
    # END SOLUTION


check.my_repaired(my_repaired)

# %% [markdown]
# ## The shipped model, on DNA that nobody has shown it
#
# `ecoli-attention-mlm` is the same kind of model, larger, and trained for many times longer; its card tells how. All that follows is on the *test* stretch, which was in nobody's training, and no setting of the model was chosen on it. (The questions that we ask further down were settled with the test stretch in view.)

# %%
model, tokenizer = gfm_lab.load_model("ecoli-attention-mlm")
c = model.config
print(f"{c.num_hidden_layers} layers of width {c.hidden_size}, mixer {c.mixer}, {c.positions}")
print(f"{sum(p.numel() for p in model.parameters()):,} parameters")

# %% [markdown]
# We score twenty pieces of 2,000 bases, evenly spread over the test stretch and joined by N, so that no context reaches across. Both baselines see the same hidden bases. The interval of the *difference* is the one to read: it compares piece by piece.

# %% tags=["nbval-ignore-output"]
pieces = [test[start : start + 2000] for start in range(0, len(test) - 2000, 24_000)]
sample = "N".join(pieces)
alone = MarkovModel(order=8).fit(train, valid, protocol="single")
two_sided = TwoSidedBackoff(5).fit(train, valid)
scores = {}
for name, counted, options in (
    ("(a) single", alone, {"sample": 600}),
    ("(b) joint", markov, {"rate": 0.15}),
):
    mine = bits_per_masked_base(model, tokenizer, sample, name[4:], window=128, **options)
    scores[name, "this model"] = mine
    for baseline, by in (("Markov order 8", counted), ("two-sided back-off", two_sided)):
        scores[name, baseline] = score_baseline(by, sample, like=mine)

# %% tags=["nbval-ignore-output"]
rows = {}
for (protocol, name), score in scores.items():
    gap = difference(scores[protocol, "this model"], score)
    text = f"{gap.value:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]" if name != "this model" else ""
    interval = f"[{score.low:.3f}, {score.high:.3f}]"
    rows[protocol, name] = [round(score.value, 3), interval, f"{score.accuracy:.0%}", text]
columns = ["bits per masked base", "95 %", "accuracy", "model minus baseline"]
for name in ("Markov order 8", "two-sided back-off"):
    assert difference(scores["(b) joint", "this model"], scores["(b) joint", name]).high < 0
pd.DataFrame(rows, index=columns).T

# %% [markdown]
# Chance is 2 bits and 25 %. All numbers lie close to 2: much of a genome cannot be guessed from its surroundings. What counts is the distance *below the baseline*. Protocol (a) is scored on 600 bases only, since each needs a window of its own; the model's card gives both for the whole test stretch, beside words of up to 13 letters.
#
# One question to ask of any genome: is the test stretch really unseen? Repeats (rRNA operons, insertion elements) stand in several places, and some of those were read in training.

# %%
from gfm_lab.splits import shared_kmer_mask

for name, text in (("whole test stretch", test), ("our pieces", sample)):
    share = shared_kmer_mask(text, train, k=31).mean()
    print(f"{name:19s}{share:.1%} of the bases lie in 31-mers of the training stretch")

# %% [markdown]
# Our pieces happen to miss them. On a whole region report the bits with and without such bases, as the card does: repeats flatter whoever can remember longer words.
#
# ### What context is worth
#
# Back to the 15 %. We score the same 5 % of the bases three times, with more and more of the others hidden as well.

# %% tags=["nbval-ignore-output"]
first, curves = None, {"this model": [], "Markov order 8": []}
for rate in (0.05, 0.15, 0.3):  # a base hidden at one rate is hidden at all higher ones
    options = {"rate": rate, "window": 128, "margin": 16}
    mine = bits_per_masked_base(model, tokenizer, sample[:14_000], "joint", **options)
    first = mine.positions if first is None else first
    same = np.isin(mine.positions, first)
    curves["this model"].append(mine.bits[same].mean())
    curves["Markov order 8"].append(
        score_baseline(markov, sample[:14_000], like=mine).bits[same].mean()
    )
assert curves["this model"][0] < curves["this model"][-1]
pd.DataFrame(curves, index=["5 % hidden", "15 %", "30 %"]).round(3)

# %% [markdown]
# The guess gets worse as context goes, for counted words as well. 30 % give six times as many lessons per pass as 5 %, each of them poorer. (The model was trained at 15 % alone, the other rates are new to it.)
#
# ### Mask it yourself
#
# The columns are the guesses for all bases that are really hidden, by this model and by counted words. **Try:** choose overlapping 6-mers and look at *really hidden* under independent masks, then under contiguous ones. Back at nucleotides, raise *Mask share* to a half: what becomes of the columns?

# %% tags=["nbval-ignore-output"]
from gfm_lab import explorers

playground = explorers.masking(model, tokenizer, markov)
playground

# %% tags=["figure", "nbval-ignore-output"]
playground.static()

# %% [markdown]
# Except at the ends, where few words spell a base, independent masks on 6-mers hide nothing. A contiguous run covers one base, and one of its six words, shown as it is, may still tell it; tick *Drawn once a run*, and that becomes rare. With half of the nucleotides hidden many have no visible neighbour, and the columns come nearer to a quarter for each letter. (No model of 6-mers ships with the course: in that view too this model of bases guesses.)
#
# ### Do we trust what we see?
#
# Now the promise of 80/10/10. Suppose a base x is visible and we are asked what it is. Let p be the probability of x from its context alone. It was left as it is, or replaced by chance with x: together $0.1p + 0.025p$. Or it is a lie, $0.025(1-p)$. So a perfect model answers x with probability $\dfrac{5p}{4p+1}$, and never just copies.

# %%
from gfm_lab.baselines import codes_of


def probabilities(windows, hidden):
    """P(A), P(C), P(G), P(T) at each base of N windows of L bases, (N, L, 4); hidden (N, L) bool."""
    ids = np.stack([tokenizer.encode_array(window) for window in windows]).astype(np.int64)
    ids[hidden] = tokenizer.mask_token_id
    with torch.inference_mode():
        parts = torch.from_numpy(ids).split(64)
        scores = torch.cat([model(input_ids=part).logits for part in parts])
    return scores[..., 5:9].softmax(-1).numpy()


def of_truth(p, windows):
    """The probability that p (N, L, 4) gives to the base that stands there, (N, L)."""
    codes = codes_of("".join(windows)).reshape(len(windows), -1).astype(int)
    return np.take_along_axis(p, codes[..., None], axis=-1)[..., 0]


# %% tags=["nbval-ignore-output"]
starts = np.random.default_rng(1).integers(len(test) - 128, size=250)
views = [test[start : start + 128] for start in starts]
middle = np.zeros((250, 128), bool)
middle[:, 64] = True
from_context = of_truth(probabilities(views, middle), views)[:, 64]
visible = of_truth(probabilities(views, np.zeros_like(middle)), views)[:, 64]
predicted = 5 * from_context / (4 * from_context + 1)
print(f"mean trust in a visible base {visible.mean():.2f}, by the formula {predicted.mean():.2f}")
assert abs(visible.mean() - predicted.mean()) < 0.08

# %% tags=["figure", "nbval-ignore-output"]
figure, axis = plt.subplots(figsize=(6.2, 4.2))
axis.scatter(from_context, visible, s=14, color=plots.PALETTE[0], alpha=0.6, linewidth=0)
grid = np.linspace(0, 1, 100)
axis.plot(grid, 5 * grid / (4 * grid + 1), color=plots.PALETTE[1], label="5p / (4p + 1)")
axis.plot([0, 1], [1, 1], color="#888888", linestyle="--", label="copying")
axis.set(xlabel="p of the true base when hidden", ylabel="the same when visible", ylim=(0, 1.05))
axis.legend(loc="lower right")
plots.show(
    figure,
    """
    The model's probability of the true base when it is visible, against its probability when
    it is hidden, for 250 test bases. The points follow the curve 5p over 4p plus 1, far
    below 1: an unlikely base is trusted less, as 80/10/10 teaches.
""",
)

# %% [markdown]
# The points follow the curve: the model learned how often it is lied to. This is why the scores at *visible* bases are no probabilities of DNA, and why every evaluation here hides what it asks for.
#
# ## What does it know?
#
# A mean over a genome says that something was learned, not what. We ask about starts, codons, promoters and the reading frame, on genes of the test stretch, and the Markov model gets every question too. It sees eight bases to each side; whatever goes beyond it is more than counted words.


# %%
def by_markov(windows, hidden):
    """The same from counted words; an N between the windows keeps them apart."""
    length = len(windows[0])
    flat = np.pad(hidden, ((0, 0), (0, 1))).ravel()[:-1]
    p = markov.masked_probabilities("N".join(windows), flat)
    return np.vstack([p, np.full((1, 4), np.nan)]).reshape(-1, length + 1, 4)[:, :-1]


ask = {"this model": probabilities, "Markov order 8": by_markov}

# %%
genes = genome.genes.query("split == 'test' and biotype == 'CDS' and stop - start >= 300")
low, high = genome.splits["test"][0] + 200, len(genome) - 200
genes = [g for g in genes.itertuples() if low < g.start and g.stop < high]


def around_start(gene, before, after):
    """Bases from `before` ahead of the first codon to `after` behind it, as the gene is read."""
    if gene.strand == "+":
        return genome.region(gene.start - before, gene.start + after)
    return reverse_complement(genome.region(gene.stop - after, gene.stop + before))


firsts = pd.Series([around_start(gene, 0, 3) for gene in genes]).value_counts()
print(f"{len(genes)} genes; first codons: {firsts.head(4).to_dict()}")

# %% [markdown]
# ### Where genes begin
#
# For 150 of them we hide every sixth base, in six passes, so that each base is guessed once with all its neighbours visible.

# %% tags=["nbval-ignore-output"]
before, after = 48, 60
chosen = np.random.default_rng(0).permutation(len(genes))[:150]
views = [around_start(genes[i], before, after) for i in chosen]
position = np.arange(-before, after)
profile = {name: np.empty((len(views), len(position))) for name in ask}
for shift in range(6):
    hidden = np.tile(np.arange(len(position)) % 6 == shift, (len(views), 1))
    for name, answer in ask.items():
        profile[name][hidden] = -np.log2(of_truth(answer(views, hidden), views)[hidden])

# %% tags=["figure", "nbval-ignore-output"]
figure, axis = plt.subplots(figsize=(11, 4))
for name, color in zip(profile, (plots.PALETTE[0], "#888888")):
    axis.plot(position, profile[name].mean(0), color=color, label=name, marker=".", linewidth=1)
axis.axvspan(-0.5, 2.5, color="#F6DDA8", zorder=0)
axis.axvspan(-13.5, -5.5, color=plots.FAINT, zorder=0)
axis.text(3.5, 2.6, "start codon", fontsize=10)
axis.text(-14, 2.6, "ribosome site", ha="right", fontsize=10)
axis.set(
    xlabel="base, from the first of the gene", ylabel="bits per masked base", ylim=(1.4, 2.75)
)
axis.legend(loc="lower right", ncols=2)
plots.show(
    figure,
    """
    Mean bits per masked base around the starts of 150 test genes, for the model and the Markov
    model. The region of the ribosome binding site costs both more than 2 bits in places; inside
    the gene both fluctuate with the codon. Neighbouring positions differ by chance by about 0.06.
""",
)

# %% [markdown]
# Look at the ribosome binding site (Shine and Dalgarno's, near −9): both models find it *harder* than elsewhere, above 2 bits in places. Is its word, `AGGAG` or a piece of it, a rare one?

# %%
both_strands = genome.sequence + "N" + reverse_complement(genome.sequence)
share = both_strands.count("AGGAG") / (len(both_strands) / 4**5)
print(f"AGGAG has {share:.2f} of the share of an average word of five letters")

# %% [markdown]
# Rare in the rest of the genome, it is what neither model quite expects. So bits alone do not say what was learned. A gap to the baseline does, and from here on we put the gap itself on an axis, with intervals over genes.
#
# ### Codons, starts, boxes
#
# Codons first: 126 bases out of the middle of each of 150 genes, in the reading frame, 15 % hidden at random, three times.

# %% tags=["nbval-ignore-output"]
bodies = []
for i in chosen:
    size = genes[i].stop - genes[i].start
    bodies.append(around_start(genes[i], 0, size)[size // 6 * 3 :][:126])
codons = {name: np.full((len(bodies), 126), np.nan) for name in ask}
for seed in range(3):
    hidden = np.random.default_rng(seed).random((len(bodies), 126)) < 0.15
    for name, answer in ask.items():
        codons[name][hidden] = -np.log2(of_truth(answer(bodies, hidden), bodies)[hidden])
asked = {
    f"codon position {k + 1}": {name: np.nanmean(codons[name][:, k::3], axis=1) for name in ask}
    for k in range(3)
}

# %% [markdown]
# For the start codon we hide all three bases of an `ATG`: at the first codon, and inside genes, in the reading frame and out of it.


# %%
def bits_at(windows, places):
    """Bits of the truth at `places`, hidden together, the mean of each window: for every model."""
    hidden = np.zeros((len(windows), len(windows[0])), bool)
    hidden[:, places] = True
    answers = {name: of_truth(answer(windows, hidden), windows) for name, answer in ask.items()}
    return {name: -np.log2(p[:, places]).mean(1) for name, p in answers.items()}


def inside(word, frame, count=150, before=48, length=96):
    """Windows around the first `word` of each gene, 60 bases in or more, whose letter 1 has this codon position."""
    found = []
    for gene in genes:
        text = around_start(gene, 0, gene.stop - gene.start)
        places = range(60 + frame, len(text) - length, 3)
        at = next((i for i in places if text[i : i + len(word)] == word), None)
        found += [text[at - before : at - before + length]] if at else []
    return found[:count]


# %% tags=["nbval-ignore-output"]
starts = [around_start(gene, 48, 48) for gene in genes if around_start(gene, 0, 3) == "ATG"]
asked["ATG, first codon"] = bits_at(starts[:150], [48, 49, 50])
asked["ATG inside, in frame"] = bits_at(inside("ATG", 0), [48, 49, 50])
asked["ATG inside, out of frame"] = bits_at(inside("ATG", 1), [48, 49, 50])

# %% [markdown]
# And the −10 box. RNA polymerase finds a promoter by two words, `TTGACA` and, 16 to 18 bases on, `TATAAT`. Our table has no transcription starts, so we look for the pair itself (up to 2 letters of the first and 1 of the second may differ) and hide the six bases of the second. There are two controls: the same pair inside genes, where most are chance, and the second word between genes without the first.


# %%
def boxes(strand, is_gene):
    """Windows around words like TATAAT on one strand, by (inside a gene?, a word like TTGACA ahead?)."""
    codes, found = codes_of(strand), {}
    size = len(codes) - 5
    like = {
        word: sum(codes[i : size + i] == "ACGT".index(base) for i, base in enumerate(word))
        for word in ("TTGACA", "TATAAT")
    }
    for at in np.flatnonzero(like["TATAAT"] >= 5):
        here = is_gene[max(0, at - 40) : at + 10]
        if 64 <= at < size - 64 and (here.all() or not here.any()):
            pair = max(like["TTGACA"][at - 6 - gap] for gap in (16, 17, 18)) >= 4
            found.setdefault((bool(here.all()), pair), []).append(strand[at - 64 : at + 64])
    return found


# %% tags=["nbval-ignore-output"]
is_gene = np.zeros(len(genome), bool)
for gene in genome.genes.itertuples():
    is_gene[gene.start : gene.stop] = True
is_gene = is_gene[slice(*genome.splits["test"])]
both = [boxes(test, is_gene), boxes(reverse_complement(test), is_gene[::-1])]
print(f"genes cover {is_gene.mean():.0%}; found")
for name, key in (
    ("pair between genes", (False, True)),
    ("pair inside genes", (True, True)),
    ("TATAAT alone between genes", (False, False)),
):
    found = [window for strand in both for window in strand[key]]
    print(f"  {name:28s}{len(found)}")
    picked = np.random.default_rng(0).permutation(len(found))[:100]
    asked[f"−10 box, {name}"] = bits_at([found[i] for i in picked], [*range(64, 70)])

# %% tags=["nbval-ignore-output"]
from gfm_lab.evaluation import bootstrap

rows = {}
for question, bits in asked.items():
    gain = bits["Markov order 8"] - bits["this model"]
    means = [bits[name].mean() for name in ask]
    rows[question] = [*means, gain.mean(), *bootstrap(gain), len(gain)]
columns = [*ask, "gain", "from", "to", "places"]
table = pd.DataFrame(rows, index=columns).T
table.round(2)

# %% tags=["figure", "nbval-ignore-output"]
figure, axis = plt.subplots(figsize=(9, 3.8))
rows = np.arange(len(table))[::-1]
ends = [table["gain"] - table["from"], table["to"] - table["gain"]]
axis.errorbar(table["gain"], rows, xerr=ends, fmt="o", color=plots.PALETTE[0], capsize=3)
axis.axvline(0, color=plots.INK, linewidth=1)
axis.set_yticks(rows, table.index)
axis.set(xlabel="bits per masked base that the model is ahead of the Markov model")
plots.show(
    figure,
    """
    For each question, the bits that the model is ahead of the Markov model, with 95 %
    intervals over genes. Right of zero the model knows more than counted words of nine
    letters; an interval that crosses zero shows no difference.
""",
)

# %% [markdown]
# Read it with the controls. *Codons*: ahead at all three positions. *Start codons*: a gain, but in bits the `ATG` that begins a gene is still the hardest of the three, and the largest gain is at those out of frame, which begin nothing. That is no evidence of knowing starts; a few thousand among four million bases are little to learn from, and the ribosome site above says the same. *The −10 box between genes*: the largest gain of all, and one would love to stop here. But the same word **without its partner** is guessed just as well. What the model has noticed is that it stands between genes, where DNA is rich in A and T. That is knowledge too, but no promoter. The control cost one line.
#
# ### Does it know the frame?
#
# A last question that no word of nine letters can answer. The bases `TA` are followed by a base we hide. If it is A or G, then `TAA` or `TAG` would end the protein, *if these three are a codon*. We ask at `TAC` and `TAT` in the reading frame and in the two others.

# %% tags=["nbval-ignore-output"]
rows = {}
for frame, name in enumerate(("in frame", "frame 2", "frame 3")):
    windows_ = [*inside("TAC", frame, 100), *inside("TAT", frame, 100)]
    hidden = np.zeros((len(windows_), 96), bool)
    hidden[:, 50] = True
    rows[name] = {}
    for who, answer in ask.items():
        stop = answer(windows_, hidden)[:, 50][:, [0, 2]].sum(1)
        rows[name][who] = f"{stop.mean():.2f} [{{:.2f}}, {{:.2f}}]".format(*bootstrap(stop))
pd.DataFrame(rows).T

# %% [markdown]
# In the frame, the model gives a stop much less probability than counted words do; out of it, the two differ little. Nobody told it about codons. To know the frame at a base you have to read the gene around it, and the only teacher was the hidden bases.
#
# ### Exercise 5 · an interpretation
#
# A paper compares two models of the same bacteria: "our 6-mer BERT (overlapping words, stride 1, 15 % of the words masked independently) predicts 95 % of masked tokens correctly, the nucleotide model only 42 %. 6-mers capture the grammar of DNA." What do you write as a reviewer? Three or four sentences, then compare with the rubric.
#
# <details><summary>Hint 1</summary>Which tokens around a masked one spell it, in each of the two models?</details>
# <details><summary>Hint 2</summary>What would a method without any model score on the first task? Which number would be fair to both?</details>

# %% tags=["exercise"]
# BEGIN SOLUTION
my_review = """
The two accuracies are of different tasks: with independent masks and overlapping words the
visible neighbours spell the masked 6-mer, so copying them, without any model, is right nearly
always, and this baseline is missing. A masked nucleotide is spelled by nobody. Please hide whole
runs of words, with 80/10/10 drawn once for a run, and give bits per hidden base on held-out DNA
for both models, the same bases hidden, beside a Markov model and with intervals.
"""
# END SOLUTION
check.interpretation(my_review)

# %% [markdown]
# ## Take-aways
#
# - Masked modelling chooses 15 % of the tokens, shows most as `[MASK]`, some wrong, some as they are, and asks for all of them. Labels stand only there.
# - Overlapping k-mers spell every base k times. With independent masks a loss near zero means copying; contiguous masks hide a base, and 80/10/10 drawn for each word shows about half of those again.
# - A loss needs its unit and its baseline: nats per token are not bits per base, training loss is not an evaluation, and 2 bits is the ceiling.
# - Two protocols, (a) single and (b) joint: the Markov model under the same one, on the same bases, with an interval of the difference.
# - Knowledge is a gap to counted words that survives its control: here the reading frame, and not yet start codons or promoters.
#
# ## Quiz

# %%
check.questions("quiz")

# %% tags=["exercise"]
# BEGIN SOLUTION
quiz_answers = "dabab"
# END SOLUTION
check.quiz(quiz_answers)

# %% [markdown]
# ## Where we are

# %%
plots.show(
    plots.anatomy(5),
    """
    The five sites of a genomic model, from tokenizer to objective. This notebook's site,
    number 5, the objective, is filled in; masked is one of its two options.
""",
)

# %% [markdown]
# ## Further reading
#
# - Devlin and colleagues (2019), *BERT*: masked language modelling, 15 %, 80/10/10. [doi:10.18653/v1/N19-1423](https://doi.org/10.18653/v1/N19-1423)
# - Ji and colleagues (2021), *DNABERT*: overlapping k-mers, contiguous masks. [doi:10.1093/bioinformatics/btab083](https://doi.org/10.1093/bioinformatics/btab083)
# - Zhou and colleagues (2024), *DNABERT-2*: why its authors left overlapping k-mers. [doi:10.48550/arXiv.2306.15006](https://doi.org/10.48550/arXiv.2306.15006)
# - Wettig and colleagues (2023), *Should you mask 15 % in masked language modeling?* [doi:10.18653/v1/2023.eacl-main.217](https://doi.org/10.18653/v1/2023.eacl-main.217)
# - Benegas and colleagues (2023), *GPN*: masked bases of a plant genome, and variant effects. [doi:10.1073/pnas.2311219120](https://doi.org/10.1073/pnas.2311219120)
# - Shine and Dalgarno (1974), on the ribosome binding site. [doi:10.1073/pnas.71.4.1342](https://doi.org/10.1073/pnas.71.4.1342)
#
# Next: notebook 10 reads from left to right only, and writes DNA of its own.
