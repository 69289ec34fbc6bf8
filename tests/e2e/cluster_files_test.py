"""What can be said of the files in cluster/ without a cluster, a container or Kubernetes; the tools are in
tests/cluster/."""
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

from molora_job import MODEL, MOLORA, ROOT

sys.path.insert(0, str(ROOT / "tests" / "cluster"))
from run_dockerfile import Refused, Build, expand, instructions  # noqa: E402

CLUSTER = ROOT / "cluster"
# Debian's, for Debian's modules: the python3 of PATH may be another one.
PYTHON = "/usr/bin/python3"


class ClusterFilesE2E(unittest.TestCase):
    def check_mpijob(self, text):
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write(text)
            file.flush()
            return subprocess.run([PYTHON, ROOT / "tests" / "cluster" / "check_mpijob.py", file.name],
                                  capture_output=True, text=True)

    def test_batch_scripts_ask_for_the_warning_the_requeue_and_appended_output(self):
        scripts = sorted(CLUSTER.glob("slurm/*.sbatch"))
        self.assertEqual(len(scripts), 4)
        for script in scripts:
            lines = script.read_text().splitlines()
            for option in ("--signal=B:USR1@120", "--requeue", "--open-mode=append"):
                self.assertIn(f"#SBATCH {option}", lines, script)
            self.assertRegex(lines[1], rf"^# .*sbatch .*cluster/slurm/{script.name} ", script)
            last = max(i for i, line in enumerate(lines) if line.startswith("#SBATCH"))
            self.assertTrue(all(line.startswith("#") for line in lines[:last]), "Slurm stops at the first command")

    def test_the_manifest_is_an_mpijob(self):
        done = self.check_mpijob((CLUSTER / "kubernetes" / "mpijob.yaml").read_text())
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_faults_of_a_manifest_are_found(self):
        manifest = (CLUSTER / "kubernetes" / "mpijob.yaml").read_text()
        for wrong, right, said in (
                ("restartPolicy: Always", "restartPolicy: OnFailure", "expected one of Never, OnFailure"),
                ("prestop", "preStop", "lifecycle.prestop: V1Lifecycle has no such field"),
                ("mountpath", "mountPath", "Invalid value for `mount_path`"),
                ("slots: 8", "slotsPerWorker: 8", "spec.slots: MPIJob v2beta1 has no such field"),
                ('runAsUser: "me"', "runAsUser: 2000", "expected int, got 'me'"),
                ("name: mo.lora", "name: molora", "would be no name of a host"),
                ("claimName: other", "claimName: molora-work", "there is no claim other"),
                ("- name: elsewhere", "- name: shared-memory", "there is no volume shared-memory")):
            with self.subTest(wrong):
                count = -1 if said.startswith("there is no claim") else 1
                at = manifest.rindex(right) if wrong == "- name: elsewhere" else manifest.index(right)
                text = manifest.replace(right, wrong) if count == -1 else (
                    manifest[:at] + wrong + manifest[at + len(right):])
                done = self.check_mpijob(text)
                self.assertEqual(done.returncode, 1, done.stdout)
                self.assertIn(said, done.stderr)

    def test_the_manifest_fits_the_image(self):
        manifest = (CLUSTER / "kubernetes" / "mpijob.yaml").read_text()
        install = (CLUSTER / "containers" / "install.sh").read_text()
        user = re.search(r"useradd --create-home --uid (\d+) .* (\w+)$", install, re.MULTILINE)
        self.assertEqual(set(re.findall(r"runAs(?:User|Group): (\d+)", manifest)), {user[1]})
        self.assertIn(f"sshAuthMountPath: /home/{user[2]}/.ssh", manifest)
        sshd = re.search(r"-f, (/home/\S+)\]", manifest)[1]
        self.assertIn(f"cat >{sshd} <<", install)
        slots = re.search(r"slotsPerWorker: (\d+)", manifest)[1]
        self.assertIn(f"nvidia.com/gpu: {slots},", manifest)

    def test_the_apptainer_definition_does_what_the_dockerfile_does(self):
        """So the proof of the one (DockerfileE2E) is one of the other."""
        docker = instructions((CLUSTER / "containers" / "Dockerfile").read_text())
        defaults = dict(rest.split("=") for _, word, rest in docker if word == "ARG")
        froms = [expand(rest.split()[0], defaults) for _, word, rest in docker if word == "FROM"]
        runs = [expand(rest, defaults) for _, word, rest in docker if word == "RUN"]
        folders = [rest for _, word, rest in docker if word == "COPY"]
        self.assertEqual((len(froms), len(runs), len(folders)), (2, 2, 2))

        stages = read_definition((CLUSTER / "containers" / "molora.def").read_text())
        self.assertEqual([stage["header"] for stage in stages],
                         [{"Bootstrap": "docker", "From": base, "Stage": name}
                          for base, name in zip(froms, ("build", "final"))])
        self.assertEqual([stage["post"][-1] for stage in stages], runs)
        self.assertEqual(stages[0]["files"], [". /src"])
        self.assertIn("cd /src", stages[0]["post"])
        self.assertEqual(stages[1]["files from build"], ["/opt/molora /opt/molora"])
        self.assertIn("--from=build /opt/molora /opt/molora", folders)

    def test_the_readme_explains_every_setting_that_the_supervisor_makes(self):
        readme = (CLUSTER / "README.md").read_text()
        for where in (["--ranks", "2"], ["--hosts", "a:4,b:4"]):
            done = subprocess.run([MOLORA, "train", ROOT / "configs" / "medqwen3-multitask.yaml", *where,
                                   "--set", f"model.path={ROOT / MODEL}", "--print-command"],
                                  cwd=ROOT, capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stderr)
            names = re.findall(r"^export (\w+)=", done.stdout, re.MULTILINE)
            self.assertIn("OMP_NUM_THREADS", names)
            for name in names:
                # "`OMPI_X_time`, `..._intvl`": what follows the last underscore may stand alone.
                self.assertTrue(f"`{name}`" in readme or f"`..._{name.rsplit('_', 1)[1]}`" in readme, name)

    def test_the_readme_explains_every_exit_code(self):
        readme = (CLUSTER / "README.md").read_text()
        codes = re.findall(r"k\w+ = (\d+),", (ROOT / "src" / "base" / "error.h").read_text())
        self.assertGreaterEqual(len(codes), 7)
        for code in codes:
            self.assertRegex(readme, rf"(?m)^\| {code} \| \w")

    def test_a_dockerfile_that_is_not_understood_is_refused(self):
        for text, said in (("ADD x y", "the instruction ADD is not known"),
                           ("COPY --chown=me a b", "only COPY"),
                           ("RUN --mount=type=cache,target=/c x", "only a shell command"),
                           ("RUN [\"x\"]", "only a shell command"),
                           ("ENV A B", "only NAME=value"),
                           ("USER ${NAME:-root}", "only ${NAME} and $NAME are known"),
                           ("CMD molora", "only the form"),
                           ("FROM ubuntu:24.04", "only debian:12, debian:12-slim can be made here")):
            with self.subTest(text):
                build = Build(ROOT, pathlib.Path("/nowhere"), [])
                build.stages.append(StageOnPaper())
                with self.assertRaises(Refused) as refused:
                    for _, word, rest in instructions(text):
                        build.do(word, rest)
                self.assertIn(said, str(refused.exception))


class StageOnPaper:
    name, environment, arguments, folder, user = "paper", {}, {}, "/", None

    def values(self):
        return {}


def read_definition(text):
    """The stages of an Apptainer definition: their header, and the lines of each section by its heading."""
    stages, lines = [], None
    for line in text.splitlines():
        words = line.strip()
        if not words or words.startswith("#"):
            continue
        if words.startswith("Bootstrap:"):
            stages.append({"header": {}})
            lines = None
        if words.startswith("%"):
            lines = stages[-1].setdefault(words[1:], [])
        elif lines is None:
            name, _, value = words.partition(":")
            stages[-1]["header"][name] = value.strip()
        else:
            lines.append(words)
    return stages


if __name__ == "__main__":
    unittest.main()
