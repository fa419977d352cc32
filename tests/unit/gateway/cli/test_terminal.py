"""What `gateway up` prints with."""

import io

import pytest

from hedgerow.gateway.cli.terminal import Style, Styled, Terminal


class Screen(io.StringIO):
    """A terminal in front of a person."""

    def isatty(self) -> bool:
        """It is one."""
        return True


@pytest.fixture(autouse=True)
def colours(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment says nothing about colours."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")


def test_only_a_terminal_gets_colours() -> None:
    """A file or a pipe gets the words alone."""
    screen, pipe = Screen(), io.StringIO()
    for output in (screen, pipe):
        Terminal(output).say("all is ", Styled("well", Style.GREEN), ".")
    assert screen.getvalue() == "all is \x1b[32mwell\x1b[0m.\n"
    assert pipe.getvalue() == "all is well.\n"


@pytest.mark.parametrize(("variable", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_a_user_who_wants_no_colours_gets_none(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    """By the two variables of which other programs take note, too."""
    monkeypatch.setenv(variable, value)
    screen = Screen()
    Terminal(screen).say(Styled("well", Style.GREEN))
    assert screen.getvalue() == "well\n"


def test_control_characters_are_shown_and_not_sent() -> None:
    """Neither plain nor styled words can move the cursor or begin another line."""
    screen = Screen()
    Terminal(screen).say("a\x1b[2Jb", Styled("c\nd", Style.RED))
    assert screen.getvalue() == "a\\x1b[2Jb\x1b[31mc d\x1b[0m\n"


def test_a_table_aligns_its_columns() -> None:
    """Each is as wide as its widest cell; numbers stand at the right."""
    out = io.StringIO()
    Terminal(out).table(("process", "pid", ""), [("redis", "7", "at a"), ("worker-0", "1234", "b")])
    assert out.getvalue().splitlines() == [
        "process    pid",
        "redis        7  at a",
        "worker-0  1234  b",
    ]


def test_a_line_that_is_shown_meanwhile_is_gone_afterwards() -> None:
    """A person sees it for as long as the block takes; a file never gets it."""
    screen, pipe = Screen(), io.StringIO()
    with Terminal(screen).while_saying("starting …"):
        assert screen.getvalue() == "starting …"
    assert screen.getvalue() == "starting …\r\x1b[2K"
    with Terminal(pipe).while_saying("starting …"):
        pass
    assert pipe.getvalue() == ""


def test_lines_stand_above_what_goes_on() -> None:
    """A line that is shown during a block comes back below what is printed meanwhile."""
    screen = Screen()
    terminal = Terminal(screen)
    with terminal.while_saying("starting …"):
        terminal.say("slow")
    terminal.say("ready")
    assert screen.getvalue() == "starting …\r\x1b[2Kslow\nstarting …\r\x1b[2Kready\n"
