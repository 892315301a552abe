"""What a person may say of where the key is, and what OpenSSL is told."""

import pytest

from agent.core.token import FILE, TPM2, Token, openssl_config, place_in_words, read_place

URI = "pkcs11:token=machine;object=fieldline"


def test_a_key_is_in_a_file_unless_said_otherwise():
    assert read_place(FILE) is None


def test_a_uri_says_token_key_driver_and_where_the_pin_is():
    place = read_place(f"{URI}?module-path=/usr/lib/x/lib%2Bp11.so&pin-source=file:/etc/fieldline/pin")

    assert place == Token(URI, "/usr/lib/x/lib+p11.so", "/etc/fieldline/pin")


def test_a_pin_may_be_named_by_a_whole_file_url():
    assert read_place(f"{URI}?pin-source=file:///etc/pin") == Token(URI, "", "/etc/pin")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("usb", "says not where a key is"),
        ("pkcs11:" + "a" * 2000, "says not where a key is"),
        ("pkcs11:token=machine", "does not say which key"),
        (f"{URI}?pin-value=1234", "a PIN does not belong into a command"),
        (f"{URI}?pin-source=1234", "not a plain absolute path"),
        (f"{URI}?module-path=../x.so", "not a plain absolute path"),
        (f"{URI}?module-path=/x%0Ay=z", "not a plain absolute path"),
        (f"{URI}?module-name=softhsm", "'module-name' is not understood"),
        ("pkcs11:object=a;object=b", "not a single name=value"),
        ("pkcs11:object", "not a single name=value"),
        ("pkcs11:object=a\nb", "percent-encoded"),
    ],
)
def test_what_cannot_be_followed_is_told(text: str, said: str):
    with pytest.raises(ValueError, match=said):
        read_place(text)


def test_openssl_is_told_the_driver_and_the_file_of_the_pin_and_never_the_pin():
    told = openssl_config(Token(URI, "/usr/lib/p11.so", "/etc/pin"))

    assert "pkcs11-module-path = /usr/lib/p11.so\npkcs11-module-token-pin = file:/etc/pin\n" in told


def test_a_driver_that_the_machine_has_registered_need_not_be_named():
    assert "pkcs11-module-path" not in openssl_config(Token(URI, "", ""))


def test_people_are_told_which_token_and_not_how_it_is_reached():
    assert place_in_words(f"{URI}?pin-source=file:/etc/pin") == f"in the token {URI}"
    assert place_in_words(TPM2) == "in this machine's TPM 2"
