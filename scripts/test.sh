#!/bin/sh
# Runs every test and says at the end how many passed, failed and could not run here.
#
# Tests that mount need root and /dev/fuse. Without them they fail; with
# VELLUM_SKIP_MOUNT_TESTS="the reason" they say so instead, and are counted as skipped.
set -eu
. "$(dirname "$0")/lib.sh"
cd "$TOP"

log=$TARGET/test.log
mkdir -p "$TARGET"

# The root that life goes on in is made once, here, so that no test waits for a download
# behind another's back.
if [ -z "${VELLUM_SKIP_MOUNT_TESTS:-}" ]; then
    scripts/debian-root.sh base tools programs >/dev/null
    # a test that finds one missing says so, and is skipped
    scripts/debian-tools.sh docker.io tini libdevmapper1.02.1 docker-registry bubblewrap \
        systemd-container libsystemd-shared >/dev/null || true
fi

# Both ways for requests to come are tested.
if [ -z "${VELLUM_SKIP_MOUNT_TESTS:-}" ]; then
    trap switch_io_uring_back EXIT
    switch_io_uring_on
fi

status=0
{ code=0; cargo test --locked --no-fail-fast "$@" 2>&1 || code=$?; echo "cargo-exit $code"; } | tee "$log" | grep -v '^cargo-exit '
status=$(sed -n 's/^cargo-exit //p' "$log")

awk '
    /^test result:/ { passed += $4; failed += $6; ignored += $8 }
    /^skipped: /    { skipped++ }
    END {
        # a test that skipped itself was counted by the harness as passed: it did not pass
        printf "\ntotal: %d passed, %d failed, %d ignored, %d skipped\n",
            passed - skipped, failed, ignored, skipped
    }' "$log"
grep '^skipped: ' "$log" | sort || true
exit "$status"
