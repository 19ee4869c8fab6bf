"""From people's judgements to a frozen dataset version: reading, permission, filters, split, files, withdrawal."""
