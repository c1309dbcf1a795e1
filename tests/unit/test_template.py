"""Body templates: what they give, what they refuse, and that neither takes long."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta, timezone
from urllib.parse import parse_qs
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioscheduler.domain.template import (
    MAX_DATE_FORMAT_LENGTH,
    MAX_FILTERS,
    MAX_OUTPUT_LENGTH,
    MAX_PLACEHOLDERS,
    MAX_TEMPLATE_LENGTH,
    compile_template,
    escape_for,
    escape_form,
    escape_json,
    escape_none,
    escape_xml,
)
from aioscheduler.errors import InvalidInput

KNOWN = frozenset({"job.name", "attempt", "now", "nothing"})
NOW = datetime(2026, 4, 5, 2, 41, 45, tzinfo=UTC)
VALUES: dict[str, object] = {"job.name": 'Ana "the\n<b>" & Zoë', "attempt": 3, "now": NOW, "nothing": None}


def rendered(text: str, **values: object) -> str:
    return compile_template(text, KNOWN).render({**VALUES, **values}, escape_none)


def reason(text: str) -> str:
    with pytest.raises(InvalidInput) as caught:
        compile_template(text, KNOWN)
    (field,) = caught.value.errors
    assert field == "body_template"
    return str(caught.value.errors[field][0])


@pytest.mark.parametrize(
    "text", ["", "plain", '{"a": {"b": {}}}', "{", "}", "a } b { c", "{ {x} }", "}}", '{"a": {"b": 1}}', "ção 🎂"]
)
def test_a_text_without_double_braces_is_sent_as_it_is(text: str) -> None:
    template = compile_template(text, KNOWN)
    assert template.is_plain
    assert template.render({}, escape_json) == text


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("n: {{ attempt }}.", "n: 3."),
        ("{{attempt}}{{attempt}}", "33"),
        ("{{\n attempt\t}}", "3"),
        ("{{ nothing }}", ""),
        ("{{ now }}", "2026-04-05T02:41:45Z"),
        ("{{ \"{{\" }} {{ '}}' }}", "{{ }}"),
        ('{{ now | date: "%Y-%m-%d" }}', "2026-04-05"),
        ("{{ now|date:'%d/%m/%y %H:%M:%S' }}", "05/04/26 02:41:45"),
        ('{{ nothing | date: "%Y" | default: "never" }}', "never"),
        ('{{ attempt | date: "%Y" }}', "3"),
        ("{{ job.name | upper | truncate: 5 }}", "ANA …"),
        ("{{ 'AbC' | lower }}", "abc"),
        ("{{ '  a b ' | trim }}", "a b"),
        ("{{ 'abcde' | truncate: 5 }}", "abcde"),
        ("{{ 'abcde' | truncate: 1 }}", "…"),
        ('{{ "" | default: "x" }}', "x"),
        ('{{ attempt | default: "x" }}', "3"),
        ("{{ 'a b&ç/' | urlencode }}", "a%20b%26%C3%A7%2F"),
        ("{{ attempt | json }}", "3"),
        ("{{ nothing | json }}", "null"),
        ("{{ now | json }}", '"2026-04-05T02:41:45Z"'),
        ("{{ 'a\"b' | json }}", '"a\\"b"'),
        ("{{ 'a\"b' | json | urlencode }}", "%22a%5C%22b%22"),
    ],
)
def test_placeholders_are_filled_in(text: str, result: str) -> None:
    assert rendered(text) == result


def test_every_part_of_a_date_is_as_strftime_has_it_in_english() -> None:
    for form in [
        "%A",
        "%a",
        "%B",
        "%b",
        "%d",
        "%f",
        "%F",
        "%G",
        "%H",
        "%I",
        "%j",
        "%m",
        "%M",
        "%p",
        "%S",
        "%T",
        "%u",
        "%V",
        "%y",
        "%Y",
        "%Z",
        "%z",
        "100%%",
    ]:
        assert rendered(f"{{{{ now | date: '{form}' }}}}") == NOW.strftime(form)
    assert rendered("{{ now | date: '%s' }}") == str(int(NOW.timestamp()))


def test_twelve_at_noon_and_at_midnight_are_told_apart() -> None:
    text = '{{ now | date: "%I %p" }}'
    assert rendered(text, now=NOW.replace(hour=12)) == "12 PM"
    assert rendered(text, now=NOW.replace(hour=0)) == "12 AM"


def test_an_instant_is_told_in_utc_with_its_milliseconds_if_it_has_any() -> None:
    elsewhere = datetime(2026, 4, 15, 23, 0, 0, 250_000, tzinfo=timezone(timedelta(hours=-3)))
    assert rendered("{{ now }}", now=elsewhere) == "2026-04-16T02:00:00.250Z"
    assert rendered('{{ now | date: "%d %H" }}', now=elsewhere) == "16 02"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a {{ now", "the braces that open at character 3 are not closed"),
        ("{{", "the braces that open at character 1 are not closed"),
        ("{{ now }", "the braces that open at character 1 are not closed"),
        ("{{ now | date: '%Y }", "the braces that open at character 1 are not closed"),
        ("{{ }}", "cannot be understood at character 4"),
        ("{{ now now }}", "cannot be understood at character 8"),
        ("{{ job..name }}", "job is no variable: use one of attempt, job.name, nothing, now"),
        ("{{{ now }}}", "cannot be understood at character 3"),
        ("{{ 7 }}", "cannot be understood at character 4"),
        ("{{ now | }}", "cannot be understood at character 10"),
        ("{{ now | date: }}", "cannot be understood at character 16"),
        ("{{ now | truncate: 1234567 }}", "cannot be understood"),
        ("{{ password }}", "password is no variable: use one of"),
        ("{{ now.__class__ }}", "now.__class__ is no variable"),
        ("{{ " + "x" * 1000 + " }}", "x" * 40 + "… is no variable"),
        ("{{ now | shout }}", "shout is no filter: use one of date, default, json, lower, trim, truncate, upper"),
        ("{{ now | date }}", "the filter date needs a format in quotes"),
        ("{{ now | date: 5 }}", "the filter date needs a format in quotes"),
        (f"{{{{ now | date: '{'x' * (MAX_DATE_FORMAT_LENGTH + 1)}' }}}}", "the filter date needs a format in quotes"),
        ("{{ now | date: '%c' }}", "%c is no part of a date: use %Y"),
        ("{{ now | date: '%' }}", "% is no part of a date"),
        ("{{ now | upper | date: '%Y' }}", "date must be the first filter"),
        ("{{ now | default }}", "the filter default needs a text in quotes"),
        ("{{ now | default: 5 }}", "the filter default needs a text in quotes"),
        ("{{ now | truncate }}", "the filter truncate needs a number of characters"),
        ("{{ now | truncate: 0 }}", "the filter truncate needs a number of characters"),
        ("{{ now | truncate: 'a' }}", "the filter truncate needs a number of characters"),
        ("{{ now | upper: 'a' }}", "the filter upper takes no argument"),
        ("{{ now | json: 1 }}", "the filter json takes no argument"),
        ("{{ now | urlencode: 1 }}", "the filter urlencode takes no argument"),
        ("{{ now | json | upper }}", "json and urlencode must stand last, in this order"),
        ("{{ now | urlencode | json }}", "json and urlencode must stand last, in this order"),
        ("{{ now" + " | trim" * (MAX_FILTERS + 1) + " }}", "a placeholder must have at most 8 filters"),
        ("{{ now }}" * (MAX_PLACEHOLDERS + 1), "must have at most 200 placeholders"),
        ("x" * (MAX_TEMPLATE_LENGTH + 1), "must have at most 65536 characters"),
    ],
)
def test_what_is_not_legal_is_refused_with_its_reason(text: str, expected: str) -> None:
    assert expected in reason(text)


def test_what_is_just_legal_is_taken() -> None:
    assert rendered("x" * MAX_TEMPLATE_LENGTH) == "x" * MAX_TEMPLATE_LENGTH
    assert rendered("{{ attempt }}" * MAX_PLACEHOLDERS) == "3" * MAX_PLACEHOLDERS
    assert rendered("{{ attempt" + " | trim" * MAX_FILTERS + " }}") == "3"


def test_errors_name_the_field_they_are_about() -> None:
    with pytest.raises(InvalidInput) as caught:
        compile_template("{{", KNOWN, "BIRTHDAY_MESSAGE")
    assert list(caught.value.errors) == ["BIRTHDAY_MESSAGE"]


def test_one_text_with_other_variables_is_another_template() -> None:
    compile_template("{{ now }}", {"now"})
    with pytest.raises(InvalidInput):
        compile_template("{{ now }}", {"then"})


@pytest.mark.parametrize("escape", [escape_none, escape_form, escape_json])
def test_what_gives_too_much_is_refused_when_it_is_rendered(escape: object) -> None:
    assert callable(escape)
    template = compile_template("{{ job.name }}{{ job.name }}", KNOWN)
    half = MAX_OUTPUT_LENGTH // 2
    assert len(template.render({"job.name": "x" * half}, escape)) == MAX_OUTPUT_LENGTH
    started = time.process_time()
    for name in ("x" * (half + 1), "é" * 10_000_000):
        with pytest.raises(InvalidInput, match="gives more than 262144 characters"):
            template.render({"job.name": name}, escape)
    assert time.process_time() - started < 2


NAME = "quote \" back\\slash \n tab \t <b> & ' % + = ção 🎂 \x01"


@given(name=st.text(st.characters(codec="utf-8")))
def test_a_value_stays_one_string_of_json(name: str) -> None:
    template = compile_template('{"name": "{{ job.name }}", "whole": {{ job.name | json }}}', KNOWN)
    assert json.loads(template.render({"job.name": name}, escape_for("application/json"))) == {
        "name": name,
        "whole": name,
    }


@given(name=st.text(st.characters(codec="utf-8")))
def test_a_value_stays_one_value_of_a_form_escaped_once(name: str) -> None:
    template = compile_template("a=1&name={{ job.name }}&again={{ job.name | urlencode }}", KNOWN)
    form = template.render({"job.name": name}, escape_for("application/x-www-form-urlencoded"))
    assert parse_qs(form, keep_blank_values=True) == {"a": ["1"], "name": [name], "again": [name]}


@given(name=st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cn"])))
def test_a_value_stays_one_text_of_xml(name: str) -> None:
    template = compile_template('<a b="{{ job.name }}">{{ job.name }}</a>', KNOWN)
    element = ElementTree.fromstring(template.render({"job.name": name}, escape_for("application/xml")))
    assert (element.text or "", element.get("b")) == (name, name)


def test_control_characters_do_not_spoil_xml() -> None:
    assert ElementTree.fromstring(f"<a>{escape_xml(NAME)}</a>").text == NAME.replace("\x01", "\ufffd")


@pytest.mark.parametrize(
    ("content_type", "escape"),
    [
        (None, escape_json),
        ("", escape_json),
        ("application/json", escape_json),
        ("Application/JSON; charset=utf-8", escape_json),
        ("application/vnd.api+json", escape_json),
        ("application/x-www-form-urlencoded;charset=utf-8", escape_form),
        ("text/html", escape_xml),
        ("text/xml", escape_xml),
        ("application/soap+xml; action=x", escape_xml),
        ("text/plain", escape_none),
        ("application/octet-stream", escape_none),
    ],
)
def test_values_are_escaped_for_the_type_of_the_body(content_type: str | None, escape: object) -> None:
    assert escape_for(content_type) is escape


@pytest.mark.parametrize(
    "text",
    [
        "{" * MAX_TEMPLATE_LENGTH,
        "{{" + "a." * 30_000 + "}}",
        "{{ now | " * 7_000,
        "{{ '" + "x" * 60_000,
        "{{" + " " * 60_000,
        "{{ now | date: '" + "%Y" * 30_000 + "' }}",
        "{{ now" + " | trim" * 9_000 + " }}",
        "{{'{{'}}" * 8_000,
        "{{ now }} {" * 5_900,
    ],
)
def test_a_hostile_template_is_refused_at_once(text: str) -> None:
    started = time.process_time()
    reason(text)
    assert time.process_time() - started < 2


def test_the_most_laborious_template_is_rendered_soon() -> None:
    piece = "{{ now | date: '" + "%A" * 32 + "'" + " | upper | lower" * 3 + " | urlencode }}"
    template = compile_template(piece * MAX_PLACEHOLDERS, KNOWN)
    started = time.process_time()
    template.render(VALUES, escape_json)
    assert time.process_time() - started < 2


@given(text=st.text("{}|:'\"% nowdateYjson.", max_size=40))
def test_any_text_is_a_template_or_is_refused(text: str) -> None:
    try:
        template = compile_template(text, KNOWN)
    except InvalidInput:
        return
    template.render(VALUES, escape_json)
