"""The first schema, as it was: tables change in later steps, never here."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None

ID = sa.String(64)
JSON = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
SEQUENCE = sa.Integer().with_variant(sa.BigInteger(), "postgresql")

SQLITE = (
    "CREATE VIRTUAL TABLE search_text USING fts5(tokens, detail=none, tokenize='unicode61 remove_diacritics 0')",
    "CREATE TRIGGER audit_event_no_update BEFORE UPDATE ON audit_event "
    "BEGIN SELECT RAISE(ABORT, 'audit_event is append only'); END",
    "CREATE TRIGGER audit_event_no_delete BEFORE DELETE ON audit_event "
    "BEGIN SELECT RAISE(ABORT, 'audit_event is append only'); END",
)
POSTGRESQL = (
    "ALTER TABLE search_entry ADD COLUMN tokens tsvector",
    "CREATE INDEX ix_search_entry_tokens ON search_entry USING gin (tokens)",
    "CREATE FUNCTION audit_event_append_only() RETURNS trigger LANGUAGE plpgsql AS "
    "$$ BEGIN RAISE EXCEPTION 'audit_event is append only'; END $$",
    "CREATE TRIGGER audit_event_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_event "
    "FOR EACH STATEMENT EXECUTE FUNCTION audit_event_append_only()",
)


def upgrade() -> None:
    for make in TABLES:
        make()
    bind = op.get_bind()
    for statement in SQLITE if bind.dialect.name == "sqlite" else POSTGRESQL:
        bind.exec_driver_sql(statement)


def downgrade() -> None:
    """There is nothing before it: an empty database."""
    bind = op.get_bind()
    if bind.dialect.name == "sqlite":
        op.drop_table("search_text")
    for name in reversed(NAMES):
        op.drop_table(name)
    if bind.dialect.name == "postgresql":
        op.execute("DROP FUNCTION audit_event_append_only()")


def _audit_event() -> None:
    op.create_table(
        "audit_event",
        sa.Column("seq", SEQUENCE, autoincrement=False, nullable=False),
        sa.Column("workspace_id", ID, nullable=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("actor_kind", sa.String(length=16), nullable=False),
        sa.Column("actor_id", ID, nullable=True),
        sa.Column("action", ID, nullable=False),
        sa.Column("object_kind", sa.String(length=32), nullable=True),
        sa.Column("object_id", ID, nullable=True),
        sa.Column("detail", JSON, nullable=False),
        sa.Column("before_hash", ID, nullable=True),
        sa.Column("after_hash", ID, nullable=True),
        sa.Column("ip_prefix", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("prev_hash", ID, nullable=False),
        sa.Column("hash", ID, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_audit_event"),
    )
    op.create_index("ix_audit_event_actor_id", "audit_event", ["actor_id"], unique=False)
    op.create_index("ix_audit_event_workspace_id", "audit_event", ["workspace_id"], unique=False)


def _login_attempt() -> None:
    op.create_table(
        "login_attempt",
        sa.Column("id", ID, nullable=False),
        sa.Column("who", ID, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_login_attempt"),
    )
    op.create_index("ix_login_attempt_who_created_at", "login_attempt", ["who", "created_at"], unique=False)


def _person() -> None:
    op.create_table(
        "person",
        sa.Column("id", ID, nullable=False),
        sa.Column("email_norm", sa.String(length=320), nullable=True),
        sa.Column("email", sa.String(length=320), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("locale", sa.String(length=16), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("preferences", JSON, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_person"),
        sa.UniqueConstraint("email_norm", name="uq_person_email_norm"),
    )


def _secret() -> None:
    op.create_table(
        "secret",
        sa.Column("name", ID, nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_secret"),
    )


def _tombstone() -> None:
    op.create_table(
        "tombstone",
        sa.Column("object_id", ID, nullable=False),
        sa.Column("object_kind", sa.String(length=32), nullable=False),
        sa.Column("workspace_id", ID, nullable=True),
        sa.Column("deleted_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("object_id", name="pk_tombstone"),
    )
    op.create_index("ix_tombstone_workspace_id", "tombstone", ["workspace_id"], unique=False)


def _workspace() -> None:
    op.create_table(
        "workspace",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("settings", JSON, nullable=False),
        sa.Column("retention_days", sa.Integer(), nullable=True),
        sa.Column("rules_version", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_workspace"),
    )


def _api_key() -> None:
    op.create_table(
        "api_key",
        sa.Column("id", ID, nullable=False),
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("person_id", ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("prefix", sa.String(length=16), nullable=False),
        sa.Column("hash", ID, nullable=False),
        sa.Column("scopes", JSON, nullable=False),
        sa.Column("model_allow", JSON, nullable=True),
        sa.Column("limits", JSON, nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("last_used_at", sa.BigInteger(), nullable=True),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name="fk_api_key_person_id_person", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspace.id"], name="fk_api_key_workspace_id_workspace", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_api_key"),
        sa.UniqueConstraint("hash", name="uq_api_key_hash"),
    )
    op.create_index("ix_api_key_person_id", "api_key", ["person_id"], unique=False)
    op.create_index("ix_api_key_workspace_id", "api_key", ["workspace_id"], unique=False)


def _consent() -> None:
    op.create_table(
        "consent",
        sa.Column("id", ID, nullable=False),
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("person_id", ID, nullable=False),
        sa.Column("purpose", sa.String(length=32), nullable=False),
        sa.Column("text_version", sa.Integer(), nullable=False),
        sa.Column("given_at", sa.BigInteger(), nullable=False),
        sa.Column("withdrawn_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name="fk_consent_person_id_person", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspace.id"], name="fk_consent_workspace_id_workspace", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_consent"),
    )
    op.create_index("ix_consent_person_id", "consent", ["person_id"], unique=False)
    op.create_index("ix_consent_workspace_id", "consent", ["workspace_id"], unique=False)
    op.create_index(
        "uq_consent_open",
        "consent",
        ["person_id", "purpose"],
        unique=True,
        sqlite_where=sa.text("withdrawn_at IS NULL"),
        postgresql_where=sa.text("withdrawn_at IS NULL"),
    )


def _folder() -> None:
    op.create_table(
        "folder",
        sa.Column("id", ID, nullable=False),
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("person_id", ID, nullable=False),
        sa.Column("parent_id", ID, nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["parent_id"],
            ["folder.id"],
            name="fk_folder_parent_id_folder",
            ondelete="SET NULL",
            deferrable=True,
        ),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name="fk_folder_person_id_person", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspace.id"], name="fk_folder_workspace_id_workspace", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_folder"),
    )
    op.create_index("ix_folder_parent_id", "folder", ["parent_id"], unique=False)
    op.create_index("ix_folder_person_id", "folder", ["person_id"], unique=False)
    op.create_index("ix_folder_workspace_id", "folder", ["workspace_id"], unique=False)


def _guard_rule() -> None:
    op.create_table(
        "guard_rule",
        sa.Column("id", ID, nullable=False),
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("pattern", sa.Text(), nullable=True),
        sa.Column("words", JSON, nullable=False),
        sa.Column("categories", JSON, nullable=False),
        sa.Column("topic", ID, nullable=True),
        sa.Column("stage", sa.String(length=8), nullable=False),
        sa.Column("action", sa.String(length=8), nullable=False),
        sa.Column("templates", JSON, nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("changed_by", ID, nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["changed_by"], ["person.id"], name="fk_guard_rule_changed_by_person", ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspace.id"],
            name="fk_guard_rule_workspace_id_workspace",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_guard_rule"),
    )
    op.create_index("ix_guard_rule_workspace_id", "guard_rule", ["workspace_id"], unique=False)


def _identity() -> None:
    op.create_table(
        "identity",
        sa.Column("id", ID, nullable=False),
        sa.Column("person_id", ID, nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name="fk_identity_person_id_person", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_identity"),
        sa.UniqueConstraint("provider", "subject", name="uq_identity_provider_subject"),
    )
    op.create_index("ix_identity_person_id", "identity", ["person_id"], unique=False)


def _invitation() -> None:
    op.create_table(
        "invitation",
        sa.Column("id", ID, nullable=False),
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("invited_by", ID, nullable=True),
        sa.Column("email_norm", sa.String(length=320), nullable=True),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("token_hash", ID, nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["invited_by"], ["person.id"], name="fk_invitation_invited_by_person", ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspace.id"],
            name="fk_invitation_workspace_id_workspace",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_invitation"),
        sa.UniqueConstraint("token_hash", name="uq_invitation_token_hash"),
    )
    op.create_index("ix_invitation_workspace_id", "invitation", ["workspace_id"], unique=False)


def _login_session() -> None:
    op.create_table(
        "login_session",
        sa.Column("id", ID, nullable=False),
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("person_id", ID, nullable=False),
        sa.Column("token_hash", ID, nullable=False),
        sa.Column("previous_hash", ID, nullable=True),
        sa.Column("rotated_at", sa.BigInteger(), nullable=False),
        sa.Column("csrf", sa.Text(), nullable=False),
        sa.Column("last_seen_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("logged_in_at", sa.BigInteger(), nullable=False),
        sa.Column("ip_prefix", sa.Text(), nullable=False),
        sa.Column("user_agent", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name="fk_login_session_person_id_person", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspace.id"],
            name="fk_login_session_workspace_id_workspace",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_login_session"),
        sa.UniqueConstraint("token_hash", name="uq_login_session_token_hash"),
    )
    op.create_index("ix_login_session_person_id", "login_session", ["person_id"], unique=False)
    op.create_index("ix_login_session_previous_hash", "login_session", ["previous_hash"], unique=False)
    op.create_index("ix_login_session_workspace_id", "login_session", ["workspace_id"], unique=False)


def _membership() -> None:
    op.create_table(
        "membership",
        sa.Column("person_id", ID, nullable=False),
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("plan", sa.String(length=32), nullable=True),
        sa.Column("tokens_per_day", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name="fk_membership_person_id_person", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspace.id"],
            name="fk_membership_workspace_id_workspace",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("person_id", "workspace_id", name="pk_membership"),
    )
    op.create_index("ix_membership_workspace_id", "membership", ["workspace_id"], unique=False)


def _password() -> None:
    op.create_table(
        "password",
        sa.Column("person_id", ID, nullable=False),
        sa.Column("phc", sa.Text(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name="fk_password_person_id_person", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("person_id", name="pk_password"),
    )


def _persona() -> None:
    op.create_table(
        "persona",
        sa.Column("id", ID, nullable=False),
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("person_id", ID, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("shared", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name="fk_persona_person_id_person", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspace.id"], name="fk_persona_workspace_id_workspace", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_persona"),
    )
    op.create_index("ix_persona_person_id", "persona", ["person_id"], unique=False)
    op.create_index("ix_persona_workspace_id", "persona", ["workspace_id"], unique=False)


def _usage_counter() -> None:
    op.create_table(
        "usage_counter",
        sa.Column("principal", ID, nullable=False),
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("person_id", ID, nullable=False),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=False),
        sa.Column("completion_tokens", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name="fk_usage_counter_person_id_person", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspace.id"],
            name="fk_usage_counter_workspace_id_workspace",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("principal", "day", name="pk_usage_counter"),
    )
    op.create_index("ix_usage_counter_person_id", "usage_counter", ["person_id"], unique=False)
    op.create_index("ix_usage_counter_workspace_id", "usage_counter", ["workspace_id"], unique=False)


def _chat() -> None:
    op.create_table(
        "chat",
        sa.Column("id", ID, nullable=False),
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("person_id", ID, nullable=False),
        sa.Column("folder_id", ID, nullable=True),
        sa.Column("persona_id", ID, nullable=True),
        sa.Column("persona_version", sa.Integer(), nullable=True),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("titled", sa.Boolean(), nullable=False),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("system_prompt", sa.Text(), nullable=True),
        sa.Column("settings", JSON, nullable=False),
        sa.Column("data_use", sa.Boolean(), nullable=False),
        sa.Column("pinned", sa.Boolean(), nullable=False),
        sa.Column("archived", sa.Boolean(), nullable=False),
        sa.Column("deleted_at", sa.BigInteger(), nullable=True),
        sa.Column("active_leaf_id", ID, nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["folder_id"], ["folder.id"], name="fk_chat_folder_id_folder", ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name="fk_chat_person_id_person", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["persona_id"], ["persona.id"], name="fk_chat_persona_id_persona", ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspace.id"], name="fk_chat_workspace_id_workspace", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_chat"),
    )
    op.create_index("ix_chat_folder_id", "chat", ["folder_id"], unique=False)
    op.create_index(
        "ix_chat_list", "chat", ["person_id", "archived", "pinned", "updated_at", "id"], unique=False
    )
    op.create_index("ix_chat_persona_id", "chat", ["persona_id"], unique=False)
    op.create_index(
        "ix_chat_trash",
        "chat",
        ["person_id", "deleted_at"],
        unique=False,
        sqlite_where=sa.text("deleted_at IS NOT NULL"),
        postgresql_where=sa.text("deleted_at IS NOT NULL"),
    )
    op.create_index("ix_chat_workspace_id", "chat", ["workspace_id"], unique=False)


def _persona_version() -> None:
    op.create_table(
        "persona_version",
        sa.Column("persona_id", ID, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("system_prompt", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("settings", JSON, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["persona_id"], ["persona.id"], name="fk_persona_version_persona_id_persona", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("persona_id", "version", name="pk_persona_version"),
    )


def _message() -> None:
    op.create_table(
        "message",
        sa.Column("id", ID, nullable=False),
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("chat_id", ID, nullable=False),
        sa.Column("parent_id", ID, nullable=True),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("reasoning", sa.Text(), nullable=True),
        sa.Column("tool_calls", JSON, nullable=True),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("finish_reason", sa.String(length=32), nullable=True),
        sa.Column("usage", JSON, nullable=True),
        sa.Column("settings", JSON, nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=True),
        sa.Column("guard", JSON, nullable=True),
        sa.Column("hashes", JSON, nullable=True),
        sa.Column("lang", sa.String(length=8), nullable=True),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("edited", sa.Boolean(), nullable=False),
        sa.Column("client_id", sa.String(length=128), nullable=True),
        sa.Column("pair_id", ID, nullable=True),
        sa.Column("hidden_model", sa.Boolean(), nullable=False),
        sa.Column("chosen_how", JSON, nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["chat_id", "parent_id"],
            ["message.chat_id", "message.id"],
            name="fk_message_chat_id_parent_id_message",
            ondelete="CASCADE",
            deferrable=True,
        ),
        sa.ForeignKeyConstraint(["chat_id"], ["chat.id"], name="fk_message_chat_id_chat", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspace.id"], name="fk_message_workspace_id_workspace", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_message"),
        sa.UniqueConstraint("chat_id", "client_id", name="uq_message_chat_id_client_id"),
        sa.UniqueConstraint("chat_id", "id", name="uq_message_chat_id_id"),
    )
    op.create_index("ix_message_children", "message", ["chat_id", "parent_id", "id"], unique=False)
    op.create_index("ix_message_pair_id", "message", ["pair_id"], unique=False)
    op.create_index("ix_message_workspace_id", "message", ["workspace_id"], unique=False)


def _share() -> None:
    op.create_table(
        "share",
        sa.Column("id", ID, nullable=False),
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("person_id", ID, nullable=False),
        sa.Column("chat_id", ID, nullable=False),
        sa.Column("token_hash", ID, nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("snapshot", JSON, nullable=True),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.Column("views", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["chat_id"], ["chat.id"], name="fk_share_chat_id_chat", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name="fk_share_person_id_person", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspace.id"], name="fk_share_workspace_id_workspace", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_share"),
        sa.UniqueConstraint("token_hash", name="uq_share_token_hash"),
    )
    op.create_index("ix_share_chat_id", "share", ["chat_id"], unique=False)
    op.create_index("ix_share_person_id", "share", ["person_id"], unique=False)
    op.create_index("ix_share_workspace_id", "share", ["workspace_id"], unique=False)


def _generation() -> None:
    op.create_table(
        "generation",
        sa.Column("id", ID, nullable=False),
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("person_id", ID, nullable=False),
        sa.Column("chat_id", ID, nullable=False),
        sa.Column("message_id", ID, nullable=False),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("base_chars", sa.Integer(), nullable=False),
        sa.Column("heartbeat_at", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("error", JSON, nullable=True),
        sa.Column("ttft_ms", JSON, nullable=True),
        sa.Column("tokens", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["chat_id"], ["chat.id"], name="fk_generation_chat_id_chat", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["message_id"], ["message.id"], name="fk_generation_message_id_message", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name="fk_generation_person_id_person", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspace.id"],
            name="fk_generation_workspace_id_workspace",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_generation"),
    )
    op.create_index("ix_generation_chat_id", "generation", ["chat_id"], unique=False)
    op.create_index("ix_generation_message_id", "generation", ["message_id"], unique=False)
    op.create_index("ix_generation_person_id", "generation", ["person_id"], unique=False)
    op.create_index(
        "ix_generation_running",
        "generation",
        ["status", "heartbeat_at"],
        unique=False,
        sqlite_where=sa.text("status = 'running'"),
        postgresql_where=sa.text("status = 'running'"),
    )
    op.create_index("ix_generation_workspace_id", "generation", ["workspace_id"], unique=False)


def _held_answer() -> None:
    op.create_table(
        "held_answer",
        sa.Column("id", ID, nullable=False),
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("person_id", ID, nullable=True),
        sa.Column("chat_id", ID, nullable=True),
        sa.Column("message_id", ID, nullable=True),
        sa.Column("rule_id", sa.String(length=80), nullable=True),
        sa.Column("stage", sa.String(length=8), nullable=False),
        sa.Column("prompt", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("decision", sa.String(length=16), nullable=True),
        sa.Column("decided_by", ID, nullable=True),
        sa.Column("decided_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["chat_id"], ["chat.id"], name="fk_held_answer_chat_id_chat", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["decided_by"], ["person.id"], name="fk_held_answer_decided_by_person", ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["message_id"], ["message.id"], name="fk_held_answer_message_id_message", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name="fk_held_answer_person_id_person", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspace.id"],
            name="fk_held_answer_workspace_id_workspace",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_held_answer"),
    )
    op.create_index("ix_held_answer_chat_id", "held_answer", ["chat_id"], unique=False)
    op.create_index("ix_held_answer_message_id", "held_answer", ["message_id"], unique=False)
    op.create_index("ix_held_answer_open", "held_answer", ["workspace_id", "decision", "id"], unique=False)
    op.create_index("ix_held_answer_person_id", "held_answer", ["person_id"], unique=False)
    op.create_index("ix_held_answer_workspace_id", "held_answer", ["workspace_id"], unique=False)


def _judgement() -> None:
    op.create_table(
        "judgement",
        sa.Column("id", ID, nullable=False),
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("person_id", ID, nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("chat_id", ID, nullable=True),
        sa.Column("message_id", ID, nullable=True),
        sa.Column("message_ids", JSON, nullable=False),
        sa.Column("value", JSON, nullable=False),
        sa.Column("prompt", JSON, nullable=False),
        sa.Column("completions", JSON, nullable=False),
        sa.Column("shown", JSON, nullable=False),
        sa.Column("chosen_how", JSON, nullable=False),
        sa.Column("sampling", JSON, nullable=False),
        sa.Column("hashes", JSON, nullable=False),
        sa.Column("guideline", sa.Text(), nullable=True),
        sa.Column("consent_id", ID, nullable=True),
        sa.Column("consents", JSON, nullable=False),
        sa.Column("data_use", sa.Boolean(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=True),
        sa.Column("superseded_by", ID, nullable=True),
        sa.Column("withdrawn_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["chat_id"], ["chat.id"], name="fk_judgement_chat_id_chat", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["consent_id"], ["consent.id"], name="fk_judgement_consent_id_consent", ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["message_id"], ["message.id"], name="fk_judgement_message_id_message", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name="fk_judgement_person_id_person", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspace.id"], name="fk_judgement_workspace_id_workspace", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_judgement"),
    )
    op.create_index("ix_judgement_chat_id", "judgement", ["chat_id"], unique=False)
    op.create_index("ix_judgement_kind", "judgement", ["workspace_id", "kind", "id"], unique=False)
    op.create_index("ix_judgement_person", "judgement", ["person_id", "id"], unique=False)
    op.create_index("ix_judgement_workspace_id", "judgement", ["workspace_id"], unique=False)
    op.create_index(
        "uq_judgement_current",
        "judgement",
        ["message_id", "person_id", "kind"],
        unique=True,
        sqlite_where=sa.text("superseded_by IS NULL AND withdrawn_at IS NULL AND kind <> 'report'"),
        postgresql_where=sa.text("superseded_by IS NULL AND withdrawn_at IS NULL AND kind <> 'report'"),
    )


def _search_entry() -> None:
    op.create_table(
        "search_entry",
        sa.Column("id", SEQUENCE, autoincrement=True, nullable=False),
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("person_id", ID, nullable=False),
        sa.Column("chat_id", ID, nullable=False),
        sa.Column("message_id", ID, nullable=True),
        sa.ForeignKeyConstraint(
            ["chat_id"], ["chat.id"], name="fk_search_entry_chat_id_chat", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["message_id"], ["message.id"], name="fk_search_entry_message_id_message", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name="fk_search_entry_person_id_person", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspace.id"],
            name="fk_search_entry_workspace_id_workspace",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_search_entry"),
    )
    op.create_index("ix_search_entry_chat", "search_entry", ["chat_id", "message_id"], unique=False)
    op.create_index("ix_search_entry_message_id", "search_entry", ["message_id"], unique=False)
    op.create_index("ix_search_entry_person_id", "search_entry", ["person_id"], unique=False)
    op.create_index("ix_search_entry_workspace_id", "search_entry", ["workspace_id"], unique=False)


def _generation_event() -> None:
    op.create_table(
        "generation_event",
        sa.Column("generation_id", ID, nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("event", JSON, nullable=False),
        sa.ForeignKeyConstraint(
            ["generation_id"],
            ["generation.id"],
            name="fk_generation_event_generation_id_generation",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("generation_id", "seq", name="pk_generation_event"),
        sqlite_with_rowid=False,
    )


def _judged_message() -> None:
    op.create_table(
        "judged_message",
        sa.Column("judgement_id", ID, nullable=False),
        sa.Column("message_id", ID, nullable=False),
        sa.ForeignKeyConstraint(
            ["judgement_id"],
            ["judgement.id"],
            name="fk_judged_message_judgement_id_judgement",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["message_id"], ["message.id"], name="fk_judged_message_message_id_message", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("judgement_id", "message_id", name="pk_judged_message"),
    )
    op.create_index("ix_judged_message_message_id", "judged_message", ["message_id"], unique=False)


TABLES = (
    _audit_event,
    _login_attempt,
    _person,
    _secret,
    _tombstone,
    _workspace,
    _api_key,
    _consent,
    _folder,
    _guard_rule,
    _identity,
    _invitation,
    _login_session,
    _membership,
    _password,
    _persona,
    _usage_counter,
    _chat,
    _persona_version,
    _message,
    _share,
    _generation,
    _held_answer,
    _judgement,
    _search_entry,
    _generation_event,
    _judged_message,
)
NAMES = (
    "audit_event",
    "login_attempt",
    "person",
    "secret",
    "tombstone",
    "workspace",
    "api_key",
    "consent",
    "folder",
    "guard_rule",
    "identity",
    "invitation",
    "login_session",
    "membership",
    "password",
    "persona",
    "usage_counter",
    "chat",
    "persona_version",
    "message",
    "share",
    "generation",
    "held_answer",
    "judgement",
    "search_entry",
    "generation_event",
    "judged_message",
)
