"""Studies made from real ones and a tree: the same samples, but of other sequences, from anywhere in Greengenes.

The studies at hand are of few environments. A study that is transplanted keeps who shares what with whom, how much of
it and how related its ASVs are, and lies elsewhere in the tree.
"""

import gzip
import re

import numpy as np
import scipy.sparse

# 515F, GTGYCAGCMGCCGCGGTAA (Parada et al. 2016, doi:10.1111/1462-2920.13023); the sequences run in its direction.
PRIMER = re.compile('GTG[CT]CAGC[AC]GCCGCGGTAA')
# As long as the sequences of the studies are at most.
LENGTH = 150
# What the names of sequences of a database begin with.
DATABASE = 'greengenes'
# Where a leaf of a Newick tree is named: between a parenthesis or comma and its length. Names have no such marks.
LEAF = re.compile(r'[(,]([^(),:;]+):')


def v4_fragments(path, number, known, generator):
    """Return the V4 of some sequences of a database: the first 150 nucleotides after 515F, {name: sequence}.

    Parameters
    ----------
    path : path
        FASTA, perhaps compressed by gzip: 97_otus.fasta.gz of Greengenes 13_8 (McDonald et al. 2012,
        doi:10.1038/ismej.2011.139), which PyPI's qiime-default-reference has.
    number : int
        At most so many, drawn at random.
    known : collection of str
        Sequences that are left out.
    generator : numpy.random.Generator
    """
    found = {}
    with gzip.open(path, 'rt') if path.suffix == '.gz' else open(path) as lines:
        name, parts = None, []
        for line in (*lines, '>'):
            if line[0] != '>':
                parts.append(line.strip())
                continue
            if primer := PRIMER.search(whole := ''.join(parts)):
                fragment = whole[primer.end() : primer.end() + LENGTH]
                if len(fragment) == LENGTH and not set(fragment) - set('ACGT'):
                    found.setdefault(fragment, name)
            name, parts = f'{DATABASE}{line[1:].split()[0]}' if len(line) > 1 else None, []
    fragments = [fragment for fragment in found if fragment not in known]
    chosen = np.sort(generator.permutation(len(fragments))[:number])
    return {found[fragments[i]]: fragments[i] for i in chosen}


def leaves_of(newick):
    """Return the names of the leaves of a tree, in its order: relatives stand together."""
    return LEAF.findall(newick)


def transplant(counts, features, leaves, generator):
    """Return the counts of a study with another leaf of a tree in the place of each feature.

    Features are taken in the order of the tree, and so are the leaves that they become: relatives stay relatives. The
    leaves stand in runs of neighbours of one length, which is drawn evenly in its logarithm, from single leaves
    anywhere to half of the study in one clade.

    Parameters
    ----------
    counts : scipy.sparse.csr_matrix [samples, features]
    features : int64 [features]
        Place of each in the order of the tree.
    leaves : int64 [M]
        Places of those that may be taken, sorted; at least as many as the study has features.
    generator : numpy.random.Generator

    Returns
    -------
    scipy.sparse.csr_matrix [samples, leaves of the tree]
    """
    held = np.unique(counts.indices)
    held = held[np.argsort(features[held])]
    run = int(np.exp(generator.uniform(0, np.log(max(2, len(held) / 2)))))
    # too few runs of this length are left at the end of a small tree
    while len(leaves) // run < -(-len(held) // run):
        run = max(1, run // 2)
    starts = np.sort(generator.permutation(len(leaves) // run)[: -(-len(held) // run)]) * run
    runs = (starts[:, None] + np.arange(run)).ravel()
    chosen = leaves[np.sort(runs[generator.permutation(len(runs))[: len(held)]])]
    becomes = np.zeros(counts.shape[1], dtype=np.int64)
    becomes[held] = chosen
    shape = counts.shape[0], int(leaves.max()) + 1
    return scipy.sparse.csr_matrix((counts.data, becomes[counts.indices], counts.indptr), shape=shape)


def synthetic_studies(parts, newick, sequences, left_out, copies, generator):
    """Return studies as :func:`train_encoder.write_table` takes them: (sample ids, sequences, counts).

    Parameters
    ----------
    parts : list of (str, list of str, scipy.sparse.csr_matrix)
        Name, feature ids and counts of each study that is transplanted.
    newick : str
        The tree of all sequences.
    sequences : dict
        {name of a leaf: sequence}.
    left_out : set of str
        Leaves that only studies which are left out have: nothing is to be learned of them.
    copies : int
        Of each study.
    generator : numpy.random.Generator
    """
    names = leaves_of(newick)
    place = {name: i for i, name in enumerate(names)}
    free = np.array([i for i, name in enumerate(names) if name not in left_out])
    in_order = [sequences[name] for name in names]
    for study, features, counts in parts:
        places = np.array([place[name] for name in features])
        for copy in range(copies):
            moved = transplant(counts, places, free, generator)
            ids = [f'{study}-synthetic{copy + 1}.{row}' for row in range(counts.shape[0])]
            yield ids, in_order[: moved.shape[1]], moved
