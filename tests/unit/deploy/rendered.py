"""The manifests of `deploy/kubernetes`, as kustomize renders them."""

import functools
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[3]
KUBERNETES = ROOT / "deploy" / "kubernetes"
VARIANTS = ("base", "overlays/dev", "overlays/istio")


@functools.cache
def text(variant: str) -> str:
    """What `kubectl kustomize` prints."""
    kubectl = Path(sys.executable).parent / "kubectl"
    command = [str(kubectl), "kustomize", str(KUBERNETES / variant)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def resources(variant: str) -> list[dict[str, Any]]:
    """Each resource."""
    return [resource for resource in yaml.safe_load_all(text(variant)) if resource]


def of_kind(variant: str, kind: str) -> list[dict[str, Any]]:
    """The resources of a kind."""
    return [resource for resource in resources(variant) if resource["kind"] == kind]


def named(variant: str, kind: str, name: str) -> dict[str, Any]:
    """The resource of a kind with a name."""
    (found,) = [resource for resource in of_kind(variant, kind) if resource["metadata"]["name"] == name]
    return found


def only(variant: str, kind: str) -> dict[str, Any]:
    """The one resource of a kind."""
    (found,) = of_kind(variant, kind)
    return found
