"""Raw text for stage 1: any file or folder becomes documents.

Rows (`.jsonl`, `.csv`, `.parquet`, ...) are read from their text column; `.txt` is one document, or several where
lines `<|endoftext|>` separate them; Markdown loses its front matter, HTML its tags; the language of source code goes to
`meta`; PDF needs the package pypdf. Left out here: cleaning, filtering, deduplication.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ziggurat.corpus.html import html_text
from ziggurat.corpus.rows import Row, kind_of, read_rows, read_text
from ziggurat.corpus.sniff import ROW_KINDS, format_of_suffix, sniff
from ziggurat.data_files import without_surrogates
from ziggurat.errors import DataError
from ziggurat.records import Document, Notes, Origin, Reject, read_records

SEPARATOR = "<|endoftext|>"  # between documents of one plain text file, as several public corpora have it
MARKDOWN = (".md", ".markdown", ".mdx")
HTML = (".html", ".htm", ".xhtml")
LANGUAGES = {
    ".py": "python", ".js": "javascript", ".ts": "typescript", ".jsx": "javascript", ".tsx": "typescript",
    ".java": "java", ".c": "c", ".h": "c", ".cpp": "c++", ".cc": "c++", ".hpp": "c++", ".cu": "cuda", ".rs": "rust",
    ".go": "go", ".rb": "ruby", ".php": "php", ".cs": "c#", ".swift": "swift", ".kt": "kotlin", ".scala": "scala",
    ".sh": "shell", ".sql": "sql", ".r": "r", ".jl": "julia", ".lua": "lua", ".hs": "haskell", ".ml": "ocaml",
    ".svelte": "svelte", ".vue": "vue", ".css": "css", ".tex": "latex", ".yaml": "yaml", ".yml": "yaml",
    ".toml": "toml",
}  # fmt: skip


def read_documents(
    paths: str | Path | Iterable[str | Path], *, skip_bad_rows: bool = False, notes: Notes | None = None
) -> Iterator[Document]:
    """Every document of files and folders, in the order given; folders in the order of their file names.

    `notes` counts the rows that were mended or left out, and the fields that were not used.
    """
    notes = Notes() if notes is None else notes
    several = [paths] if isinstance(paths, str | Path) else list(paths)
    if not several:
        raise DataError("no file of text was given; name at least one.")
    for path in map(Path, several):
        if not path.exists():
            raise DataError("no such file or folder; check the path.", path=path)
        files = sorted(_files(path)) if path.is_dir() else [path]
        if not files:
            raise DataError("the folder holds no file; name one that does.", path=path)
        for file in files:
            yield from _documents(file, skip_bad_rows, notes)


def _files(folder: Path) -> Iterator[Path]:
    for file in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
        if file.is_file() and not hidden:
            yield file


def _documents(path: Path, skip_bad_rows: bool, notes: Notes) -> Iterator[Document]:
    kind = kind_of(path)
    if kind in ROW_KINDS or format_of_suffix(path) is not None:
        yield from _from_rows(path, skip_bad_rows, notes)
        return
    if kind == ".pdf":
        yield Document(text=without_surrogates(_pdf_text(path), notes), source=path.name)
        return
    text = read_text(path)
    if "\0" in text:
        raise DataError("is not text (it holds zero bytes); leave it out.", path=path)
    if not text.strip():
        raise DataError("the file is empty; expected some text.", path=path)
    if kind in HTML:
        title, text = html_text(text)
        yield Document(text=text, source=path.name, meta={"title": title} if title else None)
    elif kind in MARKDOWN:
        yield Document(text=_without_front_matter(text), source=path.name)
    elif kind in LANGUAGES:
        yield Document(text=text, source=path.name, meta={"language": LANGUAGES[kind]})
    elif SEPARATOR in text:
        for part in text.split(SEPARATOR):
            if part.strip():
                yield Document(text=part.strip("\r\n"), source=path.name)
    else:
        yield Document(text=text, source=path.name)


def _from_rows(path: Path, skip_bad_rows: bool, notes: Notes) -> Iterator[Document]:
    sniffed = sniff(path)
    if sniffed.native is Document:
        rejects: list[Reject] = []
        for document in read_records(
            path, Document, skip_bad_rows=skip_bad_rows, rejects=rejects, notes=notes
        ):
            yield document if document.source else document.model_copy(update={"source": path.name})
        if rejects:
            notes.dropped["bad rows skipped"] += len(rejects)
        return
    if sniffed.text_column is None:
        raise DataError(
            f"holds conversations ({sniffed.name}), not raw text; they are for the later stages, and stage 1 reads "
            f'rows with "text".',
            path=path,
        )
    for line, row in read_rows(path, notes):
        text = _joined(row.get(sniffed.text_column))
        if text is None and not skip_bad_rows:
            raise DataError("expected text here.", path=path, line=line, field=sniffed.text_column)
        if text and text.strip():
            yield _document(row, sniffed.text_column, text, path).at(Origin(path, line))
        else:
            notes.dropped["no text" if text is None else "an empty text"] += 1


def _joined(value: Any) -> str | None:
    """Text, or a list of lines."""
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        return "\n".join(value)
    return value if isinstance(value, str) else None


def _document(row: Row, column: str, text: str, path: Path) -> Document:
    rest = {str(key): value for key, value in row.items() if key not in (column, "source", "license", "lang")}

    def named(key: str) -> str | None:
        value = row.get(key)
        return value if isinstance(value, str) and value else None

    return Document(
        text=text,
        source=named("source") or path.name,
        license=named("license"),
        lang=named("lang"),
        meta=rest or None,
    )


def _without_front_matter(text: str) -> str:
    """Drops the YAML between `---` lines at the top."""
    if text.startswith("---\n"):
        _, found, after = text[4:].partition("\n---\n")
        if found:
            return after.lstrip("\n")
    return text


def _pdf_text(path: Path) -> str:
    try:
        pypdf: Any = importlib.import_module("pypdf")
    except ImportError:
        raise DataError("reading PDF needs the package pypdf: pip install pypdf.", path=path) from None
    try:
        pages = [page.extract_text() for page in pypdf.PdfReader(path).pages]
    except Exception as error:  # pypdf raises many kinds
        raise DataError(f"is a PDF that cannot be read ({error}).", path=path) from None
    text = "\n\n".join(page.strip() for page in pages if page.strip())
    if not text:
        raise DataError(
            "is a PDF without text (scanned pages?); run text recognition on it first.", path=path
        )
    return text
