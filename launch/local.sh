#!/usr/bin/env bash
# A pod in miniature: N processes on the CPU of this machine, which talk over loopback.
#
#   launch/local.sh [--dry_run] N [args of datafree_nas.main ...]
#   launch/local.sh 2 --config=configs/cifar10_spos.py:quick --workdir=runs/rehearsal
#
# Process 0 prints as it is, process 1 with [1] before each line, and so on. Ctrl-C and SIGTERM are
# passed on to all, which save and stop. When one process fails, the others are stopped. What still
# runs 30 seconds after that is killed. The exit status is that of the process that failed first.
#
# Needs the package: in .venv here, or where DATAFREE_NAS_PYTHON says. From the environment:
#   JAX_NUM_CPU_DEVICES   virtual devices of a process (1)
#   NPROC                 threads of a process (its share of the cores)
#   PORT                  of the coordinator; PORT - 1000 is used as well (two free ones)
#   GRACE_SECONDS         before the rest is killed (30)
#   DATAFREE_NAS_TOKEN    by which the processes know each other (a random one)

set -euo pipefail
# shellcheck source=launch/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# listens PORT: whether a program does, on this machine.
listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

is_free() { ! listens "$1" && ! listens $(($1 - 1000)); }

choose_port() {
    if [[ -z ${PORT-} ]]; then
        until PORT=$((20000 + RANDOM % 10000)) && is_free "$PORT"; do :; done
    fi
    if [[ ! $PORT =~ ^[1-9][0-9]{3,4}$ ]] || ((PORT < 2024 || PORT > 65535)); then
        die "PORT=$PORT is not a port from 2024 to 65535"
    fi
    is_free "$PORT" || die "PORT=$PORT or $((PORT - 1000)) is in use; choose another, or leave it out"
}

# Ends when the process that writes does; no signal may take its last words.
prefix() {
    trap '' INT TERM HUP
    local line
    while IFS= read -r line || [[ $line ]]; do printf '[%s] %s\n' "$1" "$line"; done
}

# start NUMBER: a process, in a process group of its own.
start() {
    local command=("${program[@]}" --process_id="$1" "${arguments[@]+"${arguments[@]}"}")
    if [[ $dry_run ]]; then
        show "${command[@]}"
    elif (($1 == 0)); then
        "${command[@]}" </dev/null &
        pids[0]=$!
    else
        exec 4> >(prefix "$1")
        readers+=($!)
        "${command[@]}" </dev/null >&4 2>&1 4>&- &
        pids[$1]=$!
        exec 4>&-
    fi
}

# tell SIGNAL: to all that still run; from the first one on they have their grace.
tell() {
    local pid group
    if [[ $1 == KILL ]]; then group=-; else group=; fi
    for pid in ${pids[@]+"${pids[@]}"}; do kill -s "$1" -- "$group$pid" || true; done
    if [[ -z $deadline ]]; then deadline=$((SECONDS + ${GRACE_SECONDS:-30})); fi
}

# Takes note of the processes that have ended. Of two found together, the one that says 75 was
# second: it means that another one was lost.
collect() {
    local number pid code first=0
    for number in "${!pids[@]}"; do
        pid=${pids[number]}
        if kill -0 "$pid"; then continue; fi
        code=0
        wait "$pid" || code=$?
        kill -s KILL -- "-$pid" || true # what it may have left behind
        unset "pids[number]"
        left=$((left - 1))
        if ((code)); then echo "process $number ended with status $code" >&5; fi
        if ((code && (first == 0 || first == 75))); then first=$code; fi
    done
    if ((first && status == 0)); then
        status=$first
        if [[ -z $deadline ]]; then tell TERM; fi # a second signal would stop them in the middle
    fi
}

while [[ ${1-} == --* ]]; do
    case $1 in
        --help) usage ;;
        --dry_run) dry_run=1 ;;
        *) die "no option $1 before the number of processes (--help lists them)" ;;
    esac
    shift
done
count=${1-}
[[ $count =~ ^[1-9][0-9]?$ ]] || die "how many processes? launch/local.sh N, with N from 1 to 99"
shift
if [[ ${1-} == -- ]]; then shift; fi
arguments=("$@")
choose_port
set_token
python=${DATAFREE_NAS_PYTHON:-$root/.venv/bin/python}
[[ -x $python ]] || die "no Python at $python; install the package there, or set DATAFREE_NAS_PYTHON"
cores=$(getconf _NPROCESSORS_ONLN)
share=$((cores > count ? cores / count : 1)) # more threads than cores wait for each other
program=(
    env JAX_PLATFORMS=cpu NPROC="${NPROC:-$share}" JAX_NUM_CPU_DEVICES="${JAX_NUM_CPU_DEVICES:-1}"
    "$python" -m datafree_nas.main
    --coordinator="127.0.0.1:$PORT" --num_processes="$count"
)

pids=() readers=() signal='' deadline='' status=0 left=$count
trap 'signal=INT' INT
trap 'signal=TERM' TERM HUP
trap 'tell KILL 2>/dev/null' EXIT
set -m # gives each process a group of its own: a Ctrl-C comes here alone, and is passed on once
for ((number = 0; number < count; number++)); do start "$number"; done
set +m
if [[ $dry_run ]]; then exit; fi

exec 5>&2 # Bash has words of its own about processes that were killed
while ((left)); do
    sleep 0.1 || true
    if [[ $signal ]]; then
        tell "$signal"
        signal=
    fi
    collect
    if [[ $deadline ]] && ((SECONDS > deadline)); then tell KILL; fi
done 2>/dev/null
for reader in ${readers[@]+"${readers[@]}"}; do
    while kill -0 "$reader" 2>/dev/null; do sleep 0.05; done
done
exit "$status"
