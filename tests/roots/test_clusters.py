import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roots import clusters

NODES = 9
node = st.integers(0, NODES - 1)
edge_lists = st.lists(st.tuples(node, node, st.sampled_from([0.8, 0.9, 1.0])), max_size=25)
orders = st.permutations(range(NODES))


def edge_arrays(edges):
    pairs = np.array([(a, b) for a, b, _ in edges], np.int64).reshape(-1, 2)
    return pairs, np.array([s for *_, s in edges], np.float64)


def survive(order, edges):
    removed, witness, similarity = clusters.survivors(np.array(order, np.int64), *edge_arrays(edges))
    return [(r, w, None if np.isnan(s) else s) for r, w, s in zip(removed, witness, similarity, strict=True)]


def survive_by_definition(order, edges):
    kept, out = [], [None] * len(order)
    for n in order:
        joined = [(-s, order.index(m), m) for a, b, s in edges for m in kept if {a, b} == {n, m}]
        if joined:
            s, _, m = min(joined)
            out[n] = (True, m, -s)
        else:
            kept.append(n)
            out[n] = (False, -1, None)
    return out


@settings(max_examples=100)
@given(orders, edge_lists)
def test_a_document_is_removed_only_by_its_most_similar_survivor(order, edges):
    assert survive(order, edges) == survive_by_definition(order, edges)


@settings(max_examples=60)
@given(orders, edge_lists, st.randoms(use_true_random=False))
def test_neither_the_order_nor_the_direction_of_edges_matters(order, edges, random):
    shuffled = [(b, a, s) if random.random() < 0.5 else (a, b, s) for a, b, s in edges]
    random.shuffle(shuffled)
    assert survive(order, shuffled) == survive(order, edges)


def test_both_ends_of_a_chain_survive():
    assert survive([0, 1, 2], [(0, 1, 0.8), (1, 2, 0.9)]) == [
        (False, -1, None),
        (True, 0, 0.8),
        (False, -1, None),
    ]


def test_of_equal_witnesses_the_first_in_order_is_named():
    assert survive([2, 0, 1], [(0, 1, 0.9), (2, 1, 0.9)])[1] == (True, 2, 0.9)


def test_no_document_and_no_edge():
    assert survive([], []) == []
    assert survive([1, 0], []) == [(False, -1, None)] * 2


@pytest.mark.parametrize("order", [[0, 0], [1, 2], [-1, 0]])
def test_an_order_that_is_no_permutation_is_refused(order):
    with pytest.raises(ValueError, match=r"survivors: order must hold each node from 0 to 1 once"):
        clusters.survivors(np.array(order), *edge_arrays([]))


def test_each_edge_needs_its_similarity():
    with pytest.raises(ValueError, match=r"survivors: got 1 edges and 2 similarities"):
        clusters.survivors(np.arange(2), np.array([[0, 1]]), np.array([0.9, 0.9]))


def test_an_edge_to_no_node_is_refused():
    with pytest.raises(ValueError, match=r"survivors: edge 1 joins \[2, 0\], nodes are 0 to 1"):
        clusters.survivors(np.arange(2), np.array([[0, 1], [2, 0]]), np.array([0.9, 0.9]))
    with pytest.raises(ValueError, match=r"components: edge 0 joins \[-1, 0\], nodes are 0 to 1"):
        clusters.components(np.array([[-1, 0]]), 2)


def components_by_definition(edges):
    labels = list(range(NODES))
    for _ in range(NODES):
        for a, b, _s in edges:
            labels[a] = labels[b] = min(labels[a], labels[b])
    return labels


@settings(max_examples=100)
@given(edge_lists)
def test_components_are_named_by_their_smallest_member(edges):
    assert clusters.components(edge_arrays(edges)[0], NODES).tolist() == components_by_definition(edges)


def test_a_long_chain_is_one_component():
    chain = np.arange(100_000)
    edges = np.stack([chain[:-1], chain[1:]], axis=1)
    assert not clusters.components(edges[::-1], len(chain)).any()


rows = st.lists(st.tuples(st.integers(0, 4), st.sampled_from([3, 7, 2**40, 2**40 + 1, 2**60, 9, 11])), max_size=30)


def pairs_of(rows, bucket_max):
    keys = np.array([k for k, _ in rows], np.uint64)
    return clusters.candidate_pairs(keys, np.array([d for _, d in rows], np.int64), bucket_max)


@settings(max_examples=100)
@given(rows, st.randoms(use_true_random=False))
def test_small_buckets_give_every_pair_once_in_order(rows, random):
    expected = sorted({(a, b) for k, a in rows for m, b in rows if k == m and a < b})
    assert [tuple(p) for p in pairs_of(rows, 1000).tolist()] == expected
    random.shuffle(rows)
    assert [tuple(p) for p in pairs_of(rows, 1000).tolist()] == expected


def test_a_large_bucket_gives_a_star_and_its_neighbours():
    rows = [(5, d) for d in (40, 10, 30, 20, 50)]
    star = [(10, 20), (10, 30), (10, 40), (10, 50), (20, 30), (30, 40), (40, 50)]
    assert [tuple(p) for p in pairs_of(rows, 4).tolist()] == star
    assert len(pairs_of(rows, 5)) == 10


def test_a_bucket_of_a_hundred_thousand_documents_stays_linear():
    pairs = clusters.candidate_pairs(np.zeros(100_000, np.uint64), np.arange(100_000), 100)
    assert len(pairs) == 2 * 100_000 - 3
    assert not clusters.components(pairs, 100_000).any()


def test_documents_without_shingles_are_no_candidates():
    keys = np.full(3, clusters.NO_KEY)
    assert clusters.candidate_pairs(keys, np.arange(3), 10).shape == (0, 2)


def test_no_keys_give_no_pairs():
    assert pairs_of([], 10).shape == (0, 2)


def test_a_bucket_must_hold_a_pair():
    with pytest.raises(ValueError, match=r"bucket_max must be 2 or more documents, got 1"):
        pairs_of([], 1)


def verdicts_by_definition(order, copies, edges):
    """(removed, copy, kept, witness, similarity) of each node, in plain Python."""
    rank = {node: place for place, node in enumerate(order)}
    equal = closure(copies)
    stands = [min((m for m in range(NODES) if equal[m] == equal[n]), key=rank.get) for n in range(NODES)]
    alive = survive_by_definition(order, [(stands[a], stands[b], s) for a, b, s in edges if stands[a] != stands[b]])
    cluster = closure(copies + edges)
    out = []
    for n in range(NODES):
        gone, witness, similarity = alive[stands[n]]
        if not gone and stands[n] == n:
            out.append((False, False, -1, -1, None))
            continue
        kept = min((m for m in range(NODES) if cluster[m] == cluster[n]), key=rank.get)
        out.append((True, not gone, kept, witness if gone else stands[n], similarity if gone else 1.0))
    return out


def closure(edges):
    labels = list(range(NODES))
    for _ in range(NODES):
        for a, b, *_ in edges:
            labels[a] = labels[b] = min(labels[a], labels[b])
    return labels


@settings(max_examples=100)
@given(orders, edge_lists, st.lists(st.tuples(node, node), max_size=5))
def test_a_copy_goes_for_the_first_of_its_like_or_for_that_ones_witness(order, edges, copies):
    pairs, similarity = edge_arrays(edges)
    equal = np.array(copies, np.int64).reshape(-1, 2)
    found = clusters.verdicts(np.array(order, np.int64), equal, pairs, similarity)
    rows = zip(found.removed, found.copy, found.kept, found.witness, found.similarity, strict=True)
    assert [(*row[:4], None if np.isnan(row[4]) else row[4]) for row in rows] == verdicts_by_definition(
        order, copies, edges
    )
    clusters.check(found, 0.8)


def test_a_document_whose_witness_goes_too_is_a_defect():
    found = clusters.verdicts(np.arange(3), np.array([[0, 1]]), np.array([[1, 2]]), np.array([0.9]))
    clusters.check(found, 0.9)
    with pytest.raises(ValueError, match=r"node 2 is removed at a similarity below 0.95: witness 0, kept 0, similari"):
        clusters.check(found, 0.95)
    found.witness[2] = 1
    with pytest.raises(ValueError, match=r"node 2 is removed for a document that does not stay: witness 1"):
        clusters.check(found, 0.9)


@settings(max_examples=100)
@given(edge_lists, st.integers(0, 25), st.randoms(use_true_random=False))
def test_forests_of_parts_merge_into_the_forest_of_the_whole(edges, cut, random):
    pairs = 2**40 + edge_arrays(edges)[0].astype(np.uint64)
    random.shuffle(edges)
    first, second = 2**40 + edge_arrays(edges[:cut])[0], 2**40 + edge_arrays(edges[cut:])[0]
    whole = clusters.forest(pairs)
    merged = clusters.forest(np.concatenate([clusters.forest(second), clusters.forest(first)]))
    assert merged.tolist() == whole.tolist()
    label = components_by_definition(edges)
    assert whole.tolist() == [[2**40 + label[n], 2**40 + n] for n in range(NODES) if label[n] != n]


def test_the_leaders_of_large_clusters_are_compared_with_what_no_leader_before_is_near_to():
    order, cluster = np.array([3, 0, 5, 1, 2, 4]), np.array([0, 0, 2, 0, 2, 0])
    removed, settled = np.array([0, 0, 0, 1, 0, 1], bool), np.zeros(6, bool)
    assert clusters.led(order, cluster, removed, settled, 0, 4).tolist() == [[0, 5], [0, 1]]
    assert clusters.led(order, cluster, ~removed, settled, 0, 4).tolist() == [[3, 0], [3, 5], [3, 1]]
    settled[1] = True
    assert clusters.led(order, cluster, removed, settled, 0, 4).tolist() == [[0, 5]]
    assert clusters.led(order, cluster, removed, settled, 1, 4).tolist() == []
    assert clusters.led(order, cluster, removed, settled, 0, 2).tolist() == [[0, 5], [2, 4]]
    assert clusters.led(order, cluster, ~removed, settled, 3, 1).shape == (0, 2)
