from server.domain.matching import Groups


def test_members_are_linked_through_others() -> None:
    groups = Groups(4, max_members=4)

    groups.link(0, 1)
    groups.link(2, 1)

    assert groups.group_of(0) == groups.group_of(2)
    assert groups.group_of(3) not in {groups.group_of(0), groups.group_of(1)}


def test_a_link_that_makes_a_group_too_large_is_refused_and_counted() -> None:
    groups = Groups(4, max_members=3)
    groups.link(0, 1)
    groups.link(2, 3)

    linked = groups.link(1, 2)

    assert not linked
    assert groups.refused == 1
    assert groups.group_of(0) != groups.group_of(3)


def test_linking_members_of_a_full_group_again_is_no_refusal() -> None:
    groups = Groups(2, max_members=2)
    groups.link(0, 1)

    assert groups.link(1, 0)
    assert groups.link(1, 1)
    assert groups.refused == 0
