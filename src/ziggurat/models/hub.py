"""A model of the Hugging Face Hub: `ORG/NAME[@revision]`, by `huggingface_hub`, and only when it is asked for.

What is fetched: config, safetensors, tokenizer, chat template, licence; never pickled weights or code. A download that
broke off goes on where it stopped: files lie in `$ZIGGURAT_HOME/models/.fetching/` until all are whole. Each large file
is held against the SHA-256 that the Hub names for it. The Hub's own settings hold: HF_ENDPOINT (a mirror), HF_TOKEN,
HF_HUB_OFFLINE.
"""

from __future__ import annotations

import fnmatch
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ziggurat.cards import UNKNOWN, Card
from ziggurat.console import err
from ziggurat.errors import BusyError, ModelFolderError, UsageError
from ziggurat.files import check_folder, sha256_file
from ziggurat.models.bring import LICENCES, TAKEN, bring
from ziggurat.models.places import check_free
from ziggurat.places import models_home

REPOSITORY = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")
ATTEMPTS = 3
"""Times that a file is asked for in one command, each going on where the last one broke."""
PARTIAL, RANGE_ENDS = 206, 416
"""HTTP statuses: a part as asked; nothing is left of it."""
WANTED = (*TAKEN, *LICENCES, "*.safetensors")


def is_repository(text: str) -> bool:
    """Whether a text is ORG/NAME or ORG/NAME@revision."""
    return REPOSITORY.fullmatch(text) is not None


def get(text: str, name: str | None = None, *, overwrite: bool = False) -> Path:
    """Fetch a repository, check it, keep it under its name. Returns its folder.

    Raises UsageError where there is no such repository or no right to it, BusyError where the Hub cannot be reached,
    ModelFolderError for damaged files or a model that cannot be loaded.
    """
    match = REPOSITORY.fullmatch(text)
    if match is None:
        raise UsageError(f"{text!r} is not ORG/NAME or ORG/NAME@revision.")
    repo, revision = match["repo"], match["revision"]
    name = name or repo.partition("/")[2]
    check_free(name, overwrite=overwrite)
    fetched = models_home() / ".fetching" / repo.replace("/", "--")
    check_folder(fetched)
    with _sentences(repo, revision):
        info, sizes = _listed(repo, revision)
        wanted = [one for one in sizes if _wanted(one)]
        if not any(one.endswith(".safetensors") for one in wanted):
            raise ModelFolderError(
                f"{repo} holds no safetensors; only those are read, choose another repository."
            )
        total = sum(sizes[one][0] for one in wanted)
        err.print(f"Fetching {len(wanted)} files, {total / 1e6:,.0f} MB, of {repo} at {info.sha[:12]}.")
        for one in wanted:
            _fetch(repo, info.sha, one, fetched, *sizes[one])
    hashes = {one: sha for one in wanted if (sha := sizes[one][1])}
    card = Card(
        name=name,
        source=f"Hugging Face Hub {repo}",
        revision=info.sha,
        licence=_licence(info),
        sha256=hashes,
        parent=_base(info),
    )
    folder = bring(fetched, name, overwrite=overwrite, card=card)
    left = tuple(sorted(set(sizes) - set(wanted)))
    if left:
        from ziggurat.cards import read_card, write_card

        made = read_card(folder)
        assert made is not None
        write_card(made.model_copy(update={"left_out": left}), folder)
    shutil.rmtree(fetched, ignore_errors=True)
    return folder


def _wanted(file: str) -> bool:
    return "/" not in file and any(fnmatch.fnmatch(file, pattern) for pattern in WANTED)


def _listed(repo: str, revision: str | None) -> tuple[Any, dict[str, tuple[int, str | None]]]:
    """The repository's facts at a commit, and for each file its size and, of large files, its SHA-256."""
    from huggingface_hub import HfApi

    info = HfApi(library_name="ziggurat").model_info(repo, revision=revision, files_metadata=True, timeout=30)
    files = {
        one.rfilename: (int(one.size or 0), one.lfs.sha256 if one.lfs else None)
        for one in info.siblings or []
    }
    return info, files


def _fetch(repo: str, commit: str, file: str, to: Path, size: int, sha: str | None) -> None:
    """Bring one file to `to`, going on where `<file>.part` ends; huggingface_hub's own download begins anew."""
    path, part = to / file, to / f"{file}.part"
    if not path.is_file():
        to.mkdir(parents=True, exist_ok=True)
        if part.is_file() and part.stat().st_size > size:
            part.unlink()
        for attempt in range(ATTEMPTS):
            try:
                _append(repo, commit, file, part)
                break
            except Exception as error:
                if not _of_the_wire(error) or attempt == ATTEMPTS - 1:
                    raise
        part.rename(path)
    if path.stat().st_size != size:
        said = f"{path.stat().st_size:,} bytes, where the Hub says {size:,}"
    elif sha is not None and sha256_file(path) != sha:
        said = "another SHA-256 than the Hub says"
    else:
        return
    path.unlink()
    raise ModelFolderError(f"{file} of {repo} came with {said}; it was removed, fetch it again.")


def _append(repo: str, commit: str, file: str, part: Path) -> None:
    from huggingface_hub import get_session, hf_hub_url
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status  # type: ignore[attr-defined]

    here = part.stat().st_size if part.is_file() else 0
    headers = build_hf_headers(library_name="ziggurat") | ({"Range": f"bytes={here}-"} if here else {})
    url = hf_hub_url(repo, file, revision=commit)
    with get_session().stream("GET", url, headers=headers, timeout=30, follow_redirects=True) as response:
        if here and response.status_code == RANGE_ENDS:
            return
        hf_raise_for_status(response)
        with open(part, "ab" if response.status_code == PARTIAL else "wb") as target:
            for piece in response.iter_bytes():
                target.write(piece)


def _licence(info: Any) -> str:
    data = getattr(info, "card_data", None)
    found = data.get("license") if data else None
    if not found:
        tagged = [tag for tag in info.tags or [] if tag.startswith("license:")]
        found = tagged[0].partition(":")[2] if tagged else None
    return str(found or UNKNOWN)


def _base(info: Any) -> str:
    data = getattr(info, "card_data", None)
    found = data.get("base_model") if data else None
    return ", ".join(found) if isinstance(found, list) else str(found or "")


@contextmanager
def _sentences(repo: str, revision: str | None) -> Iterator[None]:
    """The errors of huggingface_hub in one sentence each."""
    from huggingface_hub import errors

    at = f" at {revision}" if revision else ""
    try:
        yield
    except errors.GatedRepoError as error:
        raise UsageError(
            f"{repo} is gated: accept its terms on the Hub's page of it, then set HF_TOKEN to a token of yours."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise UsageError(f"{repo} has no revision {revision!r}; leave it out for the newest.") from error
    except (errors.RepositoryNotFoundError, errors.EntryNotFoundError) as error:
        raise UsageError(
            f"There is no model {repo}{at} on the Hub, or it is private; check the name, or set HF_TOKEN."
        ) from error
    except errors.HFValidationError as error:
        raise UsageError(f"{repo} is not a name of the Hub ({error}).") from error
    except errors.OfflineModeIsEnabled as error:
        raise BusyError(
            f"HF_HUB_OFFLINE is set, so {repo} is not fetched; unset it, or import a folder with `models import`."
        ) from error
    except errors.LocalEntryNotFoundError as error:
        raise _broke(error) from error
    except errors.HfHubHTTPError as error:
        raise BusyError(f"The Hub refused {repo}{at} ({_short(error)}); try again later.") from error
    except OSError as error:
        if error.errno is not None and error.filename:
            raise ModelFolderError(
                f"{error.filename} cannot be written ({error.strerror}); check free space and write permission."
            ) from error
        raise _broke(error) from error
    except Exception as error:
        if not _of_the_wire(error):
            raise
        raise _broke(error) from error


def _of_the_wire(error: Exception) -> bool:
    """Whether a connection failed, by whichever HTTP client huggingface_hub has."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return isinstance(error, ConnectionError | TimeoutError) or bool(
        names & {"TransportError", "StreamError"}
    )


def _broke(error: Exception) -> BusyError:
    return BusyError(
        f"The Hub could not be reached, or the connection broke ({_short(error)}); run the same command again: what is "
        "here already is not fetched twice."
    )


def _short(error: Exception) -> str:
    said = str(error).strip()
    return said.splitlines()[0] if said else type(error).__name__
