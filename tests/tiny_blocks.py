"""The default experiment in miniature, on a space whose programs compile quickly."""

from configs import common
from tests import tiny


def get_config():
    config = tiny.get_config()
    config.name = "tiny_blocks"
    config.search.space = common.space(
        "shufflenet", stem_stride=1, channels=(4, 8, 16, 32), repeats=(1, 1)
    )
    config.search.evolution.max_macs = 0
    return config
