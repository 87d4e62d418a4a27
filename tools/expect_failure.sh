#!/usr/bin/env bash
# expect_failure.sh STATUS TEXT COMMAND...: fails unless the command ends with the status and says the text.
set -uo pipefail
status=$1 text=$2
shift 2
code=0
output=$("$@" 2>&1) || code=$?
if [[ $code -ne $status || $output != *"$text"* ]]; then
    printf 'expected status %s and "%s" of: %s\ngot %s:\n%s\n' "$status" "$text" "$*" "$code" "$output" >&2
    exit 1
fi
