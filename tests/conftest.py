"""What holds for every test: how long and how repeatably Hypothesis searches."""

import os

from hypothesis import HealthCheck, settings

# No deadline and no complaint about slowness: a busy machine is not a defect of the code under test.
_PATIENT = settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])

settings.register_profile("ci", _PATIENT, derandomize=True, print_blob=True)
settings.register_profile("local", _PATIENT)
settings.load_profile("ci" if os.environ.get("CI") else "local")
