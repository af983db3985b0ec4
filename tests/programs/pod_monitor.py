"""Fails unless the PodMonitor in the file of its first argument is valid by the Prometheus operator's published schema, whose
models ignore what they do not know.
"""

import sys

import yaml
from cloudcoil.models.prometheus_operator.v1 import PodMonitor

with open(sys.argv[1]) as file:
    given = yaml.safe_load(file)
known = PodMonitor.model_validate(given).model_dump(mode="json", by_alias=True, exclude_unset=True)
if known != given:
    sys.exit(f"the schema knows only {known}")
