"""What the runs that have written a series so far have encrypted, for the one that goes on with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mpibatch.base.files import read_at
from mpibatch.io.vault.cipher import RUN_BITS, SEGMENT, TAG, Forged
from mpibatch.io.vault.envelope import HEADER
from mpibatch.io.vault.keyring import cipher_of

if TYPE_CHECKING:
    from mpibatch.io.seal.extent import Extent

__all__ = ["Past"]


@dataclass(frozen=True)
class Past:
    """The secrets of all runs, the last one's among them, and what is bound to the datasets, by number. Unprinted."""

    secrets: tuple[bytes, ...] = field(repr=False)
    about: tuple[str, ...] = field(repr=False)

    def opens(self, handle: int, extent: Extent, dataset: int, rank: int, ranks: int) -> bool:
        """Whether one rank's share of a block is in a file as it was encrypted. Local. Raises OSError."""
        cipher = cipher_of(self.secrets[extent.block >> RUN_BITS])
        for segment in range(rank, -(-extent.nbytes // SEGMENT), ranks):
            low = segment * SEGMENT
            opened = bytearray(min(SEGMENT, extent.nbytes - low))
            sealed = read_at(handle, len(opened), HEADER + extent.offset + low)
            tag = extent.tags[segment * TAG : (segment + 1) * TAG]
            try:
                if len(sealed) != len(opened):
                    return False
                cipher.open(sealed, tag, (dataset, extent.block, segment), self.about[dataset].encode(), opened)
            except Forged:
                return False
        return True
