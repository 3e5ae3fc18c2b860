from collections import Counter

from server.tuning import Sweep


def test_older_generations_are_walked_more_rarely() -> None:
    walked: list[int] = []
    sweep = Sweep(walked.append)

    for _ in range(60_000):
        sweep(0)

    assert Counter(walked) == {0: 59_940, 1: 59, 2: 1}
    assert walked[998:1_000] == [0, 1]
    assert walked[-1] == 2
