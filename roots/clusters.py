"""Who is a duplicate of whom: candidate pairs from keys, connected components, the documents that survive.

Nodes are documents as integers. Whatever the order of the edges, the result is the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from roots import exact, kernel

NO_KEY = np.uint64(0xFFFFFFFFFFFFFFFF)  # the key of a document that is to match nobody


def candidate_pairs(band_keys: np.ndarray, docs: np.ndarray, bucket_max: int) -> np.ndarray:
    """The pairs of documents that share a key, each once.

    A bucket is the documents of one key. Up to bucket_max documents it gives every pair. A larger one, whose
    pairs would grow with its square, gives those of its smallest document with every other, and of each with
    the next: all stay joined to the bucket, but a pair in it may have to be found through another band.

    band_keys uint64 [n] and docs int64 [n] belong together row by row; NO_KEY is nobody's key
    returns   int64 [pairs, 2], smaller document first, ascending, no repeats
    raises    ValueError if bucket_max < 2
    """
    if bucket_max < 2:
        raise ValueError(f"clusters.candidate_pairs: bucket_max must be 2 or more documents, got {bucket_max}")
    real = (band_keys != NO_KEY) & exact.shared(band_keys)
    names, ranks = np.unique(docs[real], return_inverse=True)  # ranks fit 32 bits: a pair fits one integer
    order = np.lexsort((ranks, band_keys[real]))
    keys = band_keys[real][order]
    buckets = np.concatenate([[0], np.flatnonzero(keys[1:] != keys[:-1]) + 1, [len(keys)]])
    packed = np.unique(_bucket_pairs(buckets, ranks[order].astype(np.uint64), bucket_max))
    return np.stack([names[packed >> np.uint64(32)], names[packed & np.uint64(0xFFFFFFFF)]], axis=1)


@kernel.compiled
def _bucket_pairs(buckets, ranks, bucket_max):
    """Pairs as smaller << 32 | larger, with repeats; buckets int64 [n + 1], ranks ascend in each (uint64)."""
    size = 0
    for k in range(len(buckets) - 1):
        members = buckets[k + 1] - buckets[k]
        size += members * (members - 1) // 2 if members <= bucket_max else 2 * members
    out = np.empty(size, np.uint64)
    size = 0
    for k in range(len(buckets) - 1):
        first, last = buckets[k], buckets[k + 1]
        for i in range(first, last - 1):
            stop = last if i == first or last - first <= bucket_max else i + 2
            for j in range(i + 1, stop):
                out[size] = ranks[i] << np.uint64(32) | ranks[j]
                size += ranks[i] != ranks[j]  # a document twice in a bucket is no pair: written over
    return out[:size]


def components(edges: np.ndarray, nodes: int) -> np.ndarray:
    """The connected component of each node, named by its smallest member.

    edges   int64 [n, 2], of nodes 0 to nodes - 1
    returns int64 [nodes]
    raises  ValueError where an edge leads to no node
    """
    _check_edges("components", edges, nodes)
    return _components(edges, nodes)


def forest(pairs: np.ndarray) -> np.ndarray:
    """The fewest pairs that connect what the given ones connect: each document with its component's smallest.

    Forests merge: forest(a + b) is forest(forest(a) + forest(b)), so that pairs beyond memory are taken in parts,
    in any order, and what is held is never more than a pair a document.

    pairs   int or uint [n, 2], documents by any numbers
    returns the same type [m, 2], m below the number of documents: smallest document first, then the other, which
            is named once; ascending by the other
    """
    documents, ends = np.unique(pairs, return_inverse=True)
    label = _components(ends.reshape(-1, 2), len(documents))
    joined = np.flatnonzero(label != np.arange(len(documents)))
    return np.stack([documents[label[joined]], documents[joined]], axis=1)


def _check_edges(function: str, edges: np.ndarray, nodes: int) -> None:
    # Compiled code would write beyond its arrays without a word.
    outside = np.flatnonzero(((edges < 0) | (edges >= nodes)).any(axis=1))
    if len(outside):
        pair = edges[outside[0]].tolist()
        raise ValueError(f"clusters.{function}: edge {outside[0]} joins {pair}, nodes are 0 to {nodes - 1}")


@kernel.compiled
def _components(edges, nodes):
    parent = np.arange(nodes)
    for k in range(len(edges)):
        a, b = _root(parent, edges[k, 0]), _root(parent, edges[k, 1])
        parent[max(a, b)] = min(a, b)  # the smaller becomes the root, so that a root is its component's name
    for node in range(nodes):
        parent[node] = parent[parent[node]]  # parents are smaller, hence final
    return parent


@kernel.compiled
def _root(parent, node):
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


def survivors(
    order: np.ndarray, edges: np.ndarray, similarity: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Keep documents in order of priority, unless one that is already kept is a verified duplicate.

    So each removed document has a witness that survives and is joined to it by an edge: of a chain a-b-c
    without an edge a-c, a and c stay; connected components would keep only a. Linear in nodes + edges.

    order      int64 [nodes], every node once, the one to keep first
    edges      int64 [n, 2], verified pairs either way round; loops are ignored, of repeats the highest counts
    similarity float [n]
    returns    removed bool [nodes];
               witness int64 [nodes], of the kept nodes before it the most similar, among equals the first in
               `order`; -1 for a kept node;
               witness_similarity float64 [nodes], NaN for a kept node
    raises     ValueError where `order` is no permutation, an edge leads to no node, or lengths do not fit
    """
    nodes = len(order)
    rank = np.full(nodes, -1, np.int64)
    if nodes and order.min() >= 0 and order.max() < nodes:
        rank[order] = np.arange(nodes)
    if (rank < 0).any():
        raise ValueError(f"clusters.survivors: order must hold each node from 0 to {nodes - 1} once")
    if len(similarity) != len(edges):
        raise ValueError(f"clusters.survivors: got {len(edges)} edges and {len(similarity)} similarities")
    _check_edges("survivors", edges, nodes)
    return _survivors(order, rank, edges, similarity)


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What becomes of each node.

    removed     bool [nodes]
    copy        bool [nodes], of the removed: an exact copy of its witness
    kept        int64 [nodes], of the removed: the first survivor of its cluster; else -1
    witness     int64 [nodes], of the removed: the survivor that it is most like, or a copy of; else -1
    similarity  float64 [nodes], with the witness; NaN for a kept node
    """

    removed: np.ndarray
    copy: np.ndarray
    kept: np.ndarray
    witness: np.ndarray
    similarity: np.ndarray


def verdicts(order: np.ndarray, copies: np.ndarray, edges: np.ndarray, similarity: np.ndarray) -> Verdicts:
    """Of each set of copies the first in `order` stands for all; of those, `survivors` stay.

    order, edges, similarity  as `survivors` takes them
    copies  int64 [n, 2], nodes that are equal
    raises  ValueError as `survivors`
    """
    nodes = len(order)
    _check_edges("verdicts", copies, nodes)
    stands = _first_in(order, _components(copies, nodes))
    removed, witness, highest = survivors(order, stands[edges], similarity)
    like = removed[stands]  # what stands for it is removed, so it goes for the same witness
    copy = (stands != np.arange(nodes)) & ~like
    first = _first_in(order, _components(np.concatenate([copies, edges]), nodes))
    return Verdicts(
        removed=like | copy,
        copy=copy,
        kept=np.where(like | copy, first, -1),
        witness=np.select([like, copy], [witness[stands], stands], -1),
        similarity=np.select([like, copy], [highest[stands], 1.0], np.nan),
    )


def _first_in(order: np.ndarray, label: np.ndarray) -> np.ndarray:
    """For each node, the first in `order` of those with its label; int64 [nodes]."""
    first = np.empty(len(label), np.int64)
    first[label[order[::-1]]] = order[::-1]  # of several the last write counts
    return first[label]


def led(
    order: np.ndarray, cluster: np.ndarray, removed: np.ndarray, settled: np.ndarray, place: int, size_min: int
) -> np.ndarray:
    """Pairs to compare next: one survivor of each large cluster, its leader, with the documents after it.

    A large bucket gives few pairs (`candidate_pairs`), and not with the document that `order` puts first: some survive
    although one before them is near. So the first survivor is compared with all others of its cluster, then the next
    survivor with those that are not near to the first, and so on: linear in the cluster for each leader.

    order    int64 [nodes], as `survivors` takes it;  cluster int64 [nodes], a label;  removed bool [nodes]
    settled  bool [nodes], whether a leader before this one is near;  place  0 for the first leader
    size_min clusters of fewer nodes are passed over
    returns  int64 [n, 2], the leader first
    """
    sizes = np.bincount(cluster, minlength=len(cluster))
    large = order[sizes[cluster[order]] >= size_min]
    alive = large[~removed[large]]
    alive = alive[np.argsort(cluster[alive], kind="stable")]
    begins = np.flatnonzero(np.diff(cluster[alive], prepend=-1))
    begins = begins[np.diff(np.append(begins, len(alive))) > place]
    leader = np.full(len(cluster), -1, np.int64)
    leader[cluster[alive[begins + place]]] = alive[begins + place]
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    of = leader[cluster[large]]
    wanted = (of >= 0) & ~settled[large] & (rank[large] > rank[of])
    return np.stack([of[wanted], large[wanted]], axis=1)


def check(found: Verdicts, similarity_min: float) -> None:
    """Raise ValueError unless each removed node has a witness that stays, at least so similar."""
    gone = np.flatnonzero(found.removed)
    for fault, bad in (
        ("for a document that does not stay", found.removed[found.witness[gone]] | found.removed[found.kept[gone]]),
        (f"at a similarity below {similarity_min}", ~(found.similarity[gone] >= similarity_min)),
    ):
        if bad.any():
            node = gone[bad][0]
            raise ValueError(
                f"clusters.check: node {node} is removed {fault}: witness {found.witness[node]}, kept "
                f"{found.kept[node]}, similarity {found.similarity[node]}; please report this as a defect"
            )


@kernel.compiled
def _survivors(order, rank, edges, similarity):
    nodes = len(order)
    removed = np.zeros(nodes, np.bool_)
    witness = np.full(nodes, -1, np.int64)
    highest = np.full(nodes, np.nan)
    starts, earlier = _earlier_neighbours(rank, edges)
    for node in order:
        for slot in range(starts[node], starts[node + 1]):
            edge = earlier[slot]
            other = edges[edge, 0] if edges[edge, 1] == node else edges[edge, 1]
            if removed[other]:
                continue
            s = similarity[edge]
            tie = s == highest[node] and rank[other] < rank[witness[node]]
            if not removed[node] or s > highest[node] or tie:
                removed[node], witness[node], highest[node] = True, other, s
    return removed, witness, highest


@kernel.compiled
def _earlier_neighbours(rank, edges):
    """The edges of each node to nodes of lower rank: edge numbers earlier[starts[node]:starts[node + 1]]."""
    starts = np.zeros(len(rank) + 2, np.int64)
    for k in range(len(edges)):
        a, b = edges[k, 0], edges[k, 1]
        if a != b:
            starts[(a if rank[a] > rank[b] else b) + 2] += 1
    for node in range(2, len(starts)):
        starts[node] += starts[node - 1]
    earlier = np.empty(starts[-1], np.int64)
    for k in range(len(edges)):
        a, b = edges[k, 0], edges[k, 1]
        if a != b:
            later = a if rank[a] > rank[b] else b
            earlier[starts[later + 1]] = k
            starts[later + 1] += 1
    return starts, earlier
