"""Requests that are wrong in some way, or nearly right: each a function of a seed and a number alone."""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

FIRST = 1_600_000_000  # seconds
IDS = [*map(str, range(1, 13)), "u1", "u2", "ä/b", "nobody"]
LONG = ["x" * 257, "x" * 20_001, "ß" * 256, "9" * 5_000, "\u202e" * 50]
WORDS = [
    "",
    " ",
    "a",
    "%",
    "|",
    ":",
    "domain:even",
    "title:Tea",
    "\0",
    "\r\n",
    "\x7f",
    "..",
    "é",
    "💥",
    "NaN",
    "inf",
    "1e5",
]
WORDS += ["0001-01-01", "9999-12-31T23:59:59.999999999Z", "2024-02-30", "2024-01-01T00:00:00+99:99", "١٢", "-0", *LONG]
# As they stand in JSON, or would.
RAW = ["NaN", "-Infinity", "1e400", "-1e-400", "9" * 400, "-" + "9" * 5_000, "true", "null", "[]", "{}", "[null]", "0"]
RAW += ["-1", "1.5", "1e2", "01", "0x10", "+1", ".5", str(2**63), str(2**64), str(-(2**63) - 1), "[" * 900 + "]" * 900]
RAW += ["[" * 30_000, '{"a":' * 30_000, '"\\ud800"', '"\\udc00\\ud800"', '"\\u0000"', '"\\x"', '"', "//", "undefined"]
RAW += ['{"item":1,"item":[]}', '"' + "y" * 70_000 + '"', str(FIRST * 1_000_000_000), "253402300800", "-62135596801"]
ENCODINGS = ["utf-16", "utf-16-le", "utf-32", "latin-1", "utf-7", "utf-8-sig", "cp037"]
TYPES = [
    "application/json; charset=utf-16",
    "text/plain",
    "application/x-www-form-urlencoded",
    "",
    "application/",
    "\xff",
]
TYPES += [
    "multipart/form-data; boundary=x",
    "application/problem+json",
    "APPLICATION/JSON",
    "application/json,text/html",
]
METHODS = ["PUT", "PATCH", "HEAD", "OPTIONS", "TRACE", "CONNECT", "get", "G\0ET", "", "POST" * 50, "PRI"]
ODD = [
    "Host: shop.example",
    "Host:",
    "Host: [",
    "Host: localhost:99999",
    "Host: localhost\r\nHost: b",
    "Expect: 100-continue",
]
ODD += [
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: eA==\r\nSec-WebSocket-Version: 13",
    "Range: bytes=0-",
]
ODD += [
    "Content-Encoding: gzip",
    "Authorization: Bearer \xff\xfe",
    "Authorization: Bearer " + "x" * 9_000,
    "X: \0",
    ": y",
]
ODD += [
    "Transfer-Encoding: gzip, chunked",
    "Upgrade: h2c",
    "Cookie: " + "a=b;" * 2_000,
    " folded: x",
    "Connection: keep-alive",
]


@dataclass(frozen=True)
class Sent:
    """Attributes:
    kind: what is wrong with it.
    whole: the server has all that was announced, so that an answer is due.
    """

    data: bytes
    kind: str
    whole: bool


def request(seed: int, number: int) -> Sent:
    """The request of this number; every kind comes equally often."""
    draw = random.Random(f"{seed}-{number}")
    kind = list(_KINDS)[number % len(_KINDS)]
    return _KINDS[kind](draw, kind)


def _http(
    method: str,
    target: str,
    body: bytes = b"",
    *headers: str,
    length: str | None = None,
    media: str = "application/json",
) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", *headers]
    if not any(line.lower().startswith("host") for line in headers):
        lines.append("Host: localhost")
    if body or length is not None:
        lines += [f"Content-Type: {media}", f"Content-Length: {len(body) if length is None else length}"]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1", "replace") + body


def _quoted(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode("utf-8", "surrogatepass"))


def _word(draw: random.Random) -> str:
    some = draw.random()
    if some < 0.4:
        return draw.choice(IDS)
    if some < 0.8:
        return draw.choice(WORDS)
    return "".join(chr(draw.randrange(1, 0x3000)) for _ in range(draw.randrange(1, 9)))


def _body(draw: random.Random) -> tuple[str, dict[str, Any]]:
    """A path, and a body that it takes."""

    def event(**more: Any) -> dict[str, Any]:
        return {"item": draw.choice(IDS), "time": FIRST + draw.randrange(10**7), **more}

    conditions: dict[str, Any] = {"k": draw.randrange(1, 1001), "at": 2 * FIRST, "exclude_seen": draw.random() < 0.5}
    conditions |= {"candidates": IDS[:9], "exclude": [1, "2"], "filter": ["domain:even"], "domain": "even"}
    some = {name: conditions[name] for name in draw.sample(list(conditions), draw.randrange(len(conditions)))}
    bodies: list[tuple[str, dict[str, Any]]] = [
        (
            "/events",
            {"events": [event(user=draw.choice(IDS), id=draw.randrange(99)) for _ in range(draw.randrange(1, 4))]},
        ),
        ("/recommend", {"history": [event() for _ in range(draw.randrange(1, 6))], **some}),
        ("/items", {"items": [{"item": draw.choice(IDS), "title": "Tea", "domain": "even"}]}),
    ]
    return draw.choice(bodies)


def _changed(draw: random.Random, value: Any, slots: list[str]) -> Any:
    """``value`` with something in it exchanged, left out, repeated, or under another name."""
    if isinstance(value, dict) and value and draw.random() < 0.85:
        name = draw.choice(list(value))
        change = draw.random()
        if change < 0.1:
            return {each: inner for each, inner in value.items() if each != name}
        if change < 0.2:
            return {**value, _word(draw): _changed(draw, value[name], slots)}
        return {**value, name: _changed(draw, value[name], slots)}
    if isinstance(value, list) and value and draw.random() < 0.85:
        place = draw.randrange(len(value))
        if draw.random() < 0.05:
            return value * draw.choice([0, 2, 300, 1_100])
        return [*value[:place], _changed(draw, value[place], slots), *value[place + 1 :]]
    if draw.random() < 0.3:
        return _word(draw)
    slots.append(draw.choice(RAW))
    return f"<slot {len(slots) - 1}>"


def _json(draw: random.Random) -> tuple[str, str]:
    path, body = _body(draw)
    slots: list[str] = []
    for _ in range(draw.choice([0, 1, 1, 1, 2, 4])):
        body = _changed(draw, body, slots)
    text = json.dumps(body, ensure_ascii=draw.random() < 0.5)
    for place, raw in enumerate(slots):
        text = text.replace(f'"<slot {place}>"', raw)
    if draw.random() < 0.1:  # a name twice
        text = text.replace("{", '{"item": 1, "events": [], "history": null, ', 1)
    return path, text


def _damaged(draw: random.Random, data: bytes) -> bytes:
    """Bytes exchanged, cut out, repeated or put in, a few times."""
    result = bytearray(data)
    for _ in range(draw.choice([1, 1, 2, 5, 20])):
        place = draw.randrange(len(result) + 1)
        end = place + draw.choice([1, 1, 2, 8, 64])
        result[place:end] = draw.choice(
            [
                b"",
                draw.randbytes(1),
                draw.randbytes(4),
                b"\0",
                b"\r\n",
                b"\xff",
                bytes(result[place:end]) * 2,
                b"\xed\xa0\x80",
            ]
        )
    return bytes(result)


def _of_json(draw: random.Random, kind: str) -> Sent:
    path, text = _json(draw)
    return Sent(_http("POST", path, text.encode("utf-8", "surrogatepass")), kind, True)


def _of_text(draw: random.Random, kind: str) -> Sent:
    path, text = _json(draw)
    change = draw.random()
    if change < 0.3:
        body = text.encode(draw.choice(ENCODINGS), "replace")
    elif change < 0.5:
        body = text.encode("utf-8", "surrogatepass")[: draw.randrange(len(text) + 1)]
    else:
        body = _damaged(draw, text.encode("utf-8", "surrogatepass"))
    media = draw.choice(TYPES) if draw.random() < 0.2 else "application/json"
    return Sent(_http("POST", path, body or b" ", media=media), kind, True)


def _of_target(draw: random.Random, kind: str) -> Sent:
    names = ["k", "at", "exclude_seen", "domain", "filter", "candidates", "exclude", "query", "id", "limit", ""]
    names[-1] = _word(draw)
    pairs = [f"{_quoted(draw.choice(names))}={_quoted(_word(draw))}" for _ in range(draw.choice([0, 1, 2, 5, 60]))]
    user = _quoted(_word(draw))
    target = draw.choice(
        [f"/users/{user}/recommendations", f"/users/{user}/state", "/items", f"/users/{user}", f"/{user}"]
    )
    if pairs:
        target += "?" + "&".join(pairs)
    method = draw.choice(["GET"] * 6 + ["DELETE"])
    if method == "DELETE" and draw.random() < 0.5:
        target = f"/items/{user}"
    if draw.random() < 0.2:
        spoilt = _damaged(draw, target.encode()).decode("latin-1")
        target = "".join(letter for letter in spoilt if letter not in " \r\n\0") or "/"
    return Sent(_http(method, target), kind, target.isascii() and target.isprintable())


def _of_headers(draw: random.Random, kind: str) -> Sent:
    path, text = _json(draw)
    method = draw.choice(METHODS) if draw.random() < 0.3 else "POST"
    target = draw.choice(
        [path, path, "/", "/metrics", "/openapi.json", "/admin/reload", "*", "http://localhost/items", "//"]
    )
    method = "GET" if target == "/admin/reload" else method
    return Sent(
        _http(method, target, text.encode("utf-8", "replace"), *draw.sample(ODD, draw.randrange(1, 4))), kind, False
    )


def _of_lengths(draw: random.Random, kind: str) -> Sent:
    path, text = _json(draw)
    body = text.encode("utf-8", "surrogatepass")
    if draw.random() < 0.5:
        lengths = [
            str(len(body) + 9),
            str(len(body) // 2),
            "-1",
            "0",
            "",
            "x",
            "1e3",
            "9" * 30,
            f"{len(body)}, {len(body)}",
        ]
        lengths += [
            f"{len(body)}\r\nContent-Length: 3",
            f"{len(body)}\r\nTransfer-Encoding: chunked",
            "+5",
            "２",
            "1 1",
        ]
        return Sent(_http("POST", path, body, length=draw.choice(lengths)), kind, False)
    size = draw.choice([1, 7, 100, 5_000])
    chunks = [body[first : first + size] for first in range(0, len(body), size)][:400]
    sent = b"".join(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n" for chunk in chunks) + b"0\r\n\r\n"
    change = draw.random()
    if change < 0.4:
        sent = sent[: draw.randrange(len(sent) + 1)]
    elif change < 0.8:
        sent = _damaged(draw, sent)
    head = _http("POST", path, b"", "Transfer-Encoding: chunked", "Content-Type: application/json")
    return Sent(head + sent, kind, False)


def _of_bytes(draw: random.Random, kind: str) -> Sent:
    sent = draw.choice([_of_json, _of_target])(draw, kind).data
    if draw.random() < 0.3:
        return Sent(sent[: draw.randrange(len(sent))], kind, False)
    return Sent(_damaged(draw, sent), kind, False)


def _of_noise(draw: random.Random, kind: str) -> Sent:
    start = draw.choice(
        [b"", b"", b"GET ", b"POST /events HTTP/1.1\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01"]
    )
    return Sent(start + draw.randbytes(draw.choice([0, 1, 20, 300, 70_000])), kind, False)


_KINDS: dict[str, Callable[[random.Random, str], Sent]] = {
    "json": _of_json,
    "text": _of_text,
    "target": _of_target,
    "headers": _of_headers,
    "lengths": _of_lengths,
    "bytes": _of_bytes,
    "noise": _of_noise,
}
