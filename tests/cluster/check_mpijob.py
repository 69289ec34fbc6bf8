#!/usr/bin/env python3
"""Checks an MPIJob manifest without a cluster. Pods and volumes: every field and type against the models of the
Kubernetes client, which are made from the API's schema. The MPIJob around them: the fields and rules of v2beta1 below,
written down from kubeflow/mpi-operator (pkg/apis/kubeflow/v2beta1/types.go and pkg/apis/kubeflow/validation).

usage: check_mpijob.py FILE      exits 1 and names every fault. Needs Debian's python3-yaml and python3-kubernetes.
"""
import re
import sys

try:
    import yaml
    from kubernetes.client import models
except ImportError as missing:
    sys.exit(f"check_mpijob: {missing}; run: bash tools/setup.sh slurm, and use /usr/bin/python3")

NATURAL = "a whole number, 0 or more"
RESTART = {"Never", "OnFailure"}
JOB = {
    "apiVersion": {"kubeflow.org/v2beta1"}, "kind": {"MPIJob"}, "metadata": "V1ObjectMeta",
    "spec": {
        "slotsPerWorker": NATURAL, "sshAuthMountPath": str, "mpiImplementation": {"OpenMPI", "Intel"},
        "waitForWorkers": bool,
        "runPolicy": {"cleanPodPolicy": {"All", "Running", "None"}, "ttlSecondsAfterFinished": NATURAL,
                      "activeDeadlineSeconds": NATURAL, "backoffLimit": NATURAL, "suspend": bool},
        "mpiReplicaSpecs": {
            role: {"replicas": NATURAL, "restartPolicy": RESTART, "template": "V1PodTemplateSpec"}
            for role in ("Launcher", "Worker")},
    },
}
SIMPLE = {"str": str, "int": int, "bool": bool}
# Fields whose values are quantities, numbers allowed, though the client's models say text.
QUANTITIES = {"limits", "requests"}


class Checker:
    def __init__(self):
        self.faults = []

    def say(self, where, what):
        self.faults.append(f"{where}: {what}")

    def typed(self, value, kind, where):
        """`kind`: a type as the client's models write it."""
        inner = re.fullmatch(r"(list|dict)[\[(](?:str, )?(.*)[\])]", kind)
        if inner and inner[1] == "list" and isinstance(value, list):
            for i, item in enumerate(value):
                self.typed(item, inner[2], f"{where}[{i}]")
        elif inner and inner[1] == "dict" and isinstance(value, dict):
            for name, item in value.items():
                if not (where.split(".")[-1] in QUANTITIES and isinstance(item, int)):
                    self.typed(item, inner[2], f"{where}.{name}")
        elif kind in SIMPLE:
            if type(value) is not SIMPLE[kind]:
                self.say(where, f"expected {kind}, got {value!r}")
        elif kind.startswith("V1") and isinstance(value, dict):
            self.model(value, getattr(models, kind), where)
        elif kind != "object":
            self.say(where, f"expected {kind}, got {value!r}")

    def model(self, value, model, where):
        names = {name: attribute for attribute, name in model.attribute_map.items()}
        for name in value:
            if name not in names:
                self.say(f"{where}.{name}", f"{model.__name__} has no such field")
            else:
                self.typed(value[name], model.openapi_types[names[name]], f"{where}.{name}")
        try:
            model(**{names[name]: item for name, item in value.items() if name in names})
        except ValueError as error:  # a field that must be there
            self.say(where, str(error))

    def table(self, value, rules, where):
        if isinstance(rules, dict):
            for name, item in value.items() if isinstance(value, dict) else []:
                if name not in rules:
                    self.say(f"{where}.{name}", "MPIJob v2beta1 has no such field")
                else:
                    self.table(item, rules[name], f"{where}.{name}")
            if not isinstance(value, dict):
                self.say(where, f"expected fields, got {value!r}")
        elif isinstance(rules, set):
            if value not in rules:
                self.say(where, f"expected one of {', '.join(sorted(rules))}, got {value!r}")
        elif rules == NATURAL:
            if type(value) is not int or value < 0:
                self.say(where, f"expected {NATURAL}, got {value!r}")
        elif isinstance(rules, str):
            self.typed(value, rules, where)
        elif type(value) is not rules:
            self.say(where, f"expected {rules.__name__}, got {value!r}")

    def job(self, job):
        self.table(job, JOB, "MPIJob")
        if self.faults:
            return
        replicas = job["spec"]["mpiReplicaSpecs"]
        if replicas.get("Launcher", {}).get("replicas") != 1:
            self.say("MPIJob.spec.mpiReplicaSpecs.Launcher.replicas", "must be there, and 1")
        for role, spec in replicas.items():
            if "restartPolicy" not in spec or "template" not in spec:
                self.say(f"MPIJob.spec.mpiReplicaSpecs.{role}", "needs restartPolicy and template")
        last = f"{job['metadata'].get('name', '')}-worker-{replicas.get('Worker', {}).get('replicas', 1) - 1}"
        if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", last):
            self.say("MPIJob.metadata.name", f"'{last}' would be no name of a host")

    def mounts(self, documents):
        """Every volume that is mounted exists, and every claim of a volume is in the file."""
        claims = {doc["metadata"]["name"] for doc in documents if doc["kind"] == "PersistentVolumeClaim"}
        for role, spec in documents[0]["spec"]["mpiReplicaSpecs"].items():
            pod = spec["template"]["spec"]
            volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
            for container in pod["containers"]:
                for mount in container.get("volumeMounts", []):
                    if mount["name"] not in volumes:
                        self.say(role, f"there is no volume {mount['name']}")
            for volume in volumes.values():
                claim = volume.get("persistentVolumeClaim", {}).get("claimName")
                if claim and claim not in claims:
                    self.say(role, f"there is no claim {claim} in this file")


def main(path):
    with open(path, encoding="utf-8") as file:
        documents = list(yaml.safe_load_all(file))
    checker = Checker()
    checker.job(documents[0])
    for document in documents[1:]:
        checker.model(document, getattr(models, f"V1{document['kind']}"), document["kind"])
    if not checker.faults:
        checker.mounts(documents)
    for fault in checker.faults:
        print(f"{path}: {fault}", file=sys.stderr)
    return 1 if checker.faults else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1]))
