"""Where hostile bytes are parsed: a child process without network and secrets, with limits on all it takes.

view         what of the file system and the environment a child sees
walls        how it is shut in: bubblewrap, or namespaces of our own; refused where neither works
namespaces   the second kind, for machines without bubblewrap
limits       memory, processor time, files: always
messages     what passes between a worker and its child, checked on arrival
child        the child: extracts one file after the other
parent       the worker's side: one child, replaced when it dies; a death costs the one file it held
"""
