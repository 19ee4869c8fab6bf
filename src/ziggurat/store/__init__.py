"""The store: tables, migrations, one writer, search index, audit chain. No rules."""
