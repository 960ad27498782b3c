"""pollctl ADDRESS [OPTION]: vote for OPTION, if given, and print the votes. Requires only Python."""

import json
import sys
import urllib.error
import urllib.request

if len(sys.argv) not in (2, 3):
    sys.exit(__doc__)
address, *option = sys.argv[1:]
if "://" not in address:
    address = f"http://{address}"
try:
    if option:
        urllib.request.urlopen(f"{address}/{option[0]}", data=b"", timeout=10)
    with urllib.request.urlopen(f"{address}/", timeout=10) as answer:
        tally = json.load(answer)
except urllib.error.URLError as error:
    sys.exit(f"pollctl: {error}")
for name, votes in tally.items():
    print(f"{name}  {votes}")
