"""K-mers of many genomes: how often they occur, and which genomes share how many, the same bits on any number of ranks.

Each genome becomes a sorted set of 64-bit numbers, its k-mers themselves or a sample of their hashes, in a file of its
own. Ranks then take blocks of pairs of genomes, read the sets of a block and count what they share; neither sets nor
the matrix are on one rank:

- `genomes`: names and files; `letters`: FASTA and FASTQ, compressed or not, as k-mers.
- `samples`: what is kept of a genome's k-mers, all or every `scaled`-th by hash, with their counts.
- `scratch`: files of sets and blocks, each complete or absent, from which another run goes on.
- `comparison`: blocks of pairs, and the matrix and table made of them; `signatures`: files for sourmash.

Methods: the sample is FracMinHash, L. Irber et al., doi:10.1101/2022.01.11.475838; the distance that of B. Ondov et al.
2016, doi:10.1186/s13059-016-0997-x. Start it with ``python -m mpibatch.apps.kmers --help``.
"""
