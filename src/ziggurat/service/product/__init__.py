"""The chat product over HTTP: `/api/...` for the page. Rules are in `ziggurat.product`; nothing here decides one."""
