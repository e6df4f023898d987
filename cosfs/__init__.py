"""cosfs mounts a Tencent Cloud COS bucket as a directory.

An import follows the arrows, never up or sideways::

    cli -> mount -> fuse -> fs -> namespace -> cos -> errors, config
                             `--> transfer --> cos
    cli -> settings -> options -> cos, config, values    (what the user wrote -> a MountConfig)
    cli -> emulator          (a leaf: imports nothing else of cosfs)
    cli, fuse -> mounttable  (a leaf too)
"""

from typing import Final

__version__: Final = "0.1.0"
