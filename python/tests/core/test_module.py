"""The module as a whole."""

import inspect

import sepconv


def test_everything_public_is_documented() -> None:
    for name in sepconv.__all__:
        value = getattr(sepconv, name)
        assert inspect.getdoc(value), name
        members = vars(value).items() if inspect.isclass(value) else ()
        for member, what in members:
            if not member.startswith("_") and (callable(what) or inspect.isdatadescriptor(what)):
                assert inspect.getdoc(what), f"{name}.{member}"
        if inspect.isclass(value):
            assert value.__module__ == "sepconv", name


def test_isas() -> None:
    assert sepconv.isas()[0] == "portable"
    assert sepconv.Network("digits", weights="hash").isa in sepconv.isas()
