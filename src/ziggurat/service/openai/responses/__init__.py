"""`/v1/responses`: conversations that the server may keep."""
