"""Train one encoder on many studies and one tree for all: what predicts distances of studies that it never saw.

    python recipe/train_encoder.py STUDIES OUT [--leave-out NAME ...] [--token-branches 0.06 0.15]
        [--own-branches 0.03 0.11] [--greengenes FASTA] [--tips 20000] [--copies 0] [--samples 120] [--depth 2000]
        [--steps 2000] [--width 128] [--asv-layers 1] [--sample-layers 1] [--memberships 512] [--batch-size 32] ...

STUDIES holds a folder for each study, with table.qza and rep-seqs.qza, and INDEX.tsv, which has a row for each: name,
source, licence, citation, environment. OUT gets, each written once (a run that was stopped goes on where it was):

- sequences.fasta, table.biom, left-out.biom: of each study at most --samples samples, drawn at random, and of each of
  them at most --depth reads, so that no study counts for many; left-out.biom has the studies that are left out;
- tree.nwk: MAFFT and FastTree on all sequences, those of left-out studies too, so that there is one tree to judge with,
  rooted at its midpoint; with --greengenes the V4 of --tips of its sequences, drawn at random, are inserted, each
  beside its nearest (insert_sequences.py);
- learned.biom: table.biom and, of each of its studies, --copies that are transplanted to other leaves of the tree
  (synthetic_studies.py), so that sequences of all environments are learned;
- encoder: the bundle, and SOURCES.md, what it learned from and under which licences.

Memberships alone are learned. Then branches of tokens are added (token_branches.py), of these lengths where a token was
learned from and where it is new; with --own-branches, those of ASVs instead (own_branches.py). It needs mafft and
FastTree (apt-get install mafft fasttree); 97_otus.fasta.gz of Greengenes 13_8 is in PyPI's qiime-default-reference
0.1.3 (pip download --no-deps --no-binary :all:). Each batch is of few studies, drawn evenly, and has many samples of
each: pairs within a study are what users have, and among pairs drawn from all they are rare. Of 27 studies (30,752
sequences), one busy core took a minute to merge and align, 6 for FastTree, 18 for 2,000 steps. The default made the
encoder v4.1, --own-branches v4. tests/benchmarks/zero_shot.py scores one on what was left out (docs/encoders.md).
"""

import argparse
import os
import pathlib
import subprocess
import zipfile

import h5py
import numpy as np
import pandas as pd
import scipy.sparse
from insert_sequences import insert, nearest
from own_branches import keys_of, with_own_branches
from synthetic_studies import DATABASE, synthetic_studies, v4_fragments
from token_branches import with_token_branches

from q2_aam import bundle
from q2_aam.config import HeadConfig, PretrainConfig
from q2_aam.data.sequences import read_fasta, sequences_of
from q2_aam.data.table import read_table
from q2_aam.errors import UserError
from q2_aam.objectives import Distances
from q2_aam.training.pretrain import pretrain

TABLE, LEFT_OUT, SEQUENCES, TREE, ENCODER = 'table.biom', 'left-out.biom', 'sequences.fasta', 'tree.nwk', 'encoder'
LEARNED_TABLE, SOURCES, INDEX = 'learned.biom', 'SOURCES.md', 'INDEX.tsv'
# Between study and sample in the id of a sample.
MARK = '.'
# What is learned beside the form of the network: reads of any depth, of other lengths and with errors. Reads that begin
# elsewhere are mended before they are read (harmonize); to learn them (max_shift) costs more than it gives.
LEARNED = {
    'rarefaction_depth': 2000,
    'rarefaction_range': 40.0,
    'max_trim': 60,
    'nucleotide_noise': 0.005,
    'validation_fraction': 0.05,
    'masked_asv_ratio': 0.05,
}
# Share of the sequences that must have a column of the alignment: of 30,752, 237 of 1,891 columns with 99 % of the
# nucleotides.
MIN_OCCUPANCY = 0.02
FAST_TREE = ('FastTree', 'fasttree')


def unpacked(artifact, ending, folder):
    """Return the path of the file of an artifact (a zip file) whose name has this ending, unpacked into `folder`."""
    with zipfile.ZipFile(artifact) as file:
        return file.extract(next(name for name in file.namelist() if name.endswith(ending)), folder)


def read_counts(study, samples, depth, generator, folder):
    """Return what is taken of a study.

    Parameters
    ----------
    study : path
    samples, depth : int
        At most so many samples, and reads of each.
    generator : numpy.random.Generator
    folder : path
        For what is unpacked.

    Returns
    -------
    sample_ids : list of str
        With the name of the study in front.
    sequences : list of str
    counts : scipy.sparse.csr_matrix, int64 [samples, sequences]
        Drawn without replacement.
    """
    table = read_table(unpacked(study / 'table.qza', 'data/feature-table.biom', folder))
    fasta = unpacked(study / 'rep-seqs.qza', 'data/dna-sequences.fasta', folder)
    counts = scipy.sparse.vstack(list(table.blocks())).tocsr()
    rows = np.sort(generator.permutation(counts.shape[0])[:samples])
    drawn = counts[rows].astype(np.int64)
    for start, stop in zip(drawn.indptr[:-1], drawn.indptr[1:]):
        reads = drawn.data[start:stop]
        drawn.data[start:stop] = generator.multivariate_hypergeometric(reads, min(depth, reads.sum()))
    drawn.eliminate_zeros()
    ids = [f'{study.name}{MARK}{table.sample_ids[row]}' for row in rows]
    return ids, sequences_of(table.feature_ids, read_fasta(fasta)), drawn


def merge(studies, out, left_out, samples, depth, seed, greengenes=None, tips=0):
    """Write the sequences of all studies, and the tables of those that are learned from and of those left out.

    Of `greengenes` (a path) some more sequences are taken, which no table has.
    """
    names, parts = {}, {TABLE: [], LEFT_OUT: []}
    for study in studies:
        # whatever is left out, a study gives the same samples
        generator = np.random.default_rng([seed, *study.name.encode()])
        part = read_counts(study, samples, depth, generator, out / 'unpacked' / study.name)
        parts[LEFT_OUT if study.name in left_out else TABLE].append(part)
        occurring = np.unique(part[2].indices)
        for column in occurring:
            names.setdefault(part[1][column], f'asv{len(names):06d}')
    for file, several in parts.items():
        if several:
            write_table(out / file, several, names)
    if greengenes is not None:
        more = v4_fragments(greengenes, tips, names, np.random.default_rng([seed, *TREE.encode()]))
        names |= {sequence: name for name, sequence in more.items()}
    text = ''.join(f'>{name}\n{sequence}\n' for sequence, name in names.items())
    written(out / SEQUENCES, lambda path: path.write_text(text, encoding='utf-8'))


def write_table(path, parts, names):
    """Write the layout of BIOM 2.1 that every reader of tables knows; `names` is {sequence: feature id}."""
    column = {name: i for i, name in enumerate(names.values())}
    matrices = []
    for _, sequences, counts in parts:
        occurring = np.unique(counts.indices)
        to_all = np.zeros(counts.shape[1], dtype=np.int64)
        to_all[occurring] = [column[names[sequences[i]]] for i in occurring]
        moved = (counts.data.astype(np.float64), to_all[counts.indices], counts.indptr)
        matrices.append(scipy.sparse.csr_matrix(moved, shape=(counts.shape[0], len(names))))
    matrix = scipy.sparse.vstack(matrices).tocsr()
    matrix.sum_duplicates()
    held = np.unique(matrix.indices)
    matrix, ids = matrix[:, held], np.array(list(names.values()))[held]

    def write(file_path):
        with h5py.File(file_path, 'w') as file:
            file.attrs['shape'] = matrix.shape[::-1]
            file['observation/ids'] = ids.tolist()
            file['sample/ids'] = [name for part in parts for name in part[0]]
            file['sample/matrix/data'], file['sample/matrix/indices'] = matrix.data, matrix.indices
            file['sample/matrix/indptr'] = matrix.indptr

    written(path, write)


def build_tree(out, threads):
    """Let FastTree build a tree of the studies' sequences, which MAFFT has aligned, and root it at its midpoint.

    Those of a database are inserted into it, each beside its nearest.

    Katoh and Toh 2007, doi:10.1093/bioinformatics/btl592 (PartTree); Price et al. 2010,
    doi:10.1371/journal.pone.0009490.
    """
    aligned, unrooted = out / 'aligned.fasta', out / 'unrooted.nwk'
    if not aligned.exists():
        # all against all takes 3 GB and half an hour for 30,000 sequences
        command = ['mafft', '--quiet', '--parttree', '--retree', '1', '--thread', str(threads)]
        whole = out / 'aligned-whole.fasta'
        written(whole, lambda path: run([*command, out / SEQUENCES], path))
        written(aligned, lambda path: mask(whole, path))
    rows = read_fasta(aligned)
    names = sorted(rows, key=lambda name: name.startswith(DATABASE))
    given = sum(not name.startswith(DATABASE) for name in names)
    if not unrooted.exists():
        backbone = out / 'backbone.fasta'
        text = ''.join(f'>{name}\n{rows[name]}\n' for name in names[:given])
        written(backbone, lambda path: path.write_text(text, encoding='utf-8'))
        # faster, and hardly worse for so many short sequences; no support values
        command = [program(FAST_TREE), '-nt', '-gtr', '-fastest', '-nosupport', '-quiet']
        written(unrooted, lambda path: run([*command, backbone], path))
    newick = rooted_at_midpoint(unrooted.read_text())
    if given < len(names):
        letters_NC = np.array([np.frombuffer(rows[name].encode(), dtype=np.uint8) for name in names])
        newick = insert(newick, names, *nearest(letters_NC, given))
    written(out / TREE, lambda path: path.write_text(newick, encoding='utf-8'))


def mask(aligned, path):
    """Write an alignment without the columns that hardly any sequence has: insertions of few, and misalignments."""
    rows = read_fasta(aligned)
    letters_SC = np.array([np.frombuffer(row.encode(), dtype=np.uint8) for row in rows.values()])
    kept = (letters_SC != ord('-')).mean(axis=0) >= MIN_OCCUPANCY
    lines = (f'>{name}\n{row.tobytes().decode()}\n' for name, row in zip(rows, letters_SC[:, kept]))
    path.write_text(''.join(lines), encoding='utf-8')


def program(names):
    """Return that of several names of a program under which it is installed."""
    for name in names:
        if any((pathlib.Path(folder) / name).exists() for folder in os.environ.get('PATH', '').split(os.pathsep)):
            return name
    raise UserError(f'{names[0]} was not found; install it (apt-get install mafft fasttree).')


def run(command, path):
    """Run a command whose output is the file."""
    with open(path, 'wb') as file:
        subprocess.run([str(word) for word in command], stdout=file, check=True)


def written(path, write):
    """Let `write` write the file under another name, which it loses when it is whole."""
    part = path.with_name(f'{path.name}.part')
    write(part)
    part.replace(path)


def rooted_at_midpoint(newick):
    """Return a tree of two tips or more, rooted halfway between those that are farthest apart (Farris 1972)."""
    import io

    import skbio

    tree = skbio.TreeNode.read(io.StringIO(newick), convert_underscores=False)
    return str(tree.root_at_midpoint())


def add_synthetic(out, copies, seed):
    """Write the table that is learned from: that of the studies, and these, transplanted in the tree."""
    table, sequences = read_table(out / TABLE), read_fasta(out / SEQUENCES)
    counts = scipy.sparse.vstack(list(table.blocks())).astype(np.int64).tocsr()
    studies = studies_of(out / TABLE).to_numpy()
    real = [(name, table.feature_ids, counts[studies == name]) for name in np.unique(studies)]
    left_out = set()
    if (out / LEFT_OUT).exists():
        left_out = set(read_table(out / LEFT_OUT).feature_ids) - set(table.feature_ids)
    generator = np.random.default_rng([seed, *LEARNED_TABLE.encode()])
    newick = (out / TREE).read_text(encoding='utf-8')
    parts = [(table.sample_ids, [sequences[name] for name in table.feature_ids], counts)]
    parts += synthetic_studies(real, newick, sequences, left_out, copies, generator)
    write_table(out / LEARNED_TABLE, parts, {sequence: name for name, sequence in sequences.items()})


def write_sources(index, names, greengenes, path):
    """Write what an encoder learned from, with citations and licences, as Markdown."""
    rows = pd.read_csv(index, sep='\t', dtype=str, keep_default_na=False).set_index('name').loc[sorted(names)]
    columns = ['environment', 'citation', 'source', 'licence']
    lines = [
        '# What this encoder learned from',
        '',
        'No sample, count or name of a sample is in its files. Of its training sequences, some thousand at most are.',
        '',
        f'| study | {" | ".join(columns)} |',
        f'|{"---|" * (len(columns) + 1)}',
        *(f'| {" | ".join([name, *row])} |'.replace('\n', ' ') for name, *row in rows[columns].itertuples()),
        '',
        'Citations are as the sources state them. Studies of closed-reference OTUs have sequences of Greengenes for '
        'their reads.',
    ]
    if greengenes is not None:
        lines += [
            '',
            'Sequences of Greengenes 13_8, clustered at 97 % (DeSantis et al. 2006, doi:10.1128/AEM.03006-05; McDonald '
            'et al. 2012, doi:10.1038/ismej.2011.139; CC BY-SA 3.0), were cut to V4 and stood for those of the studies '
            'in synthetic samples.',
        ]
    lines += [
        '',
        'Because of Greengenes, the files of this folder are under the Creative Commons Attribution-ShareAlike 3.0 '
        'licence (CC BY-SA 3.0, https://creativecommons.org/licenses/by-sa/3.0/).',
    ]
    written(path, lambda part: part.write_text('\n'.join(lines) + '\n', encoding='utf-8'))


def studies_of(table):
    """Return the study of each sample of a merged table, indexed by sample id."""
    ids = read_table(table).sample_ids
    return pd.Series([name.split(MARK)[0] for name in ids], index=pd.Index(ids, name='id'), name='study')


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('studies', type=pathlib.Path)
    parser.add_argument('out', type=pathlib.Path)
    parser.add_argument('--leave-out', nargs='*', default=[], metavar='NAME')
    parser.add_argument('--greengenes', type=pathlib.Path, help='FASTA of full-length genes')
    for name, value in (
        ('samples', 120), ('depth', 2000), ('steps', 2000), ('width', 128), ('asv-layers', 1), ('sample-layers', 1),
        ('memberships', 512), ('batch-size', 32), ('seed', 1), ('threads', 1), ('tips', 20000), ('copies', 0),
    ):  # fmt: skip
        parser.add_argument(f'--{name}', type=int, default=value)
    for option, lengths, of in (('--token-branches', [0.06, 0.15], 'tokens'), ('--own-branches', None, 'ASVs instead')):
        said = f'lengths of those of {of}'
        parser.add_argument(option, type=float, nargs=2, default=lengths, metavar=('KNOWN', 'NEW'), help=said)
    options = parser.parse_args()
    studies = sorted(path.parent for path in options.studies.glob('*/table.qza'))
    if unknown := set(options.leave_out) - {study.name for study in studies}:
        parser.error(f'there is no study {sorted(unknown)[0]} in {options.studies}')
    if not (options.studies / INDEX).exists():
        parser.error(f'there is no {options.studies / INDEX}, which says what the studies are and under which licence')
    out = options.out
    out.mkdir(parents=True, exist_ok=True)
    if not (out / SEQUENCES).exists():
        taken = options.samples, options.depth, options.seed, options.greengenes, options.tips
        merge(studies, out, options.leave_out, *taken)
    if not (out / TREE).exists():
        build_tree(out, options.threads)
    if not (out / LEARNED_TABLE).exists():
        add_synthetic(out, options.copies, options.seed)
    train(out, options)
    names = set(studies_of(out / TABLE))
    write_sources(options.studies / INDEX, names, options.greengenes, out / ENCODER / SOURCES)


def train(out, options):
    """Pretrain on what was merged; a run that was stopped goes on from its last checkpoint."""
    encoder = out / ENCODER
    if encoder.exists():
        return
    values = LEARNED | {
        'width': options.width, 'asv_layers': options.asv_layers, 'sample_layers': options.sample_layers,
        'memberships': options.memberships, 'batch_size': options.batch_size, 'random_seed': options.seed,
        'threads': options.threads, 'max_steps': options.steps, 'epochs': options.steps,
    }  # fmt: skip
    os.environ.setdefault('AAM_WORK_DIR', str(out / 'work'))
    part = out / f'{ENCODER}.part'
    part.mkdir(exist_ok=True)
    table, learned, Distances.head = out / LEARNED_TABLE, Distances.head, HeadConfig('distances')
    try:
        config, groups = PretrainConfig.from_flat(values), studies_of(table)
        pretrain(table, part, config, out / SEQUENCES, phylogeny=out / TREE, groups=groups)
    finally:
        # whoever pretrains next in this process learns own branches again
        Distances.head = learned
    known, new = options.own_branches or options.token_branches
    if options.own_branches:
        length = bundle.read_config(part).call.model.max_sequence_length
        with_own_branches(part, part, new, known, keys_of(out / TABLE, out / SEQUENCES, length))
    else:
        with_token_branches(part, part, known, new, out / TABLE, out / SEQUENCES)
    part.rename(encoder)


if __name__ == '__main__':
    main()
