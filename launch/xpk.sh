#!/usr/bin/env bash
# A run on TPUs of GKE, as a workload of xpk, Google's command for clusters that it has created:
#
#   docker build --file=launch/Dockerfile.tpu --build-arg=user=root --tag=IMAGE . && docker push IMAGE
#   launch/xpk.sh --name=nas --cluster=CLUSTER --type=v5litepod-16 --image=IMAGE \
#       -- --config=configs/imagenet_spos.py --workdir=gs://BUCKET/DIR [args of datafree_nas.main ...]
#
#   --name=NAME        of the workload
#   --cluster=CLUSTER  that `xpk cluster create` has made
#   --type=TYPE        TPU type, e.g. v5litepod-16
#   --image=IMAGE      in a registry that the cluster can read
#   --project=PROJECT, --zone=ZONE  default: those of gcloud's configuration
#   --slices=1         of that type, which work together
#   --restarts=50      after a preemption or a crash; a mistake of the user (2) is not tried again
#   --dry_run          prints the command
#
# Follow it by `xpk workload list` and the link that xpk prints; `xpk workload delete` sends the
# processes SIGTERM, and they save. The same command, once the old workload is deleted, goes on.
#
# The processes know each other by a random DATAFREE_NAS_TOKEN, which whoever may read the cluster's
# workloads can see.
#
# Needs xpk 1.x, gcloud and kubectl, logged in. The image runs as root, because xpk gives its pods no
# other user and a node's TPUs belong to root.

set -euo pipefail
# shellcheck source=launch/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

name='' cluster='' type='' image='' project='' zone='' slices=1 restarts=50
parse 'name= cluster= type= image= project= zone= slices= restarts=' "$@"
require name cluster type image
check_name "$name"
check_workdir
for option in slices restarts; do
    [[ ${!option} =~ ^[1-9][0-9]*$ ]] || die "--$option=${!option} is not a number from 1"
done

set_token # xpk.env names it, xpk takes it from here and writes it into the workload

# exec: xpk sends its signals to the shell that it has started. xpk itself restarts after 42 and
# after 127 to 255.
run xpk workload create --workload="$name" --cluster="$cluster" --tpu-type="$type" \
    --num-slices="$slices" --docker-image="$image" --max-restarts="$restarts" \
    --restart-on-exit-codes=1,75 --termination-grace-period-seconds=45 \
    ${project:+--project="$project"} ${zone:+--zone="$zone"} --env-file="$root/launch/xpk.env" \
    --command="exec $(show python -m datafree_nas.main "${main_args[@]}")"
