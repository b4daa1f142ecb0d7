"""What every answer of the local API must hold besides schemathesis's own checks, and names that the node under test really has."""

import os

import schemathesis

KNOWN = {
    "/v1/contacts": {"name": "bert"},
    "/v1/agents": {"name": "birds"},
    "/v1/grants": {"id": os.environ.get("KNOWN_GRANT", "")},
    "/v1/queue": {"id": os.environ.get("KNOWN_QUEUED", "")},
    "/v1/receipts": {"id": os.environ.get("KNOWN_RECEIPT", "")},
    "/v1/vaults": {"vault": "office", "name": "mail"},
    "/v1/config": {"key": "vault.lock_after_s"},
    "/v1/ping": {"who": "bert"},
}


def known(path):
    return next((names for begin, names in KNOWN.items() if path.startswith(begin)), {})


@schemathesis.serializer("application/cbor")
def plain(context, value):
    """A receipt travels as its bytes."""
    return {"data": value.data if hasattr(value, "data") else str(value).encode()}


@schemathesis.hook
def map_path_parameters(context, parameters):
    """Every other name is one that exists: random ones would never get past `not_found`."""
    if not parameters:
        return parameters
    for name, value in known(context.operation.path).items():
        if name in parameters and len(str(parameters[name])) % 2 == 0:
            parameters[name] = value
    return parameters


@schemathesis.hook
def map_body(context, body):
    """A random absolute path may be the root of this machine, and a node that serves it is busy for hours."""
    if not isinstance(body, dict):
        return body
    path = context.operation.path
    if path == "/v1/agents/serve" and str(body.get("path", "")).startswith("/"):
        body["path"] = os.environ["KNOWN_FOLDER"]
    if path == "/v1/ask" and isinstance(body.get("who"), str) and len(body["who"]) % 2 == 0:
        body["who"] = "carl/birds" if body.get("later") is True else "self/birds"
    if path == "/v1/grants" and isinstance(body.get("who"), str):
        body.update(who="bert", what="birds.ask")
    return body


@schemathesis.hook
def map_headers(context, headers):
    """A stream of events that begins at the first one has something to say at once."""
    if context.operation.path == "/v1/events" and headers and str(headers.get("Last-Event-ID", "")).isdigit():
        headers["Last-Event-ID"] = "0"
    return headers


@schemathesis.hook
def filter_case(context, case):
    """A stream that waits for events that never come has no end: all events, from the first one."""
    if case.operation.path != "/v1/events":
        return True
    wanted, last = (case.query or {}).get("filter", "*"), (case.headers or {}).get("Last-Event-ID")
    return not isinstance(wanted, str) or (wanted == "*" and (last == "0" or not str(last).isdigit()))


@schemathesis.check
def error_object(context, response, case):
    """Every answer that is no success says what happened, why, and what to do, and tells browsers not to guess."""
    assert response.headers.get("x-content-type-options") == ["nosniff"], "no nosniff"
    assert response.headers.get("cache-control") == ["no-store"], "it may be cached"
    pulse = case.operation.path in ("/healthz", "/readyz") and response.status_code == 503
    if response.status_code < 400 or pulse:
        return
    assert response.headers.get("content-type") == ["application/json"], "an error that is no JSON"
    body = response.json()
    assert list(body) == ["error"], f"no error object: {body}"
    assert set(body["error"]) == {"code", "message", "hint"}, f"other fields: {body}"
    for part, text in body["error"].items():
        assert isinstance(text, str) and text, f"an error without {part}: {body}"
