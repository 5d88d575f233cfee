"""``python -m AttentionUNetSegmentLib.app`` is the command ``attention-unet-segment``."""

import sys

from .main import main

if __name__ == "__main__":
    sys.exit(main())
