#!/bin/sh
# Runs fuzz targets, each for FUZZ_SECONDS seconds (60), under AddressSanitizer: those that are named,
# or else all. A finding ends it; what was found is kept in fuzz/artifacts.
#
#   FUZZ_SECONDS=10 scripts/fuzz.sh [TARGET]...
set -eu
. "$(dirname "$0")/lib.sh"

SECONDS_EACH=${FUZZ_SECONDS:-60}
case $SECONDS_EACH in
    '' | *[!0-9]* | 0) die "FUZZ_SECONDS=$SECONDS_EACH: a number of seconds is expected" ;;
esac

PATH="$PATH:$HOME/.cargo/bin"
cargo +nightly --version >/dev/null 2>&1 \
    || die "no nightly Rust, which AddressSanitizer needs: 'rustup toolchain install nightly --profile minimal'"
cargo +nightly fuzz --version >/dev/null 2>&1 \
    || die "no cargo-fuzz: 'cargo install --locked cargo-fuzz'"

cd "$TOP"
known=$(cargo +nightly fuzz list)
for target in "$@"; do
    printf '%s\n' "$known" | grep -Fqx -- "$target" \
        || die "no fuzz target $target; there is: $(echo $known)"
done
[ $# -gt 0 ] || set -- $known

for target in "$@"; do
    say "fuzz: building $target"
    cargo +nightly fuzz build "$target"
    say "fuzz: $target, $SECONDS_EACH seconds"
    # a run that hangs on one input is a finding too
    cargo +nightly fuzz run "$target" -- -max_total_time="$SECONDS_EACH" -timeout=20 -print_final_stats=1 \
        || die "$target: a finding; it is in fuzz/artifacts/$target, and is run again by
  cargo +nightly fuzz run $target fuzz/artifacts/$target/NAME"
done
say "fuzz: $# targets, $SECONDS_EACH seconds each: nothing found"
