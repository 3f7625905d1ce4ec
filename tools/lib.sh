# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# What the scripts in tools/ share: messages, logged commands, builds, cleaning up. Source it; it runs nothing.
#
#   source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/lib.sh"

set -euo pipefail

lagan_root=$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")
lagan_build_root=${LAGAN_BUILD_ROOT:-$lagan_root/build}
lagan_begin=$SECONDS

# Debian's own meson and python3: another python3 first in PATH lacks the packages that setup installs.
export PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin:$PATH

# The compiler's cache serves another clone of the same text as well.
export CCACHE_BASEDIR=${CCACHE_BASEDIR-$lagan_root} CCACHE_NOHASHDIR=${CCACHE_NOHASHDIR-1}

if [[ -t 2 && ${TERM:-dumb} != dumb && -z ${NO_COLOR:-} ]]; then
    lagan_bold=$'\e[1m' lagan_red=$'\e[31m' lagan_dim=$'\e[2m' lagan_plain=$'\e[0m'
else
    lagan_bold='' lagan_red='' lagan_dim='' lagan_plain=''
fi

# Messages go to stderr: stdout is for results (counts, JSON).
step() { printf '%s[%4d s]%s %s%s%s\n' "$lagan_dim" $((SECONDS - lagan_begin)) "$lagan_plain" "$lagan_bold" "$*" "$lagan_plain" >&2; }
say() { printf '         %s\n' "$*" >&2; }
die() {
    printf '%s: %serror:%s %s\n' "$(basename "$0")" "$lagan_red" "$lagan_plain" "$*" >&2
    exit 1
}

# --- cleaning up: on_exit 'COMMAND' runs it when the script ends, last one first, also after a signal.
lagan_exit_actions=()
on_exit() { lagan_exit_actions+=("$1"); }
lagan_run_exit_actions() {
    local status=$? i
    trap - EXIT
    set +e
    for ((i = ${#lagan_exit_actions[@]} - 1; i >= 0; --i)); do eval "${lagan_exit_actions[i]}"; done
    exit "$status"
}
trap lagan_run_exit_actions EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

# --- quietly LABEL COMMAND...: output to a log, a line every ten seconds, the log's end if it fails.
quietly() {
    local label=$1 log child status=0 next line last='' told=0
    shift
    log=$(mktemp "${TMPDIR:-/tmp}/lagan-XXXXXX.log")
    step "$label"
    "$@" >"$log" 2>&1 </dev/null &
    child=$!
    on_exit "lagan_end $child; rm -f '$log'"
    next=$((SECONDS + 10))
    while kill -0 "$child" 2>/dev/null; do
        sleep 0.1
        if ((SECONDS >= next)); then
            line=$(tail -c 1000 "$log" | tr '\r' '\n' | grep . | tail -n 1 | cut -c 1-110) || true
            # The same again only once a minute: enough to see that it lives.
            if [[ $line != "$last" ]] || ((SECONDS >= told + 60)); then
                say "... $line"
                last=$line told=$SECONDS
            fi
            next=$((SECONDS + 10))
        fi
    done
    wait "$child" || status=$?
    unset 'lagan_exit_actions[-1]'
    if ((status != 0)); then
        # Ninja's lines of what went well only bury what did not.
        grep -vE '^\[[0-9]+/[0-9]+\] (Compiling|Linking|Generating)' "$log" | tail -n 60 >&2
    fi
    rm -f "$log"
    return "$status"
}

quiet_unless_failed() {
    local said
    said=$("$@" 2>&1 </dev/null) || { tail -n 30 <<<"$said" >&2 && return 1; }
}

# A child and its children; used from traps, so it never fails.
lagan_end() {
    local pid
    for pid in $(pgrep -P "$1" 2>/dev/null); do lagan_end "$pid"; done
    kill -TERM "$1" 2>/dev/null || true
}

# --- builds. lagan_build release|asan|tsan [TARGET...]; the folder is lagan_build_dir's answer.
lagan_build_dir() {
    case $1 in
        release) printf '%s\n' "$lagan_build_root" ;;
        *) printf '%s/%s\n' "$lagan_build_root" "$1" ;;
    esac
}

# GCC's own checks misjudge instrumented code, so a warning is no error here; the release build has them all. Line
# tables alone (-g1), no null, vptr and object-size checks, which ASan sees in its way, and -Og: a third of the time to compile.
lagan_sanitizer_options=(-Doptimization=g -Ddebug=false -Dwerror=false
    '-Dcpp_args=-g1 -fno-sanitize=null,vptr,object-size' '-Dc_args=-g1')

lagan_configure() {
    local kind=$1 dir options
    dir=$(lagan_build_dir "$kind")
    if [[ -f $dir/build.ninja ]]; then
        # A meson.build that changed since: configured again now, for those who ask meson before they build.
        quiet_unless_failed ninja -C "$dir" build.ninja || die "configuring again failed, see above; or: rm -r $dir"
        return
    fi
    case $kind in
        release) options=(--buildtype=release) ;;
        asan) options=("${lagan_sanitizer_options[@]}" '-Db_sanitize=address,undefined') ;;
        tsan) options=("${lagan_sanitizer_options[@]}" -Db_sanitize=thread) ;;
        *) die "no build called '$kind'; there are release, asan and tsan" ;;
    esac
    mkdir -p "$dir"
    quietly "configuring ${dir#"$lagan_root"/}" meson setup "${options[@]}" "$dir" "$lagan_root" ||
        die "meson setup failed; see above and $dir/meson-logs/meson-log.txt"
}

# Objects compiled in one clone serve another: the folder is in none of them but for debug information.
export CCACHE_NOHASHDIR=1

lagan_build() {
    local kind=$1 dir
    shift
    dir=$(lagan_build_dir "$kind")
    lagan_configure "$kind"
    # Nothing to do is the usual case: ask before saying that something is built.
    [[ $(ninja -C "$dir" -n "$@" 2>/dev/null | tail -n 1) == *"no work to do"* ]] && return
    quietly "building ${dir#"$lagan_root"/}" ninja -C "$dir" -j "$(nproc)" "$@" ||
        die "the build failed; again: ninja -C $dir $*"
}

# --- one script at a time in a build folder; the lock goes with the process.
lagan_lock() {
    mkdir -p "$lagan_build_root"
    exec {lagan_lock_fd}>"$lagan_build_root/.lock"
    flock -n "$lagan_lock_fd" && return
    step "waiting for another script that builds or tests in $lagan_build_root"
    flock "$lagan_lock_fd"
}
lagan_unlock() { exec {lagan_lock_fd}>&-; }

# --- environment checks
need_root() { ((EUID == 0)) || die "this needs root (packages, namespaces, huge pages); run it as root or with sudo"; }
