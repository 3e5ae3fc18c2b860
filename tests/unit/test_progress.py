import io

from server.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_terminal_gets_a_bar_in_one_line_with_rate_and_time_left() -> None:
    stream, clock = Terminal(), Clock()
    progress = Progress(4_000, "customers", stream, clock)

    clock.now_s += 10
    progress.advance(1_000)
    clock.now_s += 30
    progress.advance(3_000)
    progress.end()

    nothing, first, full, last = stream.getvalue().split("\r")
    assert nothing == ""
    assert first == "[######..................]  25%  1,000 of 4,000 customers, 100/s, 0:10, 0:30 left"
    assert full.rstrip() == last.rstrip()
    assert last.rstrip() == "[########################] 100%  4,000 of 4,000 customers, 100/s, 0:40"
    assert len(full) == len(first)
    assert stream.getvalue().endswith("\n")


def test_nothing_is_told_too_often() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = Progress(100, "customers", stream, clock)

    for _ in range(100):
        clock.now_s += 0.25
        progress.advance(1)
    progress.end()

    assert stream.getvalue().splitlines() == [
        "40 of 100 customers, 4/s, 0:10, 0:15 left",
        "80 of 100 customers, 4/s, 0:20, 0:05 left",
        "100 of 100 customers, 4/s, 0:25",
    ]


def test_nothing_to_do_is_done_at_once() -> None:
    stream = io.StringIO()

    Progress(0, "customers", stream, Clock()).end()

    assert stream.getvalue() == "0 of 0 customers, 0/s, 0:00\n"
