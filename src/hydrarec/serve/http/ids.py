"""Ids in paths: every character may be in one, a slash and a line break too."""

from starlette.convertors import Convertor, register_url_convertor


class _IdConvertor(Convertor[str]):
    """As ``path``, which ends before a line break: an id that ends in one would be that of somebody else."""

    regex = "(?s:.*)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


def know_ids() -> None:
    """From now on ``{name:id}`` in the path of a route is an id."""
    register_url_convertor("id", _IdConvertor())
