"""Says that it is being imported, and takes its time until it is interrupted."""

import time

print("importing", flush=True)
time.sleep(30)
app = None
