"""Contacts: what is read from vCard and CSV files, and what is refused."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioscheduler.bots import contacts
from aioscheduler.bots.base import Reply
from aioscheduler.bots.contacts import Birthday, Contact, ContactsError, load, parse_birthday, read_contacts
from tests.support.bots import FakeHttp

VCARD_3 = b"""BEGIN:VCARD\r
VERSION:3.0\r
N:Silva;Jos\xc3\xa9;Maria;;\r
FN:Jos\xc3\xa9 Silva\\, Jr.\r
BDAY;VALUE=date:1996-04-15\r
TEL;TYPE=HOME:+55 11 1111\r
TEL;TYPE=CELL,PREF:+55 11 9999\r
EMAIL;TYPE=INTERNET:jose@exam\r
 ple.com\r
item1.URL:https\\://example.com/jose\r
PHOTO;ENCODING=b;TYPE=JPEG:AAAA\r
 BBBB\r
END:VCARD\r
"""
VCARD_4 = b"""BEGIN:VCARD
VERSION:4.0
UID:urn:uuid:4fbe8971-0bc3-424c-9c26-36c3e1eff6b1
FN;PID=1.1:J. Doe
N:Doe;J.,Ann;;;
BDAY;VALUE=date-and-or-time:--0415
TEL;VALUE=uri;TYPE="voice,home":tel:+1-555
TEL;PREF=1;VALUE=uri;TYPE=cell:tel:+1-777
EMAIL;TYPE=work:jdoe@example.com
URL:https://example.com/a,b
END:VCARD
"""
CSV = b"name,first_name,birthday,phone,email,url\nAna Lima,Ana,--04-15,+55 11,ana@example.com,https://example.com/ana\n"


def only(data: bytes, name: str = "") -> Contact:
    (contact,), skipped = read_contacts(data, name)
    assert skipped == 0
    return contact


def refused(data: bytes, name: str = "contacts") -> str:
    with pytest.raises(ContactsError) as caught:
        read_contacts(data, name)
    return str(caught.value)


def test_a_card_of_version_3_is_read() -> None:
    contact = only(VCARD_3)
    assert (contact.name, contact.first_name) == ("José Silva, Jr.", "José")
    assert contact.birthday == Birthday(4, 15, 1996)
    assert (contact.phone, contact.email) == ("+55 11 9999", "jose@example.com")
    assert contact.url == "https://example.com/jose"


def test_a_card_of_version_4_is_read() -> None:
    contact = only(VCARD_4)
    assert (contact.name, contact.first_name) == ("J. Doe", "J. Ann")
    assert contact.birthday == Birthday(4, 15)
    assert (contact.phone, contact.email, contact.url) == ("+1-777", "jdoe@example.com", "https://example.com/a,b")


def test_a_table_is_read() -> None:
    contact = only(CSV)
    assert (contact.name, contact.first_name, contact.birthday) == ("Ana Lima", "Ana", Birthday(4, 15))
    assert (contact.phone, contact.email, contact.url) == ("+55 11", "ana@example.com", "https://example.com/ana")


@pytest.mark.parametrize(
    "data",
    [
        b"BIRTHDAY;x;Name \n1990-04-15;1;Ana\n",
        b"\xef\xbb\xbfname,birthday\r\nAna,1990-04-15\r\n\r\n , \r\n",
        b"\n\nbirthday\tname\n19900415\t Ana\n",
        b'"name","birthday"\n"Ana","1990-04-15"',
    ],
)
def test_columns_may_stand_in_any_order_and_case_with_any_usual_delimiter(data: bytes) -> None:
    contact = only(data)
    assert (contact.name, contact.first_name, contact.birthday) == ("Ana", "Ana", Birthday(4, 15, 1990))
    assert (contact.phone, contact.email, contact.url) == (None, None, None)


def test_a_table_may_have_first_names_only_and_rows_that_are_short() -> None:
    (contact, second), skipped = read_contacts(b"first_name,birthday\nZo\xe9,2000-01-02\nJo\n,2000-01-02\n", "")
    assert (contact.name, contact.first_name) == ("Zoé", "Zoé")
    assert (second.name, second.birthday, skipped) == ("Jo", None, 1)


def test_latin_1_is_read_where_it_is_no_utf_8() -> None:
    assert only(VCARD_4.replace(b"J. Doe", b"Z\xf3e")).name == "Zóe"


@pytest.mark.parametrize(
    ("text", "birthday"),
    [
        ("1990-04-15", Birthday(4, 15, 1990)),
        (" 19900415 ", Birthday(4, 15, 1990)),
        ("--04-15", Birthday(4, 15)),
        ("--0415", Birthday(4, 15)),
        ("--02-29", Birthday(2, 29)),
        ("1996-02-29", Birthday(2, 29, 1996)),
        ("1953-10-15T23:10:00Z", Birthday(10, 15, 1953)),
        ("1987-09-27T08:30:00-06:00", Birthday(9, 27, 1987)),
        ("19531015T231000Z", Birthday(10, 15, 1953)),
        ("1990-04-15 00:00:00", Birthday(4, 15, 1990)),
        ("1604-04-15", Birthday(4, 15)),
        ("1997-02-29", None),
        ("1990-13-01", None),
        ("--00-10", None),
        ("0000-04-15", None),
        ("1990-04", None),
        ("---15", None),
        ("15/04/1990", None),
        ("circa 1800", None),
        ("1990-04-155", None),
        ("", None),
    ],
)
def test_birthdays_have_these_forms(text: str, birthday: Birthday | None) -> None:
    assert parse_birthday(text) == birthday
    assert only(f"name,birthday\nAna,{text}\n".encode()).birthday == birthday
    assert only(f"BEGIN:VCARD\nFN:Ana\nBDAY:{text}\nEND:VCARD\n".encode()).birthday == birthday


def test_a_birthday_is_written_as_it_may_be_read() -> None:
    for birthday in (Birthday(4, 5, 990), Birthday(12, 31)):
        assert parse_birthday(str(birthday)) == birthday


def test_the_29th_of_february_is_kept_on_the_28th_in_other_years() -> None:
    assert Birthday(2, 29, 1996).in_year(2028) == date(2028, 2, 29)
    assert Birthday(2, 29, 1996).in_year(2027) == date(2027, 2, 28)


def test_a_card_without_a_formatted_name_or_any_name_is_called_by_what_there_is() -> None:
    assert only(b"BEGIN:VCARD\nN:Doe;Jane;;;\nEND:VCARD").name == "Jane Doe"
    assert only(b"BEGIN:VCARD\nN:Doe;;;;\nFN:Jane Doe\nEND:VCARD").first_name == "Jane"
    assert only(b"BEGIN:VCARD\nEMAIL:a@example.com\nEND:VCARD").name == "a@example.com"


@pytest.mark.parametrize(
    "broken",
    [
        b"BEGIN:VCARD\nEND:VCARD\n",
        b"BEGIN:VCARD\nFN Jane\nEND:VCARD\n",
        b"BEGIN:VCARD\nFN;ENCODING=QUOTED-PRINTABLE;CHARSET=none-such:=41\nEND:VCARD\n",
        b"BEGIN:VCARD\nFN:Jane\n",
        b'BEGIN:VCARD\nFN;X=a",b":Jane\nEND:VCARD\n',
    ],
)
def test_one_broken_card_does_not_spoil_the_rest(broken: bytes) -> None:
    found = read_contacts(VCARD_3 + broken + VCARD_4, "")
    assert ([contact.name for contact in found.items], found.skipped) == (["José Silva, Jr.", "J. Doe"], 1)


def test_one_broken_line_does_not_spoil_its_card() -> None:
    assert only(VCARD_4.replace(b"VERSION:4.0", b"VERSION:4.0\nTEL +1\nURL;=:x\n;:")).phone == "+1-777"


def test_one_broken_row_does_not_spoil_the_rest() -> None:
    long = b'"' + b"x" * 200_000 + b'"'
    found = read_contacts(b"name,birthday\nAna,--0101\n" + long + b",1\n,--0101\nJo,--0202\n", "")
    assert ([contact.name for contact in found.items], found.skipped) == (["Ana", "Jo"], 2)


def test_lines_and_long_values_are_cut_to_size() -> None:
    contact = only(b"name,birthday\n" + b"x" * 5000 + b",--0101\n")
    assert len(contact.name) == contacts.MAX_VALUE_LENGTH
    assert only(b'name,birthday\n"Ana\n \tLima",--0101\n').name == "Ana Lima"


def key(**columns: str) -> str:
    row = {"name": "Ana", "birthday": "--0415", **columns}
    return only(f"{','.join(row)}\n{','.join(row.values())}\n".encode()).key


def test_a_person_stays_the_same_when_the_rest_of_the_entry_changes() -> None:
    assert key(phone="+55 (11) 9-9", email="a@x") == key(phone="551199", email="b@x", birthday="--0416", name="ANA")
    assert key(email="A@x") == key(email="a@X", url="u", birthday="--0416")
    assert only(VCARD_4).key == only(VCARD_4.replace(b"4fbe8971", b"00000000")).key


def test_people_of_one_name_are_told_apart_by_what_there_is() -> None:
    keys = [
        key(),
        key(birthday="--0416"),
        key(phone="1"),
        key(phone="2"),
        key(email="1@x"),
        key(url="1"),
        key(name="Jo", phone="1"),
        only(b"BEGIN:VCARD\nFN:Ana\nUID:1\nEND:VCARD").key,
    ]
    assert len(set(keys)) == len(keys)


def test_what_a_name_ends_in_comes_before_the_content() -> None:
    assert only(VCARD_3, "people.VCF").name == only(VCARD_3, "people").name
    assert "has no entry" in refused(CSV, "people.vcf")
    assert "neither a vCard file nor a table" in refused(VCARD_3, "people.csv")


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "contacts is neither a vCard file nor a table with the usual columns"),
        (b"<html>\n<p>Sign in, please</p>", "contacts is neither a vCard file nor a table with the usual columns"),
        (b"\x00\x01\x02\xff" * 100, "contacts is neither a vCard file nor a table with the usual columns"),
        (b"name,phone\nAna,1\n", "contacts has no column birthday"),
        (b"birthday,phone\n--0415,1\n", "contacts has no column name"),
        (b"name,birthday\n,\n ,1\n", "contacts has no entry that can be read"),
        (b"BEGIN:VCARD\nBEGIN:VCARD\n", "contacts has no entry that can be read"),
    ],
)
def test_a_file_that_is_none_is_refused_with_one_sentence(data: bytes, sentence: str) -> None:
    assert refused(data) == sentence


def test_a_table_without_rows_has_no_contacts() -> None:
    assert read_contacts(b"name,birthday\n", "") == ([], 0)


def test_too_many_entries_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contacts, "MAX_ENTRIES", 3)
    assert len(read_contacts(CSV + b"B,,1,,,\nC,,1,,,\n", "").items) == 3
    assert refused(CSV + b"B,,1,,,\nC,,1,,,\nD,,1,,,\n") == "contacts has more than 3 entries"
    assert refused(b"BEGIN:VCARD\n" * 10) == "contacts has more than 3 entries"


@pytest.mark.parametrize(
    "data",
    [
        b"BEGIN:VCARD\nFN;X=a" + b",a" * 4000 + b'"\nEND:VCARD\n' + VCARD_4,
        b"BEGIN:VCARD\nFN;X=a" + b",a" * 4000 + b":\nEND:VCARD\n" + VCARD_4,
        b"BEGIN:VCARD\nFN" + b";a" * 4000 + b":\nEND:VCARD\n" + VCARD_4,
        b"BEGIN:VCARD\nFN" + b"-" * 8000 + b"\nEND:VCARD\n" + VCARD_4,
        b"BEGIN:VCARD\nN:" + b";" * 8000 + b"\nEND:VCARD\n" + VCARD_4,
        b"BEGIN:VCARD\nNOTE:" + b"\n x" * 100_000 + b"\nEND:VCARD\n" + VCARD_4,
        b"BEGIN:VCARD\nNOTE:" + b"x" * 1_000_000 + b"\nEND:VCARD\n" + VCARD_4,
    ],
)
def test_hostile_cards_are_passed_over_at_once(data: bytes) -> None:
    contacts.read_contacts(VCARD_4, "")  # the parser is loaded
    started = time.process_time()
    found = read_contacts(data, "")
    assert time.process_time() - started < 5
    assert ([contact.name for contact in found.items], found.skipped) == (["J. Doe"], 1)


@given(data=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_contacts_or_are_refused(data: bytes) -> None:
    for prefix in (b"", b"name,birthday\n", b"BEGIN:VCARD\nFN:"):
        with suppress(ContactsError):
            read_contacts(prefix + data + b"\nEND:VCARD\n", "")


# -- where they are read from


async def test_a_file_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_bytes(CSV)
    found = await load(str(tmp_path / "people.csv"), FakeHttp(), read_contacts)
    assert [contact.name for contact in found.items] == ["Ana Lima"]


async def test_what_a_url_answers_is_loaded() -> None:
    http = FakeHttp(pages={"https://example.com/people.vcf?token=x": Reply(status=200, body=VCARD_3)})
    found = await load("https://example.com/people.vcf?token=x", http, read_contacts)
    assert [contact.name for contact in found.items] == ["José Silva, Jr."]


async def unloadable(source: str, http: FakeHttp | None = None) -> str:
    with pytest.raises(ContactsError) as caught:
        await load(source, http or FakeHttp(), read_contacts)
    return str(caught.value)


async def test_a_file_that_cannot_be_read_is_refused_with_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await unloadable("/none/such.vcf") == "there is no file /none/such.vcf"
    assert await unloadable(str(tmp_path)) == f"{tmp_path} is no file"
    os.mkfifo(tmp_path / "pipe")
    assert await unloadable(str(tmp_path / "pipe")) == f"{tmp_path / 'pipe'} is no file"
    assert await unloadable("a\x00b") == "a\x00b cannot be read: embedded null byte"
    assert "cannot be read: Not a directory" in await unloadable("/dev/null/x")
    assert "cannot be read" in await unloadable("~no-such-user-here/x")
    monkeypatch.setattr(contacts, "MAX_FILE_BYTES", 10)
    (tmp_path / "people.csv").write_bytes(CSV)
    assert "has more than the 10 bytes that are read" in await unloadable(str(tmp_path / "people.csv"))


async def test_a_url_that_cannot_be_read_is_refused_with_one_sentence_that_keeps_its_secrets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = "https://user:pass@example.com/secret/people.csv?token=secret"
    assert await unloadable(url) == "https://example.com:443 answered 404"
    away = FakeHttp(pages={url: Reply(status=None, error="connection refused")})
    assert await unloadable(url, away) == "https://example.com:443 cannot be read: connection refused"
    assert (
        await unloadable("http://?token=secret")
        == "the URL cannot be used: webhookUrl: must be an absolute http:// or https:// URL"
    )
    monkeypatch.setattr(contacts, "MAX_FILE_BYTES", 10)
    large = FakeHttp(pages={url: Reply(status=200, body=CSV)})
    assert await unloadable(url, large) == "https://example.com:443 has more than the 10 bytes that are read"
