"""The store that ``--state`` names."""

from pathlib import Path

from hydrarec.serve.stores.contract import Store
from hydrarec.serve.stores.disk import DiskStore, Durability
from hydrarec.serve.stores.memory import MemoryStore
from hydrarec.serve.stores.redis_store import SCHEMES, RedisStore


def open_store(state: str | None, durability: Durability) -> Store:
    """One in memory without ``state``, in a Redis or Valkey server by a URL, else in a folder.

    Raises:
        InputError: it cannot be used.
    """
    if state is None:
        return MemoryStore()
    return RedisStore(state) if state.startswith(SCHEMES) else DiskStore(Path(state), durability=durability)
