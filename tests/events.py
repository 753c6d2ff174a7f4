"""A small table of events for the tests from end to end: 30 users count through 12 items, one a day."""

import pyarrow as pa

USERS, ITEMS, LENGTH, DAY = 30, 12, 12, 86_400
FIRST = 1_600_000_000
# Learns next to nothing, in no time at all.
TINY = {
    "model.d_model": 8,
    "model.n_layers": 1,
    "model.n_heads": 2,
    "model.d_state": 4,
    "train.epochs": 1,
    "train.max_len": 20,
}
TINY_SET = [word for key, value in TINY.items() for word in ("--set", f"{key}={value}")]  # for the command line


def event_table(users: int = USERS, length: int = LENGTH, *, items: int = ITEMS, text: bool = False) -> pa.Table:
    """Users from 1 and items from 1 on (``text``: u1, i1 ...), in order of time, seconds since 1970."""
    rows = [
        (user, (user + day) % items + 1, FIRST + day * DAY + user) for day in range(length) for user in range(users)
    ]
    columns = {
        "user": [f"u{user + 1}" if text else user + 1 for user, _, _ in rows],
        "item": [f"i{item}" if text else item for _, item, _ in rows],
        "time": [time for _, _, time in rows],
    }
    return pa.table(columns)


def history(user: int, length: int = LENGTH) -> list[int]:
    """Item ids of a user (from 1), oldest first."""
    return [(user - 1 + day) % ITEMS + 1 for day in range(length)]


def write_csv(path, table: pa.Table):
    lines = [",".join(table.column_names), *(",".join(map(str, row.values())) for row in table.to_pylist())]
    path.write_text("\n".join(lines) + "\n")
    return path
