"""What the log means: records become rows of the shared tables. A function of the log alone."""

from node.fold.log import Fold
from node.fold.roots import VERSION, digest, state_root

__all__ = ["VERSION", "Fold", "digest", "state_root"]
