# shellcheck shell=bash
# Sourced by the batch scripts beside it: runs `molora train` inside a Slurm job, so that the job saves when Slurm
# is about to end it, goes back to the queue, and goes on from there when it starts again.
#
#   exit code of molora            what the job does
#   0                              ends
#   75, after USR1 or by itself    scontrol requeue: the same job starts again and resumes
#   75, after TERM (scancel)       ends: somebody wants it gone; the checkpoint is there
#   64, 74                         ends: a restart would come to the same end
#   70, 71, 76, other              ends with that code: molora has used up its own restarts
#
# USR1 comes from Slurm ahead of the time limit (#SBATCH --signal=B:USR1@120), or at preemption where slurm.conf has
# SlurmctldParameters=preempt_send_user_signal. 120 seconds must be enough for one step and one save; ask for more
# otherwise.
#
# Environment, all optional:
#   MOLORA_HOME      folder of this repository (default: found from the path of the batch script)
#   MOLORA_PROGRAM   the program (default: build/bin/molora there, or molora of PATH)
#   MOLORA_LAUNCHER  srun (default) or mpirun

molora_say() { printf '%s molora_job: %s\n' "$(date +%H:%M:%S)" "$*" >&2; }

# The job as scontrol takes it. A task of an array by its number in the array: the id of the last task is that of
# the whole array.
molora_job_name() {
  if [[ -n ${SLURM_ARRAY_TASK_ID:-} ]]; then
    echo "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
  else
    echo "$SLURM_JOB_ID"
  fi
}

molora_find_program() {
  if [[ -n ${MOLORA_PROGRAM:-} ]]; then
    echo "$MOLORA_PROGRAM"
  elif [[ -x $MOLORA_HOME/build/bin/molora ]]; then
    echo "$MOLORA_HOME/build/bin/molora"
  elif ! command -v molora; then
    molora_say "no molora in $MOLORA_HOME/build/bin or PATH on $(hostname); build it (./run build)" \
      "or set MOLORA_PROGRAM"
    return 1
  fi
}

# On a signal to this script. molora gets USR1 for both: it finishes its step and saves.
molora_pass_on() {
  molora_asked_by=$1
  molora_interrupted=1
  case $1 in
    USR1) molora_say "Slurm is about to end this job (USR1): saving" ;;
    TERM) molora_say "this job is being cancelled (TERM): saving, if there is time" ;;
  esac
  kill -USR1 "$molora_pid" 2>/dev/null || true
}

# Waits for the program, however often signals interrupt that; leaves its exit code in $molora_code.
molora_wait() {
  local code
  while :; do
    molora_interrupted=0
    code=0
    wait "$molora_pid" || code=$?
    # 127: it had ended when the signal came, and its code was taken with the wait before.
    [[ $code -eq 127 ]] || molora_code=$code
    # A wait that a trapped signal cuts short returns 128 and more, and so does a process that a signal ended.
    [[ $code -gt 128 && $molora_interrupted -eq 1 ]] || return 0
  done
}

molora_after() {
  case $molora_code in
    0) molora_say "done" ;;
    75)
      if [[ $molora_asked_by == TERM ]]; then
        molora_say "saved and stopped; cancelled, so not requeued (the same sbatch goes on)"
        return
      fi
      molora_say "saved and stopped: back to the queue as job $(molora_job_name)"
      # Slurm now sends TERM to this script and starts the job again, at the earliest two minutes later.
      trap '' TERM
      scontrol requeue "$(molora_job_name)" ||
        molora_say "Slurm did not requeue it; submit it again, it goes on from its checkpoint"
      ;;
    64 | 74) molora_say "ended with code $molora_code: not to be repeated before its cause is gone (reason above)" ;;
    70 | 71 | 76) molora_say "ended with code $molora_code after its own restarts (reason above and in reason.json)" ;;
    *) molora_say "ended with code $molora_code (reason above)" ;;
  esac
}

# molora_job ARGUMENT...: `molora train ARGUMENT...` on the nodes of this job. Ends the script.
molora_job() {
  local program
  if [[ $# -eq 0 ]]; then
    molora_say "no configuration: sbatch SCRIPT CONFIG.yaml [ARGUMENT OF molora train]..."
    exit 64
  fi
  program=$(molora_find_program) || exit 64
  # srun does not take over sbatch's --cpus-per-task by itself.
  [[ -z ${SLURM_CPUS_PER_TASK:-} ]] || export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK
  molora_asked_by=
  molora_code=70
  molora_say "job $(molora_job_name) on ${SLURM_JOB_NODELIST:-?}, start $((${SLURM_RESTART_COUNT:-0} + 1)):" \
    "$program train $*"
  "$program" train "$@" --launcher "${MOLORA_LAUNCHER:-srun}" &
  molora_pid=$!
  trap 'molora_pass_on USR1' USR1
  trap 'molora_pass_on TERM' TERM
  molora_wait
  molora_after
  exit "$molora_code"
}
