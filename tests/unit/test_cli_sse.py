"""Server-sent events, lines in, messages out."""

from fleet.cli.client import split_lines
from fleet.cli.sse import Message, messages


def test_a_message_ends_with_an_empty_line():
    lines = ["id: 7", "event: note", "data: one", "data: two", "", ": still here", "", "data: three", ""]

    assert list(messages(lines)) == [Message("7", "note", "one\ntwo"), Message("7", "message", "three")]


def test_a_message_that_broke_off_is_not_given_out():
    assert list(messages(["id: 7", "data: half"])) == []


def test_a_block_with_an_id_alone_tells_where_the_stream_begins():
    assert list(messages(["retry: 2000", "id: 41", "", ": still here", ""])) == [Message("41", "message", "")]


def test_only_a_line_feed_ends_a_line():
    assert list(split_lines(['{"v":"a\u2028b\x85c"}\r', "\n\nrest"])) == ['{"v":"a\u2028b\x85c"}', "", "rest"]


def test_the_id_of_the_connection_before_stays_until_another_is_said():
    assert [one.id for one in messages(["data:a", "", "id:9", "data:b", ""], "8")] == ["8", "9"]
