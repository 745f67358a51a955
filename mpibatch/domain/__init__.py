"""Which global index lies where: pure integers, no MPI, no arrays.

`box` (regions) → `blocks` (one axis cut into blocks) → `decomposition` (a shape over a process grid) →
`walls` (indices outside the domain mapped back into it); `turns` (axes cut along other axes of the process grid).
"""

from mpibatch.domain.blocks import Blocks
from mpibatch.domain.box import Box
from mpibatch.domain.decomposition import Decomposition, choose_topology
from mpibatch.domain.walls import MODES, IndexRun, check_mode, wall_runs

__all__ = ["MODES", "Blocks", "Box", "Decomposition", "IndexRun", "check_mode", "choose_topology", "wall_runs"]
