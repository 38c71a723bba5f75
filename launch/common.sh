# shellcheck shell=bash disable=SC2034  # the variables are for the scripts
# What the scripts here share; sourced by them.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
dry_run=
main_args=()

# A mistake of the user: one line, and status 2.
die() {
    echo "error: $1" >&2
    exit 2
}

# The comment at the top of a script is its help.
usage() {
    awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$0"
    exit 0
}

# The processes of a run prove to each other that they know this; it is on no command line.
set_token() {
    DATAFREE_NAS_TOKEN=${DATAFREE_NAS_TOKEN:-$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')}
    export DATAFREE_NAS_TOKEN
}

# A command as one could type it.
show() {
    local text
    printf -v text '%q ' "$@"
    echo "${text% }"
}

# A command is run, or shown.
run() {
    if [[ $dry_run ]]; then show "$@"; else "$@"; fi
}

# parse 'NAME= ... FLAG ...' ARGS: `--NAME=VALUE` and `--FLAG` become variables of that name; what
# follows `--` becomes main_args.
parse() {
    local known_=" $1 dry_run " option_
    shift
    while (($#)); do
        option_=${1#--}
        case $1 in
            --)
                shift
                main_args=("$@")
                return
                ;;
            --help) usage ;;
            --*=*)
                option_=${option_%%=*}
                [[ $known_ == *" $option_= "* ]] || die "no option --$option_=... (--help lists them)"
                printf -v "$option_" %s "${1#*=}"
                ;;
            --*)
                [[ $known_ == *" $option_ "* ]] || die "no option $1 (--help lists them)"
                printf -v "$option_" 1
                ;;
            *) die "$1 is no option; what datafree_nas.main takes comes after --" ;;
        esac
        shift
    done
}

# require NAME ...: options that have to be given.
require() {
    local option_
    for option_ in "$@"; do
        [[ ${!option_} ]] || die "--$option_=... is missing (--help says what it is)"
    done
}

# The names that Google Cloud and Kubernetes take.
check_name() {
    [[ $1 =~ ^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$ ]] ||
        die "--name=$1 is not a name of up to 40 small letters, digits and -, with a letter first"
}

# Hosts without a disk in common need a workdir that all of them reach.
check_workdir() {
    [[ " ${main_args[*]-} " == *" --workdir="* ]] ||
        die "the hosts share no disk; end with -- --workdir=gs://BUCKET/DIR, or a shared directory"
}
