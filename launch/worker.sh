#!/usr/bin/env bash
# What launch/tpu_vm.sh has every worker of a TPU VM do; lies there in ~/datafree_nas/launch.
#
#   launch/worker.sh install       an environment with the package; Python 3.12 by uv
#   launch/worker.sh start ARGS    datafree_nas.main ARGS as a systemd unit, which outlives the
#                                  connection, and which a shutdown sends SIGTERM
#   launch/worker.sh follow        its output, until it ends
#   launch/worker.sh status        `running`, its exit status, or `none`
#   launch/worker.sh stop          SIGTERM; waits until everything is saved
#
# Needs systemd and sudo without a password, as TPU VMs have them.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
unit=datafree_nas
log=$PWD/run.log

property() { systemctl show --value --property="$1" "$unit"; }

case ${1-} in
    install)
        curl --fail --silent --show-error --location https://astral.sh/uv/install.sh | sh
        PATH=$HOME/.local/bin:$PATH
        uv venv --quiet --python=3.12 .venv
        uv pip install --quiet --editable '.[tpu]' gcsfs py-spy
        ;;
    start)
        sudo systemctl stop "$unit" 2>/dev/null || true
        sudo systemctl reset-failed "$unit" 2>/dev/null || true
        # RemainAfterExit: the exit status is kept when it is 0, too
        sudo systemd-run --quiet --unit="$unit" --uid="$(id -un)" --working-directory="$PWD" \
            --property=RemainAfterExit=yes --property=KillMode=mixed --property=TimeoutStopSec=45 \
            --property=EnvironmentFile="-$PWD/token.env" --property=StandardOutput="append:$log" \
            "$PWD/.venv/bin/python" -m datafree_nas.main "${@:2}"
        ;;
    follow)
        pid=$(property MainPID)
        if [[ $pid == 0 ]]; then
            tail --lines=20 "$log"
        else
            tail --lines=100 --follow --pid="$pid" "$log"
        fi
        ;;
    status)
        case $(property SubState):$(property ExecMainCode) in
            exited:* | failed:1) property ExecMainStatus ;;
            failed:*) echo $((128 + $(property ExecMainStatus))) ;; # by a signal
            dead:*) echo none ;;
            *) echo running ;;
        esac
        ;;
    stop) sudo systemctl stop "$unit" ;;
    *)
        awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$0" >&2
        exit 2
        ;;
esac
