"""The module as a whole."""

import inspect

import pytest
from oracles import ROOT, guide

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


def test_the_guide_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    code = guide(torch=False)
    assert code.count("import numpy") == 1
    exec(code, {})
    assert len(capsys.readouterr().out.splitlines()) >= 10
