"""Text of unknown origin."""

import unicodedata

import pytest

from capnet_mm.plain_text import check_plain_text, shown, visible


def test_every_control_character_and_no_letter_is_refused():
    """Against Unicode's own categories, on all of its characters."""
    refused = set()
    for code in range(0x110000):
        try:
            check_plain_text(f"a{chr(code)}b", "the name", 10)
        except ValueError:
            refused.add(code)
    unwanted = ("Cc", "Cs", "Zl", "Zp")  # control, surrogates, line, paragraph
    turning = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
    assert refused == {
        code
        for code in range(0x110000)
        if unicodedata.category(chr(code)) in unwanted
        or unicodedata.bidirectional(chr(code)) in turning
    }


def test_a_name_of_ten_megabytes_gives_a_short_message():
    with pytest.raises(ValueError, match="longer than 1,000 characters") as caught:
        check_plain_text("x" * 10**7, "classes.txt, line 3: the name", 1000)
    assert str(caught.value).startswith("classes.txt, line 3: the name 'xxx")
    assert len(str(caught.value)) < 400


def test_messages_hold_no_control_character():
    with pytest.raises(ValueError, match="has the control character") as caught:
        check_plain_text("dog\x1b[2J", "The name", 100)
    assert str(caught.value).isprintable()
    assert shown("\x1b]0;x\x07").isprintable()
    assert shown(["Käse\u202e"]) == r"['Käse\u202e']"


def test_what_a_terminal_acts_upon_is_written_out():
    assert visible("a\x1b[2Jb\rc\u202ed\ne") == r"a\x1b[2Jb\rc\u202ed" + "\ne"
    assert visible("Käse 猫 👩‍🚒") == "Käse 猫 👩‍🚒"
