# %% [markdown]
# # 06 · Both strands: DNA has no reading direction. Must the model know?
#
# **The question.** A text file holds one strand of DNA, written from left to right. The molecule has two, and each is read from its own end. What does a model say when it is given the same piece of DNA from the other side? And if it says something else: train it on both, ask it twice, or build it so that it cannot differ?
#
# **You will be able to**
# - turn letters, token ids and a model's answers into those of the other strand, and say what "equivariant" means;
# - measure how far any model is from giving one answer for both strands;
# - build the three remedies: augmentation, averaging after training, shared weights;
# - explain Caduceus in ten lines, and get its authors' numbers;
# - judge what equivariance buys at equal cost, and when it is wrong.
#
# | your time | run time | needs |
# |---|---|---|
# | about 70 minutes | under 60 seconds on 2 cores, under 2 GB | notebooks 01, 04 and 05; masked modelling (09) helps |
#
# New words: [glossary](../docs/glossary.md).

# %% tags=["setup", "nbval-ignore-output"]
import json
from importlib.metadata import version

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

import gfm_lab
from gfm_lab import NucleotideTokenizer, checks, load_data, plots, reverse_complement

plots.use_style()
torch.set_num_threads(1)
check = checks.start("06_both_strands")
genome = load_data("ecoli-k12")
train, test = genome.split("train"), genome.split("test")
for package in ("gfm-lab", "torch", "numpy"):
    print(f"{package:9s}{version(package)}")

# %% [markdown]
# ## The idea: one molecule, two texts
#
# A pairs with T and C with G, so one strand determines the other. Both are read from their 5′ to their 3′ end, and these ends lie opposite. The other strand's text is therefore the **reverse complement**: letters exchanged *and* read backwards.

# %% tags=["figure"]
gene = genome.genes.query("gene == 'yaaA'").iloc[0]
top = genome.region(gene.stop - 13, gene.stop + 9)
figure, axis = plt.subplots(figsize=(11, 2.7))
for y, letters in ((1.15, top), (0.0, reverse_complement(top)[::-1])):
    for i, base in enumerate(letters):
        here = y == 0 and 10 <= i < 13
        axis.add_patch(
            plt.Rectangle(
                (i + 0.05, y),
                0.9,
                0.8,
                facecolor=plots.NUCLEOTIDE_COLORS[base],
                edgecolor=plots.INK if here else "none",
                linewidth=2.5,
            )
        )
        axis.text(i + 0.5, y + 0.4, base, ha="center", va="center", color="white", weight="bold")
arrow = {"arrowstyle": "-|>", "color": plots.INK, "linewidth": 1.6}
axis.annotate("", xy=(22, 2.25), xytext=(0, 2.25), arrowprops=arrow)
axis.annotate("", xy=(0, -0.3), xytext=(22, -0.3), arrowprops=arrow)
for x, y, text in ((-0.8, 1.55, "5′"), (22.8, 1.55, "3′"), (-0.8, 0.4, "3′"), (22.8, 0.4, "5′")):
    axis.text(x, y, text, ha="center", va="center", weight="bold")
axis.text(11, 2.55, "the file: this strand, from left to right", ha="center", va="center")
axis.text(11, -0.65, "the gene yaaA is read here, from right to left", ha="center", va="center")
axis.set(xlim=(-1.5, 23.5), ylim=(-0.95, 2.8))
axis.axis("off")
plots.show(
    figure,
    """
    22 base pairs of the E. coli genome. The upper strand is the one in the file, read from left
    to right. The lower one is its complement, read from right to left; framed in it is the start
    codon ATG of the gene yaaA, which stands in the file as CAT.
""",
)

# %% [markdown]
# Half of the genes are of this kind: they stand in the file backwards. Some places are even genes from *both* sides.

# %%
coding = genome.genes.query("biotype == 'CDS'")
print("genes by strand:", coding.strand.value_counts().to_dict())
print("yaaA, as read:  ", reverse_complement(genome.region(gene.start, gene.stop))[:15], "...")
pair = coding[coding.gene.isin(["yaaW", "mbiA"])][["gene", "start", "stop", "strand"]]
print(pair.to_string(index=False))

# %% [markdown]
# Which of the two strands a file holds is a convention, set when the genome was assembled. A model should not depend on it, unless the question is about a strand.
#
# ## By hand: letters, ids, answers
#
# In token ids the exchange of letters is a table, `complement`, and reading backwards is a flip. Special tokens are their own complement.

# %%
tokenizer = NucleotideTokenizer()
complement = torch.tensor([0, 1, 2, 3, 4, 8, 7, 6, 5, 9])  # A 5 C 6 G 7 T 8, N 9
ids = torch.tensor([tokenizer("GATTACA")["input_ids"]])
other = complement[ids].flip(1)
assert other[0].tolist() == tokenizer(reverse_complement("GATTACA"))["input_ids"]
assert complement.tolist() == tokenizer.complement_ids.tolist()
print("GATTACA", ids.tolist(), "->", other.tolist(), reverse_complement("GATTACA"))

# %% [markdown]
# Two properties to remember: doing it twice is doing nothing, and it is *not* the reversed text. `GATTACA` backwards, `ACATTAG`, is another molecule.
#
# ### Exercise 1 · the other strand, in ids
#
# For a batch `ids` (B, L) and a table `complement` (V,), return the ids of the other strand. It has to work with any tokenizer's table.
#
# <details><summary>Hint 1</summary>Indexing does the exchange: <code>complement[ids]</code> looks up every id at once.</details>
# <details><summary>Hint 2</summary>Position is axis 1. <code>flip(0)</code> would exchange the sequences of the batch.</details>


# %% tags=["exercise"]
def my_other_strand(ids, complement):
    """Token ids of the reverse complement, (B, L)."""
    # BEGIN SOLUTION
    return complement[ids].flip(1)
    # END SOLUTION


check.other_strand(my_other_strand)

# %% [markdown]
# ### Other tokenizers
#
# Overlapping k-mers can be turned as well: each word is replaced by its own reverse complement, and the order reversed. Words without overlap only if they reach the end of the sequence exactly. Byte pairs cannot: both strands are cut at different places.

# %%
from gfm_lab import BPETokenizer, KmerTokenizer

three = KmerTokenizer(3)
words = three.convert_ids_to_tokens(three.reverse_complement_ids(three("GATTACA")["input_ids"]))
print("overlapping:", three.tokenize("GATTACA"), "->", words)
bpe = BPETokenizer.train([train[:50_000]], 200)
print("byte pairs: ", bpe.tokenize(top), "\n   other end:", bpe.tokenize(reverse_complement(top)))
for tok, text in ((KmerTokenizer(3, 3), "GATTACA"), (bpe, top)):
    try:
        tok.reverse_complement_ids(tok(text)["input_ids"])
    except ValueError as error:
        print(type(tok).__name__, "says:", str(error).split(":")[0])

# %% [markdown]
# ### Two kinds of "the same answer"
#
# What should a model $f$ say about the other strand? That depends on what it answers.
#
# - One answer a sequence ("is it a promoter?"): **invariant**, $f(\mathrm{rc}(x)) = f(x)$.
# - One answer a base ("which base is hidden here?"): **equivariant**, $f(\mathrm{rc}(x)) = \mathrm{rc}(f(x))$. The answers come in reverse order, and each is about the complementary letter.
#
# So scores of letters, `logits` (B, L, V), have to be turned back on two axes before they can be compared. This is the place where most mistakes are made.
#
# ### Exercise 2 · turn the answers back
#
# `back` holds the logits (B, L, V) that a model gave for the *other* strand. Return them as scores of *this* strand: position t is about base t, and column v about letter v.
#
# <details><summary>Hint 1</summary>Positions: flip axis 1. Then column 5 must hold the score of A here, which was the score of T there.</details>
# <details><summary>Hint 2</summary>Reordering columns is indexing the last axis: <code>scores[..., complement]</code>.</details>


# %% tags=["exercise"]
def my_turned_back(back, complement):
    """Logits of the other strand as logits of this one, (B, L, V)."""
    # BEGIN SOLUTION
    return back.flip(1)[..., complement]
    # END SOLUTION


check.turned_back(my_turned_back)

# %% [markdown]
# ## What a plain model does
#
# We ask two masked models: `ecoli-attention-mlm`, shipped with the course (attention, six layers; trained on windows of *either* strand), and the same network with fresh random weights. Both read 128-base windows of the test region in which 15 % are hidden, once from each strand.

# %%
from gfm_lab import GenomicForMaskedLM, load_model

trained, tokenizer = load_model("ecoli-attention-mlm")
torch.manual_seed(0)
untrained = GenomicForMaskedLM(trained.config).eval()
generator = np.random.default_rng(0)
starts = generator.integers(len(test) - 128, size=100)
truth = torch.from_numpy(np.stack([tokenizer.encode_array(test[s : s + 128]) for s in starts]))
truth = truth.long()
hidden = torch.from_numpy(generator.random(truth.shape) < 0.15)
seen = truth.masked_fill(hidden, tokenizer.mask_token_id)


# %%
def both_readings(model, ids):
    """P(A), P(C), P(G), P(T) of every base, (B, L, 4): read from this strand, and from the other."""
    with torch.inference_mode():
        there = model(ids).logits
        back = model(complement[ids].flip(1)).logits.flip(1)[..., complement]
    return [logits[..., 5:9].softmax(-1) for logits in (there, back)]


rows = {}
for name, model in (("untrained", untrained), ("ecoli-attention-mlm", trained)):
    p, q = both_readings(model, seen)
    p, q = p[hidden], q[hidden]
    bits = [-x.gather(1, truth[hidden][:, None] - 5).log2().mean().item() for x in (p, q)]
    distance = (p - q).abs().sum(1).mean().item() / 2
    rows[name] = [distance, (p.argmax(1) != q.argmax(1)).float().mean().item(), *bits]
columns = ["distance", "best guess differs", "bits, this strand", "bits, other strand"]
table = pd.DataFrame(rows, index=columns).T

# %% [markdown]
# ### Exercise 3 · predict
#
# Before we look: the checkpoint's training drew each window from either strand with equal chance, 65 million tokens in all. On what share of the hidden bases will its best guess *from the other strand* be another base? Give one number between 0 and 1. (Four equal letters guessed at random would differ in 75 %.)
#
# <details><summary>Hint 1</summary>Training on both strands makes both readings equally <em>good</em>. Does anything make them equal?</details>
# <details><summary>Hint 2</summary>Most hidden bases have no clear answer: the best guess is right less than half of the time, so two letters are often nearly level.</details>

# %% tags=["exercise"]
# BEGIN SOLUTION
my_share = 0.2
# END SOLUTION
check.prediction(my_share)

# %% tags=["nbval-ignore-output"]
assert 0.05 < table.loc["ecoli-attention-mlm", "best guess differs"] < 0.45
assert abs(table.loc["ecoli-attention-mlm"].iloc[2:].diff().iloc[1]) < 0.05
table.round(3)

# %% [markdown]
# *Distance* is half the sum of the differences of four probabilities: 0 for the same answer, 1 for certainty about two different bases. The untrained model has a favourite letter, whatever it reads; turned back, the favourite becomes its complement, so both readings nearly always differ. Training on both strands has halved the distance, and both readings are equally *good*: the same bits. Yet base by base there are two answers.

# %% tags=["figure", "nbval-ignore-output"]
p, q = (
    x[hidden].gather(1, truth[hidden][:, None] - 5)[:, 0] for x in both_readings(trained, seen)
)
figure, axis = plt.subplots(figsize=(5.2, 4.6))
axis.scatter(p, q, s=7, alpha=0.5, color=plots.PALETTE[0], linewidths=0)
axis.plot([0, 1], [0, 1], color=plots.INK, linewidth=1)
axis.set(xlabel="P(true base), this strand", ylabel="P(true base), other strand", aspect="equal")
plots.show(
    figure,
    """
    For hidden test bases, the probability that the trained model gives to the true base when it
    reads this strand, against the same when it reads the other strand. The points scatter around
    the diagonal: two answers for one base pair.
""",
)

# %% [markdown]
# Which of the two is right? Neither has a better claim. That is the defect: an arbitrary choice, the strand in the file, decides.
#
# ## Three remedies
#
# | | what changes | training costs | use costs | one answer? |
# |---|---|---|---|---|
# | **augmentation** | the data: a window or its reverse complement, by chance | 1 | 1 | nearly |
# | **averaging** after training | the use: ask twice, average | 1 | 2 | exactly |
# | **sharing** weights | the model: both strands inside, one set of weights | 2 | 2 | exactly |
#
# ### Augmentation
#
# One line in the loop that draws windows; `gfm_lab.pretrain(..., reverse_complement=True)` has it by default. It is what DNABERT-like models and Caduceus-Ph do, and what we have just measured: it teaches both strands, and promises nothing.

# %%
batch = truth[:4]
other = torch.tensor([True, False, True, False])  # in training: torch.rand(4) < 0.5
augmented = torch.where(other[:, None], complement[batch].flip(1), batch)
print("rows that changed:", (augmented != batch).any(1).tolist())

# %% [markdown]
# ### Averaging after training
#
# Known as post-hoc conjoining (Zhou, Shrikumar and Kundaje, 2022). By hand it is exercise 2 and a mean; in the package it is a wrapper around any finished model.

# %%
from gfm_lab import ReverseComplement

averaged = ReverseComplement(trained, tokenizer).eval()
with torch.inference_mode():
    there = trained(seen).logits
    back = trained(complement[seen].flip(1)).logits.flip(1)[..., complement]
    package = averaged(seen).logits
    again = averaged(complement[seen].flip(1)).logits.flip(1)[..., complement]
torch.testing.assert_close((there + back) / 2, package, atol=1e-5, rtol=0)
torch.testing.assert_close(again, package, atol=1e-5, rtol=0)
print("averaged: one answer for both strands, to 1e-5; without:", end=" ")
print((there - back).abs().max().item() > 1)

# %% [markdown]
# Is it a better answer, too? Two noisy readings, averaged, should be less noisy. One thing is certain: the bits of averaged scores are at most the mean of the bits of both readings (the logarithm of a sum of exponentials is convex).


# %% tags=["nbval-ignore-output"]
def bits_of(logits):
    """Mean bits of the hidden bases, among A, C, G and T."""
    log_p = logits[hidden][:, 5:9].log_softmax(-1)
    return -log_p.gather(1, truth[hidden][:, None] - 5).mean().item() / np.log(2)


here, from_there, both = (bits_of(x) for x in (there, back, package))
print(f"this strand {here:.4f}, other strand {from_there:.4f}, averaged {both:.4f} bits")
assert both < (here + from_there) / 2

# %% [markdown]
# How much is it against the reading that one would have used anyway? We score 30,000 bases of the test region, the same bases hidden, and give the difference its interval. Beside them stands the two-sided count model of notebook 09, which counts words of both strands.

# %% tags=["nbval-ignore-output"]
from gfm_lab import TwoSidedBackoff, bits_per_masked_base
from gfm_lab.evaluation import difference, score_baseline

how = dict(protocol="joint", window=128, margin=24, batch_size=64)
single = bits_per_masked_base(trained, tokenizer, test[:30_000], **how)
twice = bits_per_masked_base(averaged, tokenizer, test[:30_000], **how)
baseline = score_baseline(TwoSidedBackoff(5).fit(train), test[:30_000], like=single)
for name, score in (("counted words", baseline), ("one strand", single), ("averaged", twice)):
    print(f"{name:14s}{score.value:.4f} bits [{score.low:.4f}, {score.high:.4f}]")
gain = difference(twice, single)
print(f"averaged - one strand: {gain.value:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]")
assert abs(gain.value) < 0.01 < baseline.value - single.value

# %% [markdown]
# Little, and on so few bases the interval reaches zero. This model was trained long and on both strands, so both readings are near each other already. Further down, models with less training gain more.
#
# Two things cannot be averaged. Answers about byte pairs, as both strands are cut at different places (one answer for a whole sequence still can). And **next-token** models: reading from the left, position t predicts base t + 1; reading from the right, it predicts base t − 1 and has seen t + 1 already. Averaged, one would tell the other the answer. Only scores of *whole* sequences can be averaged.

# %%
from gfm_lab import GenomicConfig, GenomicForCausalLM

tiny = dict(vocab_size=10, hidden_size=16, num_hidden_layers=1, positions="none", mixer="mamba")
next_token = ReverseComplement(GenomicForCausalLM(GenomicConfig(**tiny, causal=True)), tokenizer)
try:
    next_token(ids)
except ValueError as error:
    print("refused:", str(error).split(":")[0])
with torch.inference_mode():
    a, b = next_token.log_likelihood(ids), next_token.log_likelihood(complement[ids].flip(1))
torch.testing.assert_close(a, b)
print(f"whole sequence, mean of both strands: {a.item():.2f} nats, from either end")

# %% [markdown]
# ### Exercise 4 · a bug to find
#
# A colleague averages over strands with this function. It runs, and for most sequences the results look plausible. The test below says that something is wrong: both strands should get one answer. Write it correctly.


# %%
def broken(model, ids, complement):
    there = model(ids).logits
    back = model(complement[ids]).logits
    return (there + back[..., complement]) / 2


with torch.inference_mode():
    one = broken(trained, seen, complement)
    two = broken(trained, complement[seen].flip(1), complement).flip(1)[..., complement]
print(f"largest difference between the strands: {(one - two).abs().max():.1f}")

# %% [markdown]
# <details><summary>Hint 1</summary>Which molecule is <code>complement[ids]</code>, read from left to right?</details>
# <details><summary>Hint 2</summary>A flip is missing on the way in, and one on the way out.</details>


# %% tags=["exercise"]
def my_average(model, ids, complement):
    """Logits (B, L, V) of `model`, averaged over both strands."""
    # BEGIN SOLUTION
    there = model(ids).logits
    back = model(complement[ids].flip(1)).logits
    return (there + back.flip(1)[..., complement]) / 2
    # END SOLUTION


check.average(my_average)

# %% [markdown]
# The complement without the flip is a strand read from its 3′ end: a text that no polymerase and no ribosome ever reads. Its mean looks plausible because short statistics, such as GC content, survive.
#
# ## First, both directions
#
# Before Caduceus a distinction. *Strand* is not *direction*. Hyena and Mamba see nothing of what follows, and a masked model wants both sides of a gap. So Caduceus' mixer, BiMamba, holds two Mambas: one reads ahead, one from the end, on **one** strand, and no letter is exchanged. Input and output maps serve both.

# %%
from gfm_lab.mixers import Bidirectional, Mamba

torch.manual_seed(0)
ahead, back = Mamba(16), Mamba(16)
x = torch.randn(2, 50, 16)
u = ahead.inputs(x)
by_hand = ahead.out(ahead.mix(u) + back.mix(u.flip(1)).flip(1))
alone = sum(p.numel() for p in ahead.parameters())
both = Bidirectional(ahead, back)
torch.testing.assert_close(both(x), by_hand, atol=1e-6, rtol=0)
total = sum(p.numel() for p in both.parameters())
print(f"parameters: one direction {alone:,}, both {total:,} = {total / alone:.2f} times")

# %% [markdown]
# `Bidirectional` takes any two one-way mixers, and is what `GenomicConfig(mixer="mamba", causal=False)` builds. It is not equivariant, as a test shows at once; two directions are not two strands.
#
# ## Caduceus is your model run twice
#
# The paper describes Caduceus-PS with new parts: an RC-equivariant embedding whose channels are doubled, RCPS blocks that split the channels, flip one half, run the layer on both and join them, and a special head. Take it apart, and what remains is this: **run your model on both strands with the same weights; keep both results side by side; let the head add them.**


# %%
def caduceus(model, ids, complement):
    """Logits of a plain masked model, run as Caduceus-PS."""
    strands = torch.cat([ids, complement[ids].flip(1)])  # twice the batch
    h = model.body(strands).last_hidden_state  # the ordinary body
    there, back = h.chunk(2)
    features = torch.cat([there, back.flip((1, 2))], dim=-1)  # (B, L, 2 D): the paper's features
    there, back = features.chunk(2, dim=-1)
    return model.head(there) + model.head(back.flip(2))[..., complement]


# %% [markdown]
# In the package it is a field of the configuration, `strands="shared"`, for every mixer. We build a plain bidirectional Mamba, give its weights to the shared model, and compare.

# %%
small = dict(
    vocab_size=10, hidden_size=32, num_hidden_layers=2, positions="none", mixer="mamba",
    norm="rms", ffn="none", max_position_embeddings=None, complement=complement.tolist(),
)  # fmt: skip
torch.manual_seed(0)
plain = GenomicForMaskedLM(GenomicConfig(**small)).eval()
shared = GenomicForMaskedLM(GenomicConfig(**small, strands="shared")).eval()
shared.load_state_dict(plain.state_dict())  # the same parameters, by name and number
x = truth[:8]
with torch.inference_mode():
    by_hand, package = caduceus(plain, x, complement), shared(x).logits
    turned = shared(complement[x].flip(1)).logits.flip(1)[..., complement]
torch.testing.assert_close(by_hand, package, atol=1e-5, rtol=0)
torch.testing.assert_close(turned, package, atol=1e-5, rtol=0)
print(f"{shared.num_parameters():,} parameters in both; equal to 1e-5, on both strands")

# %% [markdown]
# So the difference between averaging and sharing is *when*: the sum is the same up to a factor of two, but a shared model is trained through it. The paper's features follow a neat rule: for the other strand they are the same numbers, **flipped over positions and over channels**.

# %%
with torch.inference_mode():
    here = shared.body(x).last_hidden_state
    there = shared.body(complement[x].flip(1)).last_hidden_state
torch.testing.assert_close(there, here.flip((1, 2)), atol=1e-5, rtol=0)
print("features", tuple(here.shape), "of the other strand = these, flipped over axes 1 and 2")

# %% [markdown]
# ### The authors' numbers
#
# Is it really Caduceus? In the tests of this course's repository lies a recording: a small Caduceus-PS with random weights, run once with the authors' own code. We load its weights under their published names and compare the logits.
#
# One line is missing from our ten. With `fused_add_norm`, as in the released models, each block of the authors' code normalises the *first* half of the channels from what the *second* held: each block reads the other strand's result. It is just as equivariant, and gives other numbers. In our terms: before each block, exchange the two halves of the batch and flip them. Loading weights has to follow the flag (`exchange_strands`).

# %%
from safetensors import safe_open

from gfm_lab.data import shipped_dir
from gfm_lab.pretrained import from_state_dict


def recording(name):
    """Weights, configuration, input and logits of a recorded run."""
    path = shipped_dir("recordings") / f"{name}_reference.safetensors"
    with safe_open(path, "pt") as file:
        about, names = file.metadata(), file.keys()
        tensors = {key: file.get_tensor(key) for key in names}
    config = {key: json.loads(value.lower()) if value != "auto" and value not in ("caduceus", "add") else value
              for key, value in about.items()}  # fmt: skip
    weights = {
        k.removeprefix("weights."): v for k, v in tensors.items() if k.startswith("weights.")
    }
    return weights, config, tensors["input_ids"], tensors["logits"]


# %% tags=["nbval-ignore-output"]
for name in ("caduceus_ps", "caduceus_ps_unfused", "caduceus_ph"):
    weights, config, x, expected = recording(name)
    model = from_state_dict("caduceus", weights, config)
    with torch.inference_mode():
        error = (model(x).logits - expected)[..., :12].abs().max().item()
    relative = error / expected.abs().max().item()
    flag = model.config.exchange_strands
    print(
        f"{name:20s} strands={model.config.strands:7s} exchange={flag!s:6s} error {relative:.0e}"
    )
    assert relative < 1e-6

# %% [markdown]
# Errors relative to the largest logit: rounding. (`caduceus_ph` is the other published variant: a plain bidirectional Mamba, trained with augmentation and averaged in use.) Sizes as published:

# %%
from gfm_lab.presets import build

for name in ("caduceus-ps", "caduceus-ph"):
    model = build(name)
    c = model.config
    print(
        f"{name}: {c.num_hidden_layers} layers, width {c.hidden_size}, {model.num_parameters():,}"
    )
print(gfm_lab.diff("caduceus-ps", "caduceus-ph"))

# %% [markdown]
# ### When invariance is wrong
#
# A shared classifier gives both strands *the same score by construction*. Good for "is there a promoter?". But "is the gene on **this** strand?" has opposite answers for $x$ and $\mathrm{rc}(x)$, and an invariant model is right exactly half of the time, whatever it learns.

# %%
from gfm_lab import GenomicForSequenceClassification

torch.manual_seed(0)
model = GenomicForSequenceClassification(GenomicConfig(**small, strands="shared", num_labels=2))
with torch.inference_mode():
    this, other = model.eval()(truth).logits, model(complement[truth].flip(1)).logits
torch.testing.assert_close(this, other, atol=1e-5, rtol=0)
print("100 sequences, both strands: the same two scores, so one of the two answers is wrong")

# %% [markdown]
# ## What does it buy, at equal cost?
#
# Sharing reads every window twice. A fair comparison gives each way the same computing: per step, a shared model gets *half as many windows*. We train three small masked models (gated convolutions on k-mer sums) with the same parameters, steps and masks. First a short piece live, to see that both learn.

# %%
import math


def small_model(strands, seed=0):
    torch.manual_seed(seed)
    config = GenomicConfig(
        vocab_size=10, hidden_size=32, num_hidden_layers=2, intermediate_size=64,
        positions="none", max_position_embeddings=None, kmer_sum=4, kmer_flanks=True,
        mixer="convolution", mixer_options={"kernel": 7, "dilation": [1, 3]},
        strands=strands, complement=complement.tolist(),
    )  # fmt: skip
    return GenomicForMaskedLM(config)


# %%
def learn(model, windows, steps=60, seed=0):
    """Train on random windows; the loss of each step, in bits per masked base."""
    generator, bits = np.random.default_rng(seed), []
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(steps):
        at = generator.integers(len(genome_ids) - 128, size=windows)[:, None] + np.arange(128)
        x = torch.from_numpy(genome_ids[at])
        hidden = torch.from_numpy(generator.random(x.shape) < 0.15)
        loss = model(x.masked_fill(hidden, 4), labels=x.masked_fill(~hidden, -100)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        bits.append(loss.item() / math.log(2))
    return bits


# %% tags=["nbval-ignore-output"]
genome_ids = tokenizer.encode_array(train).astype(int)
for strands, windows in (("single", 16), ("shared", 8)):
    bits = learn(small_model(strands), windows)
    print(
        f"{strands}: {bits[0]:.2f} bits at first, {np.mean(bits[-10:]):.3f} in the last ten steps"
    )
    assert np.mean(bits[-10:]) < 2.02

# %% [markdown]
# The full experiment ran ahead of time (`benchmarks/strands.py`): three ways, three seeds, two amounts of data. With all of the training region, a run sees a tenth of it, once. With 30,000 bases, it sees every base many times over, as one would with a scarce kind of DNA. Scores are on 100,000 test bases.

# %%
ahead = json.loads((shipped_dir("results") / "strands.json").read_text(encoding="utf-8"))
runs = pd.DataFrame(ahead["runs"])
post = runs.dropna(subset="averaged").copy()
for column in ("bits", "per_window"):
    post[column] = [run[column] for run in post["averaged"]]
post["arm"], post["asymmetry"] = post["arm"] + ", averaged", 0.0
runs = pd.concat([runs, post], ignore_index=True)
count = runs.groupby("seed")["bits"].transform("size")
runs = runs[count == count.max()]  # seeds that every arm has
means = runs.groupby(["bases", "arm"])[["bits", "asymmetry"]].mean().unstack(0)
print(f"{ahead['settings']['parameters']:,} parameters, {runs['seed'].nunique()} seeds;", end=" ")
print("counted words, 6 bases each side:", round(ahead["two-sided back-off, 6 bases"], 3), "bits")
means.round(3)

# %% tags=["figure"]
order = ["forward", "augmented", "shared", "forward, averaged", "augmented, averaged"]
figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), sharey=True)
titles = ("all of the training region", "30,000 bases")
for axis, bases, title in zip(axes, sorted(runs["bases"].unique())[::-1], titles):
    for place, arm in enumerate(order):
        bits = runs.query("bases == @bases and arm == @arm")["bits"]
        color = plots.PALETTE[2 if arm == "shared" else 1 if "averaged" in arm else 0]
        axis.plot([place - 0.25, place + 0.25], [bits.mean()] * 2, color=color, linewidth=3)
        axis.scatter([place] * len(bits), bits, color=plots.INK, s=18, zorder=3)
    axis.set_title(title)
    axis.set_xticks(range(5), [arm.replace(", ", ",\n") for arm in order], fontsize=9)
axes[0].set_ylabel("bits per masked base")
plots.show(
    figure,
    """
    Bits per masked base of small models trained in three ways, and of two of them averaged over
    both strands after training; dots are seeds, bars their mean. Left: trained on all of the
    training region. Right: trained on 30,000 bases.
""",
)

# %% [markdown]
# Dots are seeds. For the differences we take the mean over seeds in each window of 2,000 test bases, and draw windows again and again. All five are scored on the same hidden bases.

# %%
from gfm_lab.evaluation import bootstrap


def compare(first, second, bases):
    """Mean bits of `first` minus `second`, its interval over test windows, and the range over seeds."""
    a, b = (runs[(runs["bases"] == bases) & (runs["arm"] == arm)] for arm in (first, second))
    windows = np.mean(a["per_window"].tolist(), 0) - np.mean(b["per_window"].tolist(), 0)
    each = a["bits"].to_numpy() - b["bits"].to_numpy()
    low, high = bootstrap(windows)
    return f"{each.mean():+.4f} [{low:+.4f}, {high:+.4f}], seeds {each.min():+.4f} to {each.max():+.4f}"


pairs = [("augmented", "forward"), ("shared", "augmented"), ("augmented, averaged", "augmented")]
pairs += [("shared", "augmented, averaged")]
for bases, title in zip(sorted(runs["bases"].unique())[::-1], titles):
    print(title)
    for first, second in pairs:
        print(f"  {first + ' - ' + second:32s}{compare(first, second, bases)}")

# %% [markdown]
# Read each line with its cost. A negative number says that the first is better.
#
# - *Augmented against forward*, equal cost in training and use. With the whole genome no difference to see: genes lie on both strands, so either strand shows both kinds of text already (and the asymmetry is the same, too). With 30,000 bases, augmentation is ahead in every seed, though the test windows leave room for doubt.
# - *Shared against augmented*, equal cost in training. With the whole genome sharing is clearly ahead. With few bases the seeds disagree. In use, sharing costs twice as much.
# - *Shared against augmented and averaged*, equal cost in training **and** in use, both exactly equivariant. With the whole genome no difference to see; with few bases averaging is ahead. What looked like the worth of building the symmetry in is what any average of two readings gives.
#
# **What this cannot tell.** These are models of a few hundred thousand parameters, trained for seconds, on one bacterium whose genes lie evenly on both strands; all are behind counted words (1.889 bits). The intervals are over test windows, the ranges over three seeds; neither covers another size, learning rate, mixer or length of training. Equal cost was one choice of several: half the windows, not half the steps or width. Zhou and colleagues found post-hoc averaging the safest choice over many tasks, and sharing sometimes behind it; Caduceus' authors report gains over larger models on variant effects at long range. Nothing here decides between them.
#
# ### Exercise 5 · an interpretation
#
# An abstract says: "Our RC-equivariant model reaches 91.2 % accuracy on enhancer classification, against 90.8 % for a conventional model of the same number of parameters trained on the reference strand. Equivariance makes better use of data." What do you ask as a reviewer? Three or four sentences, then compare with the rubric.
#
# <details><summary>Hint 1</summary>Which of the two models did more computing for each sequence? Which ever saw the other strand?</details>
# <details><summary>Hint 2</summary>How many runs, and how large is the interval? Which cheap remedy makes the conventional model equivariant, too?</details>

# %% tags=["exercise"]
# BEGIN SOLUTION
my_review = """
The comparison is not at equal cost: an equivariant model reads each sequence twice, so the
conventional one should get twice the steps or width, or be averaged over both strands, which
makes it equivariant as well. It was trained on one strand only; augmentation is the missing
baseline. The difference of 0.4 points needs several seeds and an interval before it says anything.
"""
# END SOLUTION
check.interpretation(my_review)

# %% [markdown]
# ## Take-aways
#
# - The other strand is the letters exchanged and read from the other end. Answers turn back on two axes, positions and letters.
# - Equivariant: answers about bases move with the bases. Invariant: one answer for both strands, which is wrong for questions about a strand.
# - Augmentation teaches both strands and promises nothing; averaging after training is exact, and needs no training; sharing is exact, and trains through it.
# - Caduceus-PS is a bidirectional Mamba run on both strands with the same weights. The released models also exchange the strands before each block, and loading must follow the flag.
# - Equivariance is certain, a gain in accuracy is not: compare at equal cost, with augmentation *and* averaging as baselines.
#
# ## Quiz

# %%
check.questions("quiz")

# %% tags=["exercise"]
# BEGIN SOLUTION
quiz_answers = "adbaad"
# END SOLUTION
check.quiz(quiz_answers)

# %% [markdown]
# ## Where we are

# %%
plots.show(
    plots.anatomy(3, {3: "Mamba", 5: "masked"}),
    """
    The five sites of a genomic model, from tokenizer to objective. Both directions are a choice at
    site 3, the mixer, which is filled in; both strands go around sites 2 to 4, run twice. Mamba
    and masked, Caduceus' choices, are in bold.
""",
)

# %% [markdown]
# ## Further reading
#
# - Schiff and colleagues (2024), *Caduceus*: BiMamba, shared strands, PS and Ph. [doi:10.48550/arXiv.2403.03234](https://doi.org/10.48550/arXiv.2403.03234)
# - Zhou, Shrikumar and Kundaje (2022), *Towards a better understanding of reverse-complement equivariance for deep learning models in genomics*: augmentation, sharing and post-hoc averaging compared. [PMLR 165:1–33](https://proceedings.mlr.press/v165/zhou22a.html)
# - Shrikumar, Greenside and Kundaje (2017), *Reverse-complement parameter sharing improves deep learning models for genomics*: the first such layers. [doi:10.1101/103663](https://doi.org/10.1101/103663)
# - Mallet and Vert (2021), *Reverse-complement equivariant networks for DNA sequences*: all linear equivariant layers. [NeurIPS 2021](https://openreview.net/forum?id=AD4jtD8wE1w)
# - Gu and Dao (2023), *Mamba*. [doi:10.48550/arXiv.2312.00752](https://doi.org/10.48550/arXiv.2312.00752)
#
# Next: notebook 07 puts all mixers side by side, at equal cost.
