"""A COS-compatible server for the demo and the tests. A leaf: imports nothing else of cosfs.

Each request takes this way; what is beside it has no part in deciding::

    server     sockets, HTTP/1.1                         run        settings, signals
      api      understanding, faults, every answer       faults     rules, counted
        signature, routing                               requestlog
          buckets, objects, multipart                    service    limits, the request as a value
            store -> index                               documents  XML; listing, conditions: pure
            intake -> bodies                             streams    bodies on their way
"""
