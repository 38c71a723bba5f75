#!/usr/bin/env bash
# A run on a Cloud TPU VM: creates it, installs what is committed here on all workers, runs the same
# command on all, shows what worker 0 prints, and deletes the TPU at the end.
#
#   launch/tpu_vm.sh --name=nas --zone=us-west4-a --type=v5litepod-16 --spot \
#       -- --config=configs/imagenet_spos.py --workdir=gs://BUCKET/DIR [args of datafree_nas.main ...]
#
#   --name=NAME        of the TPU; one of that name that cannot be used is deleted
#   --zone=ZONE        where
#   --type=TYPE        accelerator type, e.g. v5litepod-16, v6e-8, v4-32
#   --project=PROJECT  default: that of gcloud's configuration
#   --version=VERSION  of the TPU software; default: what Google names for the type and JAX
#   --spot             cheaper, and may be taken away at any time
#   --queued           by a queued resource, which waits until there is room
#   --create_flags=F   more flags of `create`, e.g. '--network=N --service-account=S'
#   --package=git+URL[@REF]  installs that, not what is committed here
#   --attempts=20      how often the run is started; a lost TPU is created again
#   --keep             leaves the TPU as it is at the end
#   --dry_run          prints the commands of a run in which nothing goes wrong
#
# The run belongs to systemd on the workers. A lost connection does it no harm: the same command
# follows it again, and so it does after this terminal was closed. Ctrl-C or SIGTERM stops the run,
# which saves, and deletes the TPU (but for --keep). The exit status is that of the run; a mistake
# in it (2) is not tried again.
#
# Needs gcloud, logged in, with the TPU API enabled, and a service account that may write to the
# bucket; for several workers an ssh-agent with gcloud's key (ssh-add ~/.ssh/google_compute_engine).
# TPU7x and later have no TPU VMs of this kind: launch/xpk.sh or launch/jobset.yaml.

set -euo pipefail
# shellcheck source=launch/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

name='' zone='' type='' project='' version='' spot='' queued='' create_flags='' package='' attempts=20 keep=''
parse 'name= zone= type= project= version= spot queued create_flags= package= attempts= keep' "$@"
require name zone type
check_name "$name"
check_workdir
[[ $attempts =~ ^[1-9][0-9]*$ ]] || die "--attempts=$attempts is not a number from 1"
[[ -z $package || $package == git+?* ]] || die "--package=$package is not git+URL or git+URL@REF"
if [[ -z $version ]]; then
    case $type in
        v6e-*) version=v2-alpha-tpuv6e ;;
        v5p-*) version=v2-alpha-tpuv5 ;;
        v5litepod-*) version=v2-alpha-tpuv5-lite ;;
        *) version=tpu-ubuntu2204-base ;;
    esac
fi
pause=${PAUSE_SECONDS:-60} # between two looks, or two attempts
temporary=$(mktemp -d) # of a name that nobody can have taken before
trap 'rm -rf "$temporary"' EXIT
archive=$temporary/datafree_nas.tar.gz
token_file=$HOME/.datafree_nas-$name.env

# tpus WORDS: `gcloud compute tpus WORDS`, here.
tpus() { run gcloud compute tpus "$@" --zone="$zone" ${project:+--project="$project"} --quiet; }

# on WORKER COMMAND: in a shell there.
on() { tpus tpu-vm ssh "$name" --worker="$1" --ssh-flag=-oServerAliveInterval=30 --command="$2"; }

note() { echo "tpu_vm: $1" >&2; }

# In the background, so that a signal is heard at once.
nap() {
    sleep "$pause" &
    wait $!
}

# After this: kind, shape, ready and field, as `create` and `describe` name them.
kind=tpu-vm ready=READY field=state
shape=(--accelerator-type="$type" --version="$version")
delete=(delete "$name")
if [[ $queued ]]; then
    kind=queued-resources ready=ACTIVE field=state.state
    shape=(--node-id="$name" --accelerator-type="$type" --runtime-version="$version")
    delete+=(--force)
fi
if [[ $spot ]]; then shape+=(--spot); fi
for flag in $create_flags; do shape+=("$flag"); done

create() { tpus "$kind" create "$name" "${shape[@]}"; }
delete() { tpus "$kind" "${delete[@]}"; }
state() { tpus "$kind" describe "$name" --format="value($field)" 2>/dev/null || true; }

# Waits until the TPU can be used; fails where it has to be created and that is refused.
provide() {
    local now
    while now=$(state) && [[ $now != "$ready" ]]; do
        case $now in
            '') installed='' && create || return ;;
            FAILED | SUSPENDED | PREEMPTED | TERMINATED | STOPPED | UNKNOWN)
                note "$name is $now and is created again"
                installed='' && delete || return
                ;;
            *)
                note "$name is $now"
                nap
                ;;
        esac
    done
}

# The package, in ~/datafree_nas of all workers; its own script does the rest.
install() {
    local url=${package#git+} ref=HEAD
    if [[ $package ]]; then
        if [[ ${url##*/} == *@* ]]; then ref=${url##*@} url=${url%@*}; fi
        url=$(printf %q "$url") ref=$(printf %q "$ref")
        on all "rm -rf datafree_nas && git clone --quiet $url datafree_nas && git -C datafree_nas checkout --quiet $ref"
    else
        run git -C "$root" archive --format=tar.gz --output="$archive" HEAD &&
            tpus tpu-vm scp "$archive" "$name:datafree_nas.tar.gz" --worker=all &&
            on all 'rm -rf datafree_nas && mkdir datafree_nas && tar -xzf datafree_nas.tar.gz -C datafree_nas'
    fi && on all 'datafree_nas/launch/worker.sh install' && hand_out_token && installed=1
}

# A token to all workers, by which their processes know each other, in a file of the user's own.
hand_out_token() {
    if [[ ! $dry_run ]]; then
        set_token
        (umask 077 && echo "DATAFREE_NAS_TOKEN=$DATAFREE_NAS_TOKEN" >"$token_file")
    fi
    tpus tpu-vm scp "$token_file" "$name:datafree_nas/token.env" --worker=all &&
        run rm "$token_file"
}

start() { on all "datafree_nas/launch/worker.sh start $(show "${main_args[@]}")"; }

# In the background, likewise.
follow() {
    on 0 'datafree_nas/launch/worker.sh follow' &
    following=$!
    wait "$following" || true
    following=
}

status() { on 0 'datafree_nas/launch/worker.sh status' 2>/dev/null || true; }

# One attempt; sets `ended` to the exit status of the run, or to nothing if it could not be learnt.
attempt() {
    ended=
    provide || return 0
    if [[ $(status) != running ]]; then
        if [[ -z $installed ]]; then install || return 0; fi
        start || return 0
    fi
    while follow && ended=$(status) && [[ $ended == running ]]; do :; done
}

tidy_up() { [[ $keep ]] || delete; }

# interrupted STATUS: what Ctrl-C and SIGTERM do.
# shellcheck disable=SC2329  # the traps call it
interrupted() {
    trap - INT TERM
    note "stopping the run on all workers; again to leave it to itself"
    on all 'datafree_nas/launch/worker.sh stop' || true
    if [[ $following ]]; then wait "$following" || true; fi # it ends with the run
    tidy_up || true
    exit "$1"
}

installed='' following='' ended=''
if [[ $dry_run ]]; then
    create && install && start
    on 0 'datafree_nas/launch/worker.sh follow'
    status
    tidy_up
    exit
fi
trap 'interrupted 130' INT
trap 'interrupted 143' TERM
for ((number = 1; number <= attempts; number++)); do
    attempt
    if [[ $ended == 0 || $ended == 2 ]]; then break; fi
    note "attempt $number of $attempts ended with status ${ended:-unknown}"
    if ((number < attempts)); then nap; fi
done
tidy_up || note "deleting $name failed; it may still cost money"
exit "${ended:-1}"
