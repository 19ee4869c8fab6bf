"""Who a program is: the person of its key, or the owner of this machine where there are no keys."""

from __future__ import annotations

from fastapi import Request

from ziggurat.product import people
from ziggurat.product.principal import Principal
from ziggurat.service.access.caller import caller
from ziggurat.service.http.problems import ApiError
from ziggurat.service.observe.visits import visit_of
from ziggurat.service.product.house import House, prefix_of


async def principal_of(house: House, request: Request) -> Principal:
    """
    Raises:
        ApiError: 403 for a key that belongs to nobody here, and for another machine on a server without keys.
    """
    asking = caller(request)
    if asking.quota is not None and asking.quota.principal is not None:
        return asking.quota.principal
    if asking.quota is not None:
        message = (
            "This key is in a file and belongs to no account; make one at the page (Settings, API keys)."
        )
        raise ApiError(403, message, code="key_without_person")
    if house.mode != "local" or asking.id != "":
        message = "Without keys this is for programs on this machine alone; start the server with --accounts."
        raise ApiError(403, message, code="local_only")
    request_id = visit_of(request.scope).request_id or ""
    return await house.run(people.local_principal, ip_prefix=prefix_of(request), request_id=request_id)
