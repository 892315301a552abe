"""Server-sent events, lines in, messages out."""

from fleet.cli.sse import Message, messages


def test_a_message_ends_with_an_empty_line():
    lines = ["id: 7", "event: note", "data: one", "data: two", "", ": still here", "", "data: three", ""]

    assert list(messages(lines)) == [Message("7", "note", "one\ntwo"), Message("7", "message", "three")]


def test_a_message_that_broke_off_is_not_given_out():
    assert list(messages(["id: 7", "data: half"])) == []


def test_the_id_of_the_connection_before_stays_until_another_is_said():
    assert [one.id for one in messages(["data:a", "", "id:9", "data:b", ""], "8")] == ["8", "9"]
