"""Jobs on the Slurm cluster of tests/cluster/slurm_cluster.sh: submit, signal, wait, and look for what they left."""
import os
import pathlib
import re
import subprocess
import tempfile
import time

from molora_job import MOLORA, ROOT, SMALL_RUN, Job

CLUSTER = ROOT / "tests" / "cluster" / "slurm_cluster.sh"
SCRIPTS = ROOT / "cluster" / "slurm"
STEPS = 18
# One thread for each rank, and no spinning: the hosts of the cluster share the cores of this machine.
ENVIRONMENT = {"MOLORA_PROGRAM": MOLORA, "OMP_NUM_THREADS": "1", "OMPI_MCA_mpi_yield_when_idle": "1",
               "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "OUT_OF_MEMORY", "BOOT_FAIL"}


def marked_processes(mark):
    """[(pid, command line)] of all processes on this machine, whatever their host, that have `mark` in their
    environment: those that a job started, and theirs. A zombie has no environment: it is only a number."""
    found = []
    for folder in pathlib.Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and mark.encode() in (folder / "environ").read_bytes():
                found.append((int(folder.name), (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()))
        except OSError:  # it has ended, or belongs to the kernel
            continue
    return found


def processes_of(uts, pattern):
    """The ids of the processes on the host with this UTS namespace whose command line fits."""
    found = []
    for folder in pathlib.Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and os.readlink(folder / "ns" / "uts") == uts and re.search(
                    pattern, (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()):
                found.append(int(folder.name))
        except OSError:
            continue
    return found


class SlurmJob(Job):
    """A class of tests with a cluster of its own, and one run that nothing disturbed (`whole`) to compare with."""

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="molora-slurm-")
        cls.addClassCleanup(folder.cleanup)
        os.chmod(folder.name, 0o755)  # munge wants its socket where everybody could reach it
        cls.cluster = pathlib.Path(folder.name) / "cluster"
        done = subprocess.run(["bash", CLUSTER, "start", cls.cluster, str(os.getpid())], capture_output=True, text=True)
        if done.returncode != 0:
            raise AssertionError(f"no Slurm cluster: {done.stdout}{done.stderr}")
        cls.addClassCleanup(lambda: subprocess.run(["bash", CLUSTER, "stop", cls.cluster], check=True))
        cls.wholes = pathlib.Path(folder.name) / "whole"

    def setUp(self):
        super().setUp()
        self.mark = f"MOLORA_TEST_MARK={self.folder}"
        self.write_config()
        self.addCleanup(self.end_all_jobs)

    def write_config(self, overrides=""):
        text = SMALL_RUN.replace("max_steps: 12", f"max_steps: {STEPS}")
        self.config.write_text(f"{text}\noutput_dir: {self.folder / 'run'}\n{overrides}")

    def on(self, host, *command, expect=0, timeout=300, **environment):
        """Runs a command on a host of the cluster; returns what it wrote."""
        done = subprocess.run([self.cluster / "on", host, "env", self.mark, *map(str, command)], cwd=ROOT, text=True,
                              env={**os.environ, **ENVIRONMENT, **environment}, timeout=timeout,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.assertEqual(done.returncode, expect, f"{command}\n{done.stdout}")
        return done.stdout

    def whole(self, name, *arguments, nodes=2):
        """The folder of a run that nothing disturbs, of a rank on each node, by plain mpirun; made once for a class.
        Bits depend on the threads of a rank, and those on how many ranks share its host: so on the same nodes."""
        folder = self.wholes / f"{name}-{nodes}"
        if not folder.exists():
            self.on("login", "salloc", "--quiet", f"--nodes={nodes}", f"--ntasks={nodes}", "mpirun", MOLORA, "train",
                    *(arguments or [self.config]), "--set", f"output_dir={folder}")
        return folder

    def submit(self, script, *arguments, options=(), **environment):
        """Returns the job's id. Its output is in log()."""
        output = self.on("login", "sbatch", "--parsable", f"--output={self.folder}/job-%j.log", *options,
                         SCRIPTS / script, *arguments, **environment)
        return output.strip().splitlines()[-1]

    def log(self, job):
        path = self.folder / f"job-{job}.log"
        return path.read_text() if path.exists() else ""

    def job(self, job):
        """The fields of `scontrol show job`; an array's: of its first task."""
        line = self.on("login", "scontrol", "--oneliner", "show", "job", job).splitlines()[0]
        return dict(word.split("=", 1) for word in line.split() if "=" in word)

    def wait_until(self, what, condition, timeout=240):
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                logs = "\n".join(f"{path}:\n{path.read_text()}" for path in self.folder.glob("job-*.log"))
                self.fail(f"after {timeout} s not yet: {what}\n{self.on('login', 'squeue')}\n"
                          f"{marked_processes(self.mark)}\n{logs}")
            time.sleep(0.1)

    def wait_for_state(self, job, *states, timeout=240):
        self.wait_until(f"job {job} {'or '.join(states)}", lambda: self.job(job)["JobState"] in states, timeout)

    def wait_for_end(self, job, state="COMPLETED", timeout=240):
        self.wait_for_state(job, *ENDED, timeout=timeout)
        self.assertEqual(self.job(job)["JobState"], state, self.log(job))

    def wait_for_step(self, name, step, timeout=120):
        self.wait_until(f"step {step} of {name}", lambda: len(self.steps(name)) >= step, timeout)

    def warn(self, job):
        """What Slurm does ahead of the time limit: #SBATCH --signal=B:USR1."""
        self.on("login", "scancel", "--batch", "--signal=USR1", job)

    def bring_back(self, node):
        if "DOWN" in self.on("login", "sinfo", "--noheader", f"--nodes={node}", "--format=%T").upper():
            self.on("login", "scontrol", "update", f"nodename={node}", "state=resume")

    def start_again_now(self, job):
        """Slurm keeps a requeued job back for two minutes. Returns when it has been requeued, and started."""
        self.wait_until(f"job {job} requeued", lambda: self.job(job)["Restarts"] != "0")
        # In the second of the requeue itself the nodes still refuse the job: "Job credential revoked".
        self.on("login", "scontrol", "update", f"jobid={job}", "StartTime=now+3")
        self.wait_for_state(job, "RUNNING", *ENDED, timeout=60)

    def assert_no_process_left(self, timeout=60):
        self.wait_until("no process of the job left", lambda: not marked_processes(self.mark), timeout)

    def assert_whole_checkpoint(self, name):
        self.run_molora("verify", self.folder / name)

    def assert_same_run(self, name, reference, steps=STEPS):
        self.assertEqual(self.metrics(name), self.metrics(reference), name)
        self.assertEqual(self.whole_tensors(name, steps), self.whole_tensors(reference, steps), name)

    def end_all_jobs(self):
        self.on("login", "scancel", "--user=root")
        self.wait_until("no job", lambda: not self.on("login", "squeue", "--noheader").strip())
