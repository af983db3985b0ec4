# Counts the events of a recording that pyarrow reads, up to the last whole batch.
import sys

import pyarrow
import pyarrow.compute
import pyarrow.ipc

events = 0
reader = pyarrow.ipc.open_stream(sys.argv[1])
while True:
    try:
        batch = reader.read_next_batch()
    except StopIteration:
        break
    except (OSError, pyarrow.ArrowInvalid) as error:
        print(f"after {events} events: {error}", file=sys.stderr)
        break
    kinds = batch.column("kind")
    events += pyarrow.compute.sum(pyarrow.compute.less(kinds, 32)).as_py()
print(events)
