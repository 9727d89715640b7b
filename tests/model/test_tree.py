"""A net is walked in the order of its rows, and changed in one place without touching the others."""

from hypothesis import given
from random_nets import ANY_NET, nets

from flyweight.model.count import count
from flyweight.model.notation import parse_net
from flyweight.model.spec import Block, Dropout, Flatten, Net, Unused, kind_of
from flyweight.model.tree import n_unrolled, nodes_with_paths, rewritten, siblings, unrolled, without_repeats


@given(nets())
def test_layers_come_in_the_order_of_the_rows(drawn: tuple[Net, tuple[int, ...]]) -> None:
    """Once for each row, with the layer that the row is of."""
    net, image = drawn
    rows = count(net, image).rows

    found = tuple(unrolled(net))

    assert [kind_of(one.layer) for one in found] == [row.kind for row in rows]
    assert n_unrolled(net.nodes) == len(rows)


@given(nets())
def test_repetitions_written_out_are_the_same_net(drawn: tuple[Net, tuple[int, ...]]) -> None:
    """Row by row, names included."""
    net, image = drawn

    assert count(Net(without_repeats(net.nodes)), image).rows == count(net, image).rows


@given(ANY_NET)
def test_a_change_of_one_node_leaves_the_others(net: Net) -> None:
    """Each path leads to its node; the node in its own place is the same net."""
    for path, node in nodes_with_paths(net.nodes):
        assert siblings(net, path)[path[-1]] == node
        assert rewritten(net, {path: (node,)}) == net
        changed = rewritten(net, {path: (Unused((Flatten(),)), node)})
        assert len(list(nodes_with_paths(changed.nodes))) == len(list(nodes_with_paths(net.nodes))) + 2


def test_blocks_in_which_nothing_is_left_are_left_out() -> None:
    """But the body of a residual, which is the identity then."""
    net = parse_net("2(c8) +(c8p1 | c8/1) unused(3@(r))")
    layers = {path: () for path, node in nodes_with_paths(net.nodes) if not isinstance(node, Block)}

    (residual,) = rewritten(net, layers).nodes

    assert str(Net((residual,))) == "+(do0)"
    assert residual.body == (Dropout(0.0),)


def test_a_residual_parts_what_follows_each_other() -> None:
    """Layers of one stretch have nothing beside them; what never runs parts nothing."""
    found = tuple(unrolled(parse_net("c8 r +(c8p1 r | c8/1) unused(+(c8)) r 2(r)")))

    assert [one.stretch for one in found] == [0, 0, 1, 1, 2, 4, 3, 3, 3]
    assert [one.is_in_residual for one in found] == [False] * 2 + [True] * 4 + [False] * 3
