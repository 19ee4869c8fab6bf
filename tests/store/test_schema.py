"""The schema: its steps give the tables of the code, forwards and back, with data in them; a newer one is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text
from tests.product.house import a_chat
from tests.stores import Databases

from ziggurat.errors import ConfigError, RunError
from ziggurat.product import chats, people, search
from ziggurat.store import backup, schema
from ziggurat.store.location import shown, store_url
from ziggurat.store.store import Store
from ziggurat.store.tables import metadata

STEP = """
from alembic import op
import sqlalchemy as sa
revision, down_revision = "9999", "{head}"
def upgrade():
    with op.batch_alter_table("folder") as batch:
        batch.add_column(sa.Column("colour", sa.String(16), nullable=False, server_default="grey"))
def downgrade():
    with op.batch_alter_table("folder") as batch:
        batch.drop_column("colour")
"""


@pytest.fixture
def later(tmp_path: Path) -> Path:
    """The steps of today and one more."""
    folder = tmp_path / "migrations"
    shutil.copytree(schema.MIGRATIONS, folder)
    (folder / "versions" / "s9999_colour.py").write_text(STEP.format(head=schema.HEAD))
    return folder


def test_the_steps_end_at_head_and_give_the_tables_of_the_code(store: Store) -> None:
    assert schema._steps(schema.MIGRATIONS)[-1] == schema.HEAD
    assert schema.version_of(store) == schema.HEAD
    with store.read() as conn:
        made = {name for name in inspect(conn).get_table_names() if not name.startswith("search_text")}
        assert made - {"alembic_version"} == set(metadata.tables)
        ours = {
            "include_name": lambda name, kind, _: (
                not (kind == "table" and str(name).startswith("search_text"))
            )
        }
        changes = compare_metadata(MigrationContext.configure(conn, opts=ours), metadata)
    extra = [c for c in changes if c[0] not in ("remove_column", "remove_index") or "tokens" not in str(c)]
    assert extra == []


def test_each_step_goes_back_and_forward_again(databases: Databases) -> None:
    store = Store.open(databases.empty())
    try:
        schema.migrate(store, "base")
        with store.read() as conn:
            assert [n for n in inspect(conn).get_table_names() if n != "alembic_version"] == []
        schema.migrate(store, schema.HEAD)
        assert a_chat(store, people.local_principal(store), ("q", "a")).title == "q"
    finally:
        store.close()


def test_a_store_with_data_goes_forward_after_a_backup_and_back(
    databases: Databases, later: Path, monkeypatch: pytest.MonkeyPatch, ziggurat_home: Path
) -> None:
    store = Store.open(databases.fresh())
    try:
        ana = people.local_principal(store)
        folder_id = _folder(store)
        chat = a_chat(store, ana, ("運河 canal", "answer"))
        chats.change_chat(store, ana, chat.id, {"folder_id": folder_id})
        schema.bring_up_to_date(store, to="9999", folder=later)
        with store.read() as conn:
            assert conn.execute(text("SELECT colour FROM folder")).scalar_one() == "grey"
        assert chats.get_chat(store, ana, chat.id).folder_id == folder_id
        assert search.search(store, ana, "canal")
        beside = store.path.parent if store.path else ziggurat_home
        (made,) = (beside / "backups").glob(f"before-upgrade-{schema.HEAD}-*")
        assert backup.verify(made)["rows"]["message"] == 2
        shutil.rmtree(beside / "backups")
        with pytest.raises(RunError, match="has schema 9999 and this Ziggurat knows up to"):
            schema.bring_up_to_date(store)
        schema.migrate(store, schema.HEAD, later)
        assert chats.get_chat(store, ana, chat.id).folder_id == folder_id  # its table was made anew
        assert [m.content for m in chats.open_chat(store, ana, chat.id).messages] == ["運河 canal", "answer"]
    finally:
        store.close()


def _folder(store: Store) -> str:
    from ziggurat.product import folders

    return folders.create_folder(store, people.local_principal(store), name="x").id


def test_a_failing_step_leaves_the_store_as_it_was(databases: Databases, later: Path) -> None:
    broken = later / "versions" / "s9999_colour.py"
    broken.write_text(
        broken.read_text().replace("def downgrade", "    raise RuntimeError('power')\ndef downgrade")
    )
    store = Store.open(databases.fresh())
    try:
        a_chat(store, people.local_principal(store), ("q", "a"))
        with pytest.raises(RuntimeError, match="power"):
            schema.bring_up_to_date(store, to="9999", folder=later)
        assert schema.version_of(store) == schema.HEAD
        with store.read() as conn:
            assert "colour" not in [column["name"] for column in inspect(conn).get_columns("folder")]
    finally:
        store.close()


def test_a_newer_store_is_refused_in_a_sentence(databases: Databases) -> None:
    address = databases.fresh()
    store = Store.open(address)
    with store.write() as conn:
        conn.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    store.close()
    with pytest.raises(RunError, match="upgrade Ziggurat"):
        Store.open(address)


def test_a_database_of_another_program_is_left_alone(databases: Databases) -> None:
    address = databases.empty()
    store = Store(store_url(address))
    with store.write() as conn:
        conn.execute(text("CREATE TABLE invoice (id INTEGER)"))
    store.close()
    with pytest.raises(RunError, match="holds other tables \\(invoice\\)"):
        Store.open(address)


def test_a_file_that_is_no_database_is_refused_and_kept(tmp_path: Path) -> None:
    file = tmp_path / "notes.db"
    file.write_bytes(b"my notes, not a database at all" * 100)
    with pytest.raises(RunError, match="cannot be opened"):
        Store.open(file)
    assert file.read_bytes().startswith(b"my notes")


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ("postgresql://u:p@h/d", "postgresql+psycopg"),
        ("postgres://u:p@h/d", "postgresql+psycopg"),
        ("sqlite:////tmp/x.db", "sqlite"),
        ("/tmp/x.db", "sqlite"),
    ],
)
def test_one_setting_names_the_store(monkeypatch: pytest.MonkeyPatch, given: str, kind: str) -> None:
    monkeypatch.setenv("ZIGGURAT_STORE", given)
    url = store_url()
    assert url.drivername == kind
    assert ":p@" not in shown(url)


def test_without_a_setting_it_is_a_private_file_in_the_home(ziggurat_home: Path) -> None:
    Store.open().close()
    file = ziggurat_home / "ziggurat.db"
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("wrong", ["mysql://u@h/d", "http://x", "sqlite://"])
def test_an_address_of_another_kind_is_refused(wrong: str) -> None:
    with pytest.raises(ConfigError):
        store_url(wrong)


def test_a_server_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot be opened"):
        Store.open(f"postgresql:///x?host={tmp_path}&user=nobody")
