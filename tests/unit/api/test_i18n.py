"""Languages: which one the caller wants, and that every sentence exists in both."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from string import Formatter

import pytest

import aioscheduler
from aioscheduler.api.i18n import PORTUGUESE, WORDS, Language, language_of, translate, word
from aioscheduler.domain.execution import OutcomeKind
from aioscheduler.domain.message import MessageStatus
from aioscheduler.errors import Sentence

SOURCE = Path(aioscheduler.__file__).parent
#: What it says is about the start of the service, and only its operator reads it.
OPERATORS_ONLY = SOURCE / "store" / "embedded.py"


def _calls(tree: ast.AST, name: str) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == name:
            yield node


def _sentences() -> Iterator[tuple[str, ast.Call]]:
    """Yield every sentence that a client can get to read; what is wrong with settings only the operator reads."""
    for path in sorted(set(SOURCE.rglob("*.py")) - {OPERATORS_ONLY}):
        tree = ast.parse(path.read_text())
        operators = {id(part) for error in _calls(tree, "ConfigError") for part in ast.walk(error)}
        for call in _calls(tree, "Sentence"):
            if id(call) not in operators:
                yield f"{path.relative_to(SOURCE).as_posix()}:{call.lineno}", call


def _template(call: ast.Call) -> str | None:
    match call.args:
        case [ast.Constant(value=str() as template)]:
            return template
        case _:
            return None


def _places(template: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(template) if name is not None}


def test_every_sentence_is_built_from_a_literal() -> None:
    assert [where for where, call in _sentences() if _template(call) is None] == []


def test_every_sentence_has_its_portuguese() -> None:
    missing = {f"{where}: {_template(call)}" for where, call in _sentences() if _template(call) not in PORTUGUESE}
    assert missing == set()


def test_no_translation_is_left_over() -> None:
    assert PORTUGUESE.keys() - {_template(call) for _, call in _sentences()} == set()


def test_every_sentence_fills_exactly_the_places_of_its_template() -> None:
    wrong = [
        where
        for where, call in _sentences()
        if (template := _template(call)) is not None
        and not any(keyword.arg is None for keyword in call.keywords)
        and call.keywords
        and _places(template) != {keyword.arg for keyword in call.keywords}
    ]
    assert wrong == []


@pytest.mark.parametrize("template", PORTUGUESE)
def test_a_translation_has_the_places_of_its_original(template: str) -> None:
    assert _places(PORTUGUESE[template]) == _places(template)


def test_a_sentence_is_translated_with_the_sentences_inside_it() -> None:
    inner = Sentence("must have at most {max} characters", max=5)
    outer = Sentence("{field}: {reason}", field="id", reason=inner)
    assert translate(outer, "pt") == "id: deve ter no máximo 5 caracteres"
    assert translate(outer, "en") == "id: must have at most 5 characters"


def test_an_unknown_sentence_stays_english() -> None:
    assert translate(Sentence("nobody wrote this for {whom}", whom="you"), "pt") == "nobody wrote this for you"


def test_braces_in_a_sentence_without_values_are_left_alone() -> None:
    assert translate(Sentence("like {this}"), "pt") == str(Sentence("like {this}")) == "like {this}"


def test_braces_in_a_value_are_not_places() -> None:
    assert translate(Sentence("{field}: {reason}", field="{x}", reason="{0}"), "pt") == "{x}: {0}"


@pytest.mark.parametrize(
    ("english", "portuguese"),
    [("scheduled", "agendada"), ("deleted", "removida"), ("healthy", "saudável"), ("connected", "conectado")],
)
def test_documented_words_are_as_documented(english: str, portuguese: str) -> None:
    assert word(english, "pt") == portuguese
    assert word(english, "en") == english


def test_every_status_has_its_word() -> None:
    statuses = {status.value for status in MessageStatus} | {kind.value for kind in OutcomeKind}
    assert statuses - WORDS.keys() == set()


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("pt", "pt"),
        ("PT", "pt"),
        ("pt-BR", "pt"),
        ("pt-PT,pt;q=0.9", "pt"),
        ("pt-BR, pt;q=0.9, en;q=0.8", "pt"),
        ("en-US,en;q=0.9,pt;q=0.8", "en"),
        ("en;q=0.5, pt;q=0.7", "pt"),
        ("en ; q=0.5 , pt ; Q=0.501", "pt"),
        ("fr, pt;q=0.1", "pt"),
        ("pt;q=0, en", "en"),
        ("pt,en", "pt"),
        ("en,pt", "en"),
        ("zh-Hant-TW, , pt", "pt"),
    ],
)
def test_the_language_liked_best_is_chosen(header: str, language: str) -> None:
    assert language_of(header, "en") == language
    assert language_of(header, "pt") == language


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "*",
        "fr",
        "pt;q=0",
        "pt;q=2",
        "en;q=",
        "pt en",
        "pt;level=1",
        "ptx",
        "portuguese",
        "é",
        "pt," * 100 + "en",
        "\x00",
    ],
)
@pytest.mark.parametrize("default", ["en", "pt"])
def test_the_default_serves_who_wants_neither_or_writes_nonsense(header: str | None, default: Language) -> None:
    assert language_of(header, default) == default
