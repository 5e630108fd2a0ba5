"""Every error has its own code and closes a socket with a number that may be sent."""

from __future__ import annotations

import re

import pytest

from assist import errors
from assist.errors import AssistError, WireError

EVERY = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, AssistError)]


def test_codes_are_unique_but_for_the_family_they_name() -> None:
    # A bare WireError is a bad message; everything else stands for itself.
    codes = [each.code for each in EVERY if each is not WireError]
    assert sorted(codes) == sorted(set(codes))
    assert WireError.code == errors.BadMessage.code


@pytest.mark.parametrize("error", EVERY, ids=lambda each: each.__name__)
def test_codes_can_stand_on_the_wire(error: type[AssistError]) -> None:
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", error.code)
    # RFC 6455, section 7.4: these may be sent in a close frame; 1005, 1006 and 1015 may not.
    assert error.close_code in range(4_000, 5_000) or error.close_code in {1000, 1001, 1008, 1009, 1011, 1012, 1013}
    assert 400 <= error.http_status < 600
    assert (error.http_status < 500) == issubclass(error, WireError) or error in (errors.Busy, errors.Draining)


def test_what_is_theirs_to_mend_never_closes_as_ours() -> None:
    ours = AssistError.close_code
    assert all(each.close_code != ours for each in EVERY if issubclass(each, WireError))


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    """Each class stands in the picture under its parent."""
    assert errors.__doc__
    lines = [line for line in errors.__doc__.splitlines() if re.search(r"[├└]── |^AssistError$", line)]
    above: list[tuple[int, str]] = []
    drawn: dict[str, str] = {}
    for line in lines:
        name = re.sub(r"[│├└─ ]*", "", line, count=1).split()[0]
        depth = line.index(name)
        while above and above[-1][0] >= depth:
            above.pop()
        drawn[name] = above[-1][1] if above else "Exception"
        above.append((depth, name))
    assert drawn == {each.__name__: each.__mro__[1].__name__ for each in EVERY}
