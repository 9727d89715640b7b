"""Counting in closed form against hand-computed and published counts."""

from flyweight.model.cost import walk


def test_published_net_of_19348_parameters_is_counted_to_the_digit() -> None:
    """s003-17: 19,348 executed, 21,700 registered (an idle conv and its batch norm)."""
    net = (
        "c14p1 bn r c14p1 bn r c14p1 bn r m2 do.1 c24p1 bn r c24p1 bn r m2 do.1 "
        "c16p1 bn r c16p1 bn r unused(c16p1 bn) gap flat do.1 fc50 r fc10 ls"
    )

    cost = walk(net)

    assert cost.params == 19_348
    assert cost.registered_params == 21_700


def test_rows_add_up_to_the_total() -> None:
    cost = walk("c8 r m2 flat fc10")

    assert [row.params for row in cost.rows] == [80, 0, 0, 0, 13_530]
    assert cost.params == 13_610
