# %% [markdown]
# # p2 · PyTorch for biologists
#
# **The question.** *Which base comes next?* We answer by counting and by training.
#
# **You will be able to**
# - read shapes, and what broadcasting does to them;
# - tell hidden states, logits, probabilities and bits apart;
# - write a training step, and see when a model overfits.
#
# | your time | run time | needs |
# |---|---|---|
# | about 30 minutes | under 30 seconds on 2 cores, under 1 GB | Python, a little numpy; no deep learning |
#
# New words: [glossary](../docs/glossary.md).

# %% tags=["setup", "nbval-ignore-output"]
import math

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import nn

from gfm_lab import __version__, checks, load_data, plots

plots.use_style()
torch.set_num_threads(1)  # so that the same numbers come back
check = checks.start("p2_pytorch_for_biologists")
print("gfm-lab", __version__, "| torch", torch.__version__)

# %% [markdown]
# ## May you skip this notebook?
#
# Answer from memory, or `?`. The check names the sections to read.

# %%
check.questions("placement")

# %% tags=["exercise"]
# BEGIN SOLUTION
placement_answers = "cbdacbad"
# END SOLUTION
check.placement(placement_answers)

# %% [markdown]
# ## Tensors
#
# A **tensor** is an array of numbers with a *shape*, one *dtype*, and a *device* (CPU, GPU). We write A, C, G, T as 0 to 3, and keep three regions of *E. coli* apart.

# %%
ecoli, bases = load_data("ecoli-k12"), {}
for part in ("train", "valid", "test"):
    bases[part] = torch.tensor(["ACGT".index(base) for base in ecoli.split(part)])
    print(part, bases[part].shape, bases[part].dtype, bases[part].device)

# %% [markdown]
# An example is k bases, the *context*, and the base that follows. As one number, `ATG` is 0·16+3·4+2·1 = 14.


# %%
def examples(x, k):
    """Every context of k bases as one number, and the base that follows it."""
    powers = 4 ** torch.arange(k - 1, -1, -1)  # 16, 4, 1 for k = 3
    return x.unfold(0, k, 1)[:-1] @ powers, x[k:]  # (N, k) @ (k,) gives (N,)


# %%
context, target = examples(bases["train"], 3)
counts = torch.bincount(4 * context + target, minlength=256).view(64, 4)
totals = counts.sum(dim=1, keepdim=True)
probability = counts / totals
print(counts.shape, "/", totals.shape, "=", probability.shape, "| after ATG:", probability[14])

# %% [markdown]
# The division is **broadcasting**: shapes are compared from the right; where one has a 1, or nothing, its numbers are repeated. So each row is divided by its total. The result is a *Markov model* of order 3.
#
# ### Exercise 1 · predict five shapes
#
# Before running them, give each shape as a tuple, or `"error"`:
# (1) `counts[14]`, (2) `counts.sum(dim=0)`, (3) `counts / counts.sum(dim=0)`, (4) `counts / counts.sum(dim=1)`, (5) `probability[ids]` with `ids` of shape (5, 20).
#
# <details><summary>Hint 1</summary>Summing over an axis removes it, unless keepdim=True.</details>
# <details><summary>Hint 2</summary>In (4), 4 meets 64. In (5), each id picks a row.</details>

# %% tags=["exercise"]
# BEGIN SOLUTION
my_shapes = [(4,), (4,), (64, 4), "error", (5, 20, 4)]
# END SOLUTION
check.shapes(my_shapes)

# %% [markdown]
# ## Logits, softmax, surprise
#
# A network ends in numbers of any size, the **logits**, here one for each base. The **softmax** makes probabilities of them: exponentials, divided by their sum. Only differences count.

# %%
logits = torch.tensor([2.0, 0.0, 1.0, -1.0])
print("by hand:", logits.exp() / logits.exp().sum())
print("softmax:", logits.softmax(dim=-1), "logits + 100:", (logits + 100).softmax(dim=-1))

# %% [markdown]
# A model is judged by its *surprise* at what came: $-\log_2 p$ **bits**. Certain and right costs 0 bits, one chance in two 1, one in four 2. The average is the **cross-entropy**. PyTorch computes it from logits (logarithms of probabilities are logits too), in *nats*; divided by ln 2 = 0.693 they are bits.

# %%
p = probability[context, target]  # what the table gave to the base that came
nats = F.cross_entropy(probability.log()[context], target)
print(f"by hand {-p.log2().mean():.4f} bits; {nats:.4f} nats = {nats / math.log(2):.4f} bits")

# %% [markdown]
# DNA is hard to guess: three known bases save 0.05 of 2 bits.
#
# ## A module
#
# An **nn.Module** holds *parameters*, the numbers to be learned; `forward` says how outputs follow from inputs. Ours looks up an *embedding*, 16 numbers, for each context; a linear layer makes four logits of it.


# %%
class NextBase(nn.Module):
    def __init__(self, k):
        super().__init__()
        self.embedding = nn.Embedding(4**k, 16)
        self.head = nn.Linear(16, 4)
        nn.init.normal_(self.embedding.weight, std=0.02)  # start near "no opinion"

    def forward(self, context):
        return self.head(self.embedding(context))


# %%
torch.manual_seed(0)
model, batch = NextBase(3), context[:20].view(2, 10)  # 2 sequences of 10 contexts
hidden = model.embedding(batch)
logits = model.head(hidden).detach()  # the numbers alone, cut off from gradients
print("hidden states", tuple(hidden.shape), "| logits", tuple(logits.shape), logits[0, 0])
print("probabilities of A, C, G, T at the first place:", logits.softmax(dim=-1)[0, 0])

# %% [markdown]
# *Hidden states* are for the next layer to read, logits are scores of answers, only probabilities sum to 1. Later, B sequences of L tokens have hidden states (B, L, D) and logits (B, L, V) for a vocabulary of V tokens.
#
# ## The training loop
#
# Predict a random **batch**, compute the slope of the loss along every parameter (the *gradient*), step against it, and again. The **learning rate** `lr` sets the size of a step; AdamW is our *optimizer*.


# %%
def bits_per_base(model, context, target):
    with torch.no_grad():
        return F.cross_entropy(model(context), target).item() / math.log(2)


# %%
def train(k, context, target, steps, watch=()):
    torch.manual_seed(0)  # the same start and the same batches on every run
    model = NextBase(k)
    optimizer, history = torch.optim.AdamW(model.parameters(), lr=0.003), []
    for step in range(steps):
        if step % 10 == 0:  # note the bits on the data we watch
            history.append([step, *(bits_per_base(model, *pair) for pair in watch)])
        rows = torch.randint(len(context), (4096,))
        loss = F.cross_entropy(model(context[rows]), target[rows])
        optimizer.zero_grad()  # forget the gradients of the last step
        loss.backward()  # add the new ones to each parameter's .grad
        optimizer.step()  # one step downhill
    return model, torch.tensor(history)


# %% tags=["nbval-ignore-output"]
model, _ = train(3, context, target, steps=300)
bits = bits_per_base(model, *examples(bases["valid"], 3))
print(f"bits per base on the valid region: {bits:.3f} (guessed: 2.000)")
assert bits < 1.955

# %% tags=["figure", "nbval-ignore-output"]
learned = model(torch.arange(64)).softmax(dim=-1).detach()
assert (learned - probability).abs().max() < 0.06
figure, axis = plt.subplots(figsize=(5, 4.5))
for i, base in enumerate("ACGT"):
    color = plots.NUCLEOTIDE_COLORS[base]
    axis.scatter(probability[:, i], learned[:, i], s=18, color=color, label=base)
axis.axline((0.25, 0.25), slope=1, color="grey", linewidth=1)
axis.set(xlabel="counted probability", ylabel="learned probability", title="64 contexts")
axis.legend(title="next base", ncols=2)
plots.show(
    figure,
    """
    For each of 64 contexts and four next bases, the learned probability against the counted
    one: all points lie close to the diagonal, between 0.03 and 0.5.
""",
)

# %% [markdown]
# Training found what counting finds; with many layers, nothing can be counted.
#
# ### Exercise 2 · a bug to find
#
# This step should return the loss in **bits**. It runs, but three things are wrong. Two show below: a fresh model should cost about 2 bits, and with `lr=0` the gradient should stay the same.


# %%
def broken_step(model, optimizer, context, target):
    probabilities = model(context).softmax(dim=-1)
    loss = F.cross_entropy(probabilities, target)
    loss.backward()
    optimizer.step()
    return loss.item()


# %% tags=["nbval-ignore-output"]
fresh = NextBase(3)
optimizer = torch.optim.AdamW(fresh.parameters(), lr=0.0)
for _ in range(3):
    print(broken_step(fresh, optimizer, context[:4096], target[:4096]), fresh.head.bias.grad)

# %% [markdown]
# Write it right.
#
# <details><summary>Hint 1</summary>What does <code>F.cross_entropy</code> expect, and in which unit does it answer?</details>
# <details><summary>Hint 2</summary><code>backward()</code> adds to <code>.grad</code>. Which line of our loop is missing?</details>


# %% tags=["exercise"]
def my_step(model, optimizer, context, target):
    """One training step; returns the loss in bits."""
    # BEGIN SOLUTION
    loss = F.cross_entropy(model(context), target)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item() / math.log(2)
    # END SOLUTION


check.step(my_step)

# %% [markdown]
# ## Train, valid, test
#
# Now six bases of context, but only 50,000 bases to train on.

# %% tags=["nbval-ignore-output"]
few, unseen = examples(bases["train"][:50_000], 6), examples(bases["valid"], 6)
_, history = train(6, *few, steps=401, watch=[few, unseen])
best = int(history[:, 2].argmin())
print("step, train, valid: best on valid", history[best], "last", history[-1])
assert history[-1, 1] < 1.85 and history[-1, 2] > 2 > history[best, 2]

# %% tags=["figure", "nbval-ignore-output"]
figure, axis = plt.subplots(figsize=(7, 4))
axis.plot(history[:, 0], history[:, 1], linestyle="--", label="train, 50 kb")
axis.plot(history[:, 0], history[:, 2], label="valid")
axis.plot(*history[best, [0, 2]], "o", color="black", ms=12, fillstyle="none", label="lowest")
axis.axhline(2, color="grey", linestyle=":")
axis.annotate("guessing", (400, 2.005), ha="right", color="grey")
axis.set(xlabel="step", ylabel="bits per base", title="six bases of context, 50 kb")
axis.legend()
plots.show(
    figure,
    """
    Bits per base against the training step, lower is better; dotted: 2 bits, guessing. Training
    bits fall to the end. Validation bits fall for a short while, are lowest at the ring, then
    climb above 2 and go on rising.
""",
)

# %% [markdown]
# Training bits fall to the end. Validation bits turn: the model has **overfitted**, it remembers instead of predicting. So *train* sets the parameters, *valid* makes our choices, and *test* is opened once.
#
# ### Exercise 3 · interpret
#
# A colleague: "The loss still fell, so I trained to the end: 1.74 bits per base, better than counting." Answer in two or three sentences: which step would you keep, which number report, and why?
#
# <details><summary>Hint 1</summary>Which curve is 1.74 from? Where does the other end?</details>
# <details><summary>Hint 2</summary>How many bases has each of 4,096 contexts? If valid chooses the step, is it still unseen?</details>

# %% tags=["exercise"]
# BEGIN SOLUTION
my_interpretation = """1.74 is the training curve: about 12 bases a context, remembered. On unseen bases it ends above
2 bits. I keep the step where valid is lowest, near 60, and report its bits on test, beside 2.0 and a counted table."""
# END SOLUTION
check.interpretation(my_interpretation)

# %% [markdown]
# On valid, our first model is better. Its test bits, once:

# %% tags=["nbval-ignore-output"]
table = nn.Embedding.from_pretrained(probability.log())  # the counted model, as a module
trained, counted = (bits_per_base(m, *examples(bases["test"], 3)) for m in (model, table))
print(f"bits per base on test: trained {trained:.3f}, counted {counted:.3f}, guessed 2.000")
assert abs(trained - counted) < 0.003

# %% [markdown]
# ## Take-aways
#
# - Broadcasting lines shapes up from the right.
# - Cross-entropy takes logits; over ln 2 it is bits. Guessing costs 2.
# - Forward, zero_grad, backward, step.
# - Choose on valid, report test, beside a baseline.
#
# ## Quiz

# %%
check.questions("quiz")

# %% tags=["exercise"]
# BEGIN SOLUTION
quiz_answers = "cabad"
# END SOLUTION
check.quiz(quiz_answers)

# %% [markdown]
# ## Where we are
#
# Our loss fills site 5.

# %% tags=["figure"]
plots.show(
    plots.anatomy(5, {5: "next token"}),
    """
    The five sites of a genomic model, from tokenizer to objective. Number 5, the objective,
    is filled in: predicting the next token is what we trained for.
""",
)

# %% [markdown]
# ## Further reading
#
# - Shannon (1948), entropy and Markov models. [doi:10.1002/j.1538-7305.1948.tb01338.x](https://doi.org/10.1002/j.1538-7305.1948.tb01338.x)
# - Loshchilov and Hutter (2019), AdamW. [doi:10.48550/arXiv.1711.05101](https://doi.org/10.48550/arXiv.1711.05101)
#
# Next: notebook 01, what a model sees of DNA.
