"""A vault that all ranks write: each encrypts the blocks of values that it writes, rank 0 everything else."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mpibatch.base.errors import UsageError
from mpibatch.io.base.images import drafts
from mpibatch.io.vault.cipher import RUN_BITS, SECRET_BYTES, Cipher, require
from mpibatch.io.vault.drafts import VaultDraft
from mpibatch.io.vault.envelope import HEADER, new_header
from mpibatch.io.vault.keyring import remember
from mpibatch.io.vault.keys import recipients_of
from mpibatch.io.vault.past import Past

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mpibatch.io.base.names import PathLike
    from mpibatch.io.seal.extent import Extent
    from mpibatch.io.vault.cipher import Bytes
    from mpibatch.io.write.layout import Dataset
    from mpibatch.mpi import MPI

__all__ = ["Vault", "begun"]

METADATA = "metadata"


class Vault:
    """The secret of a file under way, and what its datasets are; made by `begun`.

    Attributes
    ----------
    base : the byte of the file at which the image begins.
    past : what opens the blocks of this run and of those before it.
    """

    base = HEADER

    def __init__(
        self,
        secret: bytes,
        header: bytes,
        datasets: Sequence[Dataset],
        *,
        discloses: bool,
        earlier: Sequence[bytes] = (),
    ) -> None:
        self._cipher, self._header, self._discloses = Cipher(secret), header, discloses
        self._datasets = list(datasets)
        self._numbers = {dataset.name: number for number, dataset in enumerate(datasets, 1)}
        # Bound to each segment: in another dataset, or one of another form, it does not open.
        self._about = [METADATA, *(json.dumps([d.name, d.dtype, d.shape, d.chunks]) for d in datasets)]
        self.past = Past((*earlier, secret), tuple(self._about))

    def seal(self, name: str, block: int, data: Any) -> tuple[Bytes, bytes]:
        """Return the ciphertext of a dataset's block, as long as `data`, and its tags. Local.

        Of a series, the block's number is one that `number_of` gave.
        """
        number = self._numbers[name]
        return self._cipher.seal(data, number, block, self._about[number].encode())

    def number_of(self, block: int) -> int:
        """Return the number of a block of a series, others in every run that goes on with it. Local. UsageError."""
        if block >> RUN_BITS:
            raise UsageError(f"an encrypted series may have {1 << RUN_BITS} chunks in each dataset; write several")
        return (len(self.past.secrets) - 1 << RUN_BITS) + block

    @contextmanager
    def draft(self, path: str) -> Iterator[None]:
        """Keep what HDF5 writes into the file at `path` in memory, until `finish`. Local: rank 0's."""
        draft = drafts[path] = VaultDraft(path, self._header)
        try:
            yield
        finally:
            del drafts[path]
            draft.close()

    def finish(self, path: str, extents: Sequence[Extent]) -> None:
        """Encrypt what is left, and complete the file. Local: rank 0's. Raises OSError."""
        draft = drafts[path]
        assert isinstance(draft, VaultDraft)
        blocks = [((e.offset, e.nbytes, self._numbers[e.dataset], e.block), e.tags) for e in extents if e.tags]
        draft.finish(self._cipher, blocks, self._about, self._public(), self.past.secrets[:-1])

    def _public(self) -> bytes:
        known = [{"name": d.name, "shape": d.shape, "dtype": d.dtype} for d in self._datasets]
        return json.dumps({"datasets": known}).encode() if self._discloses else b""


def begun(
    comm: MPI.Intracomm,
    recipients: PathLike,
    datasets: Sequence[Dataset],
    driver: str | None = None,
    *,
    discloses: bool = False,
    earlier: Sequence[bytes] = (),
) -> Vault:
    """Return a new vault for the recipients in a file. Collective. RunError or UsageError on all ranks.

    `driver`: by which the file was to be written, if one was named. `discloses`: names, shapes and
    dtypes are for everybody to read. `earlier`: the secrets of the runs that this one goes on from.
    """
    from mpibatch.mpi import agreed

    on_root: tuple[bytes, bytes] = b"", b""
    with agreed(comm, "encrypting"):
        if driver not in (None, "direct"):
            raise UsageError(f"driver={driver!r} does not encrypt; leave it out, or give driver='direct'")
        require()
        if comm.rank == 0:
            secret = os.urandom(SECRET_BYTES)
            on_root = secret, new_header(secret, recipients_of(recipients))
    secret, header = comm.bcast(on_root, root=0)
    remember(header, secret)
    return Vault(secret, header, datasets, discloses=discloses, earlier=earlier)
